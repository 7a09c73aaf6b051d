// sigaction(2), sigprocmask(2), kill(2), sigaltstack(2), sigqueue(3), sigtimedwait(2), signal(7).
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/syscall.h>
#include <ucontext.h>

#include <atomic>
#include <cstring>
#include <thread>
#include <vector>

#include "test/syscalls/testing.h"

namespace sandboxd::test {
namespace {

class SignalTest : public ::testing::Test {
 protected:
  SignalTest() {
    sigprocmask(SIG_SETMASK, nullptr, &mask_);
    log.clear();
  }
  ~SignalTest() override {
    sigprocmask(SIG_SETMASK, &mask_, nullptr);
    for (int signo : {SIGUSR1, SIGUSR2, SIGSEGV, SIGTERM, SIGCHLD, SIGRTMIN, SIGRTMIN + 1, SIGALRM,
                      SIGFPE, SIGILL, SIGTRAP, SIGBUS}) {
      signal(signo, SIG_DFL);
    }
  }
  static void Handle(int signo, void (*handler)(int, siginfo_t*, void*), int flags = 0,
                     std::vector<int> blocked = {}) {
    struct sigaction action {};
    action.sa_sigaction = handler;
    action.sa_flags = SA_SIGINFO | flags;
    for (int b : blocked) sigaddset(&action.sa_mask, b);
    ASSERT_EQ(sigaction(signo, &action, nullptr), 0);
  }
  static sigset_t Set(std::vector<int> signals) {
    sigset_t set;
    sigemptyset(&set);
    for (int s : signals) sigaddset(&set, s);
    return set;
  }
  static void Block(std::vector<int> signals) {
    sigset_t set = Set(std::move(signals));
    sigprocmask(SIG_BLOCK, &set, nullptr);
  }
  static void Unblock(std::vector<int> signals) {
    sigset_t set = Set(std::move(signals));
    sigprocmask(SIG_UNBLOCK, &set, nullptr);
  }
  static void Record(int signo, siginfo_t*, void*) { log.push_back(signo); }

  // Written by handlers, which run on this thread at points where nobody else uses it.
  static std::vector<int> log;
  static siginfo_t last;

 private:
  sigset_t mask_;
};
std::vector<int> SignalTest::log;
siginfo_t SignalTest::last;

TEST_F(SignalTest, KillAndStopCannotBeCaught) {
  struct sigaction action {};
  action.sa_handler = SIG_IGN;
  EXPECT_ERRNO(EINVAL, sigaction(SIGKILL, &action, nullptr));
  EXPECT_ERRNO(EINVAL, sigaction(SIGSTOP, &action, nullptr));
  EXPECT_EQ(sigaction(SIGKILL, nullptr, &action), 0);
  EXPECT_ERRNO(EINVAL, sigaction(65, &action, nullptr));
  EXPECT_ERRNO(EINVAL, syscall(SYS_rt_sigaction, SIGUSR1, nullptr, nullptr, 4));
}

TEST_F(SignalTest, HandlerRunsBeforeKillReturns) {
  Handle(SIGUSR1, Record);
  ASSERT_EQ(kill(getpid(), SIGUSR1), 0);
  EXPECT_EQ(log, std::vector<int>{SIGUSR1});
}

TEST_F(SignalTest, SiginfoSaysWhoSent) {
  Handle(SIGUSR1, [](int, siginfo_t* info, void*) { last = *info; });
  kill(getpid(), SIGUSR1);
  EXPECT_EQ(last.si_code, SI_USER);
  EXPECT_EQ(last.si_pid, getpid());
  EXPECT_EQ(last.si_uid, getuid());
  syscall(SYS_tgkill, getpid(), gettid(), SIGUSR1);
  EXPECT_EQ(last.si_code, SI_TKILL);
}

TEST_F(SignalTest, BlockedSignalsWaitAndStandardOnesOnlyOnce) {
  Handle(SIGUSR1, Record);
  Block({SIGUSR1});
  for (int i = 0; i < 3; i++) kill(getpid(), SIGUSR1);
  EXPECT_TRUE(log.empty());
  sigset_t pending;
  ASSERT_EQ(sigpending(&pending), 0);
  EXPECT_EQ(sigismember(&pending, SIGUSR1), 1);
  Unblock({SIGUSR1});
  EXPECT_EQ(log.size(), 1u);
}

TEST_F(SignalTest, RealtimeSignalsQueueInOrderWithTheirValues) {
  static std::vector<int> values;
  values.clear();
  Handle(SIGRTMIN, [](int, siginfo_t* info, void*) {
    values.push_back(info->si_value.sival_int);
    last = *info;
  });
  Block({SIGRTMIN});
  for (int i = 1; i <= 3; i++) {
    sigval value{};
    value.sival_int = i;
    ASSERT_EQ(sigqueue(getpid(), SIGRTMIN, value), 0);
  }
  Unblock({SIGRTMIN});
  EXPECT_EQ(values, (std::vector<int>{1, 2, 3}));
  EXPECT_EQ(last.si_code, SI_QUEUE);
}

TEST_F(SignalTest, TheLowestNumberIsDeliveredFirst) {
  // Without a mask the later handler interrupts the earlier one, so block them in each other.
  std::vector<int> all = {SIGUSR1, SIGUSR2, SIGRTMIN, SIGRTMIN + 1};
  for (int s : all) Handle(s, Record, 0, all);
  Block(all);
  for (auto s = all.rbegin(); s != all.rend(); ++s) kill(getpid(), *s);
  Unblock(all);
  EXPECT_EQ(log, all);
}

TEST_F(SignalTest, TheMaskOfTheHandlerIsBlockedWhileItRuns) {
  static int depth, deepest;
  depth = deepest = 0;
  auto handler = [](int signo, siginfo_t*, void*) {
    depth++;
    deepest = std::max(deepest, depth);
    if (signo == SIGUSR1) kill(getpid(), SIGUSR2);
    if (signo == SIGUSR1 && deepest == 1) kill(getpid(), SIGUSR1);
    depth--;
    deepest += signo == SIGUSR1 ? 10 : 0;
  };
  Handle(SIGUSR1, handler, 0, {SIGUSR2});
  Handle(SIGUSR2, handler);
  kill(getpid(), SIGUSR1);
  // Two runs of SIGUSR1 that never met, with SIGUSR2 held back meanwhile.
  EXPECT_EQ(deepest, 21);
}

TEST_F(SignalTest, NodeferLetsAHandlerInterruptItself) {
  static int depth, deepest;
  depth = deepest = 0;
  Handle(
      SIGUSR1,
      [](int, siginfo_t*, void*) {
        depth++;
        deepest = std::max(deepest, depth);
        if (depth < 3) kill(getpid(), SIGUSR1);
        depth--;
      },
      SA_NODEFER);
  kill(getpid(), SIGUSR1);
  EXPECT_EQ(deepest, 3);
}

TEST_F(SignalTest, ResethandRestoresTheDefault) {
  Handle(SIGUSR1, Record, static_cast<int>(SA_RESETHAND));
  kill(getpid(), SIGUSR1);
  EXPECT_EQ(log.size(), 1u);
  struct sigaction now {};
  sigaction(SIGUSR1, nullptr, &now);
  EXPECT_EQ(now.sa_handler, SIG_DFL);
}

TEST_F(SignalTest, IgnoringDiscardsWhatIsPending) {
  Block({SIGUSR1});
  kill(getpid(), SIGUSR1);
  signal(SIGUSR1, SIG_IGN);
  sigset_t pending;
  sigpending(&pending);
  EXPECT_EQ(sigismember(&pending, SIGUSR1), 0);
}

TEST_F(SignalTest, RegistersSurviveAHandler) {
  Handle(SIGUSR1, [](int, siginfo_t*, void*) {
    volatile double x = 3.0;
    for (int i = 0; i < 10; i++) x = x * 1.5;
  });
  double a = 1.25, b = 2.5;
  uint64_t kept = 0x1234;
  pid_t pid = getpid();
  long result;
  asm volatile(
      "movq %1, %%r12\n"
      "syscall\n"
      "movq %%r12, %1\n"
      : "=a"(result), "+r"(kept), "+x"(a), "+x"(b)
      : "a"(SYS_kill), "D"(pid), "S"(SIGUSR1)
      : "rcx", "r11", "r12", "memory");
  EXPECT_EQ(result, 0);
  EXPECT_EQ(kept, 0x1234u);
  EXPECT_EQ(a, 1.25);
  EXPECT_EQ(b, 2.5);
}

TEST_F(SignalTest, AHandlerMayChangeWhereItReturns) {
  static void* volatile fixed;
  int value = 7;
  fixed = &value;
  Handle(SIGSEGV, [](int, siginfo_t* info, void* context) {
    last = *info;
    auto* uc = static_cast<ucontext_t*>(context);
    uc->uc_mcontext.gregs[REG_RAX] = reinterpret_cast<greg_t>(fixed);
  });
  int* bad = reinterpret_cast<int*>(0x10);
  int got = 0;
  asm volatile("movl (%%rax), %0" : "=r"(got), "+a"(bad)::"memory");
  EXPECT_EQ(got, 7);
  EXPECT_EQ(last.si_code, SEGV_MAPERR);
  EXPECT_EQ(last.si_addr, reinterpret_cast<void*>(0x10));
}

TEST_F(SignalTest, FaultsHaveTheirCodes) {
  static sigjmp_buf back;
  auto jump = [](int, siginfo_t* info, void*) {
    last = *info;
    siglongjmp(back, 1);
  };
  for (int s : {SIGSEGV, SIGFPE, SIGILL, SIGTRAP}) Handle(s, jump);
  void* page = mmap(nullptr, PageSize(), PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (sigsetjmp(back, 1) == 0) *static_cast<volatile int*>(page) = 1;
  EXPECT_EQ(last.si_signo, SIGSEGV);
  EXPECT_EQ(last.si_code, SEGV_ACCERR);
  EXPECT_EQ(last.si_addr, page);
  munmap(page, PageSize());
  if (sigsetjmp(back, 1) == 0) {
    asm volatile("xorl %%ecx, %%ecx; movl $1, %%eax; cltd; idivl %%ecx" ::: "eax", "ecx", "edx");
  }
  EXPECT_EQ(last.si_signo, SIGFPE);
  EXPECT_EQ(last.si_code, FPE_INTDIV);
  if (sigsetjmp(back, 1) == 0) asm volatile("ud2");
  EXPECT_EQ(last.si_signo, SIGILL);
  if (sigsetjmp(back, 1) == 0) asm volatile("int3");
  EXPECT_EQ(last.si_signo, SIGTRAP);
}

TEST_F(SignalTest, ABlockedFaultKills) {
  int status = InChild([] {
    Handle(SIGSEGV, Record);
    Block({SIGSEGV});
    *reinterpret_cast<volatile int*>(0x10) = 1;
    return 0;
  });
  EXPECT_TRUE(KilledBy(status, SIGSEGV));
}

TEST_F(SignalTest, TheAlternateStackIsUsedAndSeen) {
  static char* volatile where;
  static stack_t inside;
  Handle(
      SIGUSR1,
      [](int, siginfo_t*, void*) {
        char local;
        where = &local;
        sigaltstack(nullptr, &inside);
      },
      SA_ONSTACK);
  std::vector<char> memory(64 * 1024);
  stack_t stack{};
  stack.ss_sp = memory.data();
  stack.ss_size = memory.size();
  ASSERT_EQ(sigaltstack(&stack, nullptr), 0);
  kill(getpid(), SIGUSR1);
  EXPECT_GE(where, memory.data());
  EXPECT_LT(where, memory.data() + memory.size());
  EXPECT_NE(inside.ss_flags & SS_ONSTACK, 0);
  stack_t now{};
  stack.ss_flags = SS_DISABLE;
  ASSERT_EQ(sigaltstack(&stack, &now), 0);
  EXPECT_EQ(now.ss_flags, 0);
  EXPECT_EQ(now.ss_size, memory.size());
}

TEST_F(SignalTest, AlternateStackArgumentsAreChecked) {
  char memory[512];
  stack_t stack{};
  stack.ss_sp = memory;
  stack.ss_size = sizeof(memory);
  EXPECT_ERRNO(ENOMEM, sigaltstack(&stack, nullptr));
  stack.ss_flags = 4;
  EXPECT_ERRNO(EINVAL, sigaltstack(&stack, nullptr));
}

TEST_F(SignalTest, AStackOverflowIsCaughtOnTheAlternateStack) {
  int status = InChild([] {
    static char memory[64 * 1024];
    stack_t stack{};
    stack.ss_sp = memory;
    stack.ss_size = sizeof(memory);
    sigaltstack(&stack, nullptr);
    Handle(
        SIGSEGV, [](int, siginfo_t*, void*) { _exit(3); }, SA_ONSTACK);
    asm volatile("movq $0x1000, %%rsp; pushq %%rax" ::: "memory");
    return 1;
  });
  EXPECT_TRUE(ExitedWith(status, 3));
}

TEST_F(SignalTest, WithoutAUsableStackTheProcessDies) {
  int status = InChild([] {
    Handle(SIGSEGV, Record);
    asm volatile("movq $0x1000, %%rsp; pushq %%rax" ::: "memory");
    return 1;
  });
  EXPECT_TRUE(KilledBy(status, SIGSEGV));
}

TEST_F(SignalTest, SigsuspendSwapsTheMaskForItsDuration) {
  Handle(SIGUSR1, Record);
  Block({SIGUSR1});
  kill(getpid(), SIGUSR1);
  sigset_t empty = Set({});
  EXPECT_ERRNO(EINTR, sigsuspend(&empty));
  EXPECT_EQ(log.size(), 1u);
  sigset_t now;
  sigprocmask(SIG_SETMASK, nullptr, &now);
  EXPECT_EQ(sigismember(&now, SIGUSR1), 1);
}

TEST_F(SignalTest, SigtimedwaitTakesPendingSignals) {
  Block({SIGUSR1, SIGUSR2});
  kill(getpid(), SIGUSR2);
  sigset_t set = Set({SIGUSR1, SIGUSR2});
  siginfo_t info{};
  timespec zero{};
  EXPECT_EQ(sigtimedwait(&set, &info, &zero), SIGUSR2);
  EXPECT_EQ(info.si_pid, getpid());
  EXPECT_ERRNO(EAGAIN, sigtimedwait(&set, &info, &zero));
  timespec bad{0, 1'000'000'000};
  EXPECT_ERRNO(EINVAL, sigtimedwait(&set, &info, &bad));
}

TEST_F(SignalTest, SigwaitinfoSleepsUntilASignalComes) {
  Block({SIGUSR1});
  pid_t parent = getpid();
  pid_t pid = fork();
  if (pid == 0) _exit(kill(parent, SIGUSR1));
  sigset_t set = Set({SIGUSR1});
  siginfo_t info{};
  EXPECT_EQ(sigwaitinfo(&set, &info), SIGUSR1);
  EXPECT_EQ(info.si_pid, pid);
  EXPECT_EQ(waitpid(pid, nullptr, 0), pid);
}

TEST_F(SignalTest, KillChecksItsArguments) {
  EXPECT_ERRNO(EINVAL, kill(getpid(), 65));
  EXPECT_ERRNO(EINVAL, kill(getpid(), -1));
  EXPECT_ERRNO(ESRCH, kill(0x3fffffff, 0));
  EXPECT_EQ(kill(getpid(), 0), 0);
  EXPECT_ERRNO(EINVAL, syscall(SYS_tkill, 0, 0));
  EXPECT_ERRNO(EINVAL, syscall(SYS_tgkill, -1, gettid(), 0));
  EXPECT_ERRNO(ESRCH, syscall(SYS_tgkill, getpid() + 1, gettid(), 0));
}

TEST_F(SignalTest, QueueingInTheKernelsNameIsRefused) {
  pid_t pid = fork();
  if (pid == 0) {
    for (;;) pause();
  }
  siginfo_t info{};
  info.si_code = SI_USER;
  EXPECT_ERRNO(EPERM, syscall(SYS_rt_sigqueueinfo, pid, SIGUSR1, &info));
  info.si_code = SI_TKILL;
  EXPECT_ERRNO(EPERM, syscall(SYS_rt_sigqueueinfo, pid, SIGUSR1, &info));
  info.si_code = SI_QUEUE;
  EXPECT_EQ(syscall(SYS_rt_sigqueueinfo, pid, SIGUSR1, &info), 0);
  int status;
  EXPECT_EQ(waitpid(pid, &status, 0), pid);
  EXPECT_TRUE(KilledBy(status, SIGUSR1));
}

TEST_F(SignalTest, AProcessSignalGoesToAThreadThatDoesNotBlockIt) {
  static std::atomic<pid_t> where{0};
  Handle(SIGUSR1, [](int, siginfo_t*, void*) { where = gettid(); });
  where = 0;
  std::atomic<bool> ready{false}, done{false};
  pid_t tid = 0;
  std::thread thread([&] {
    tid = gettid();
    ready = true;
    while (!done) sched_yield();
  });
  while (!ready) sched_yield();
  Block({SIGUSR1});
  kill(getpid(), SIGUSR1);
  while (where == 0) sched_yield();
  done = true;
  thread.join();
  EXPECT_EQ(where, tid);
}

TEST_F(SignalTest, PthreadKillReachesABlockedThread) {
  static std::atomic<int> count{0};
  count = 0;
  Handle(SIGUSR1, [](int, siginfo_t*, void*) { count++; });
  int fds[2];
  ASSERT_EQ(pipe(fds), 0);
  std::atomic<ssize_t> result{0};
  int error = 0;
  std::thread thread([&] {
    char c;
    ssize_t n = read(fds[0], &c, 1);
    error = errno;
    result = n;
  });
  // Until the read is under way the signal changes nothing, so send it until it does.
  std::atomic<bool> done{false};
  std::thread sender([&] {
    while (!done) {
      pthread_kill(thread.native_handle(), SIGUSR1);
      sched_yield();
    }
  });
  while (result == 0) sched_yield();
  done = true;
  sender.join();
  thread.join();
  EXPECT_EQ(result, -1);
  EXPECT_EQ(error, EINTR);
  EXPECT_GE(count, 1);
  close(fds[0]);
  close(fds[1]);
}

TEST_F(SignalTest, AFatalSignalEndsAParentThatWaitsForItsVforkChild) {
  int fds[2];
  ASSERT_EQ(pipe(fds), 0);
  pid_t parent = fork();
  if (parent == 0) {
    static pid_t self;
    self = getpid();
    if (vfork() == 0) {
      // The parent is asleep until this child ends, which it does when the test has seen its end.
      kill(self, SIGTERM);
      char c;
      close(fds[1]);
      _exit(read(fds[0], &c, 1) == 0 ? 0 : 1);
    }
    _exit(1);
  }
  int status;
  ASSERT_EQ(waitpid(parent, &status, 0), parent);
  EXPECT_TRUE(KilledBy(status, SIGTERM));
  close(fds[0]);
  close(fds[1]);
}

TEST_F(SignalTest, SigpipeComesFromAPipeWithoutReader) {
  int status = InChild([] {
    int fds[2];
    if (pipe(fds) != 0) return 1;
    close(fds[0]);
    return write(fds[1], "x", 1) == 1 ? 2 : 3;
  });
  EXPECT_TRUE(KilledBy(status, SIGPIPE));
}

TEST_F(SignalTest, StopSignalsCancelSigcontAndViceVersa) {
  Block({SIGTSTP, SIGCONT});
  sigset_t pending;
  kill(getpid(), SIGTSTP);
  kill(getpid(), SIGCONT);
  sigpending(&pending);
  EXPECT_EQ(sigismember(&pending, SIGTSTP), 0);
  EXPECT_EQ(sigismember(&pending, SIGCONT), 1);
  kill(getpid(), SIGTSTP);
  sigpending(&pending);
  EXPECT_EQ(sigismember(&pending, SIGTSTP), 1);
  EXPECT_EQ(sigismember(&pending, SIGCONT), 0);
  kill(getpid(), SIGCONT);
}

}  // namespace
}  // namespace sandboxd::test
