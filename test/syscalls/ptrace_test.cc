// ptrace(2), and wait(2) for tracees.
#include <elf.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>

#include <atomic>
#include <set>
#include <thread>

#include "test/syscalls/testing.h"

// linux/ptrace.h and sys/ptrace.h don't go together.
#define SYSCALL_INFO_ENTRY 1
#define SYSCALL_INFO_EXIT 2
#define EVENT_STOP 128

namespace sandboxd::test {
namespace {

int WaitFor(pid_t pid, int options = __WALL) {
  int status = -1;
  EXPECT_EQ(waitpid(pid, &status, options), pid) << strerror(errno);
  return status;
}

bool StoppedBy(int status, int signo) { return WIFSTOPPED(status) && WSTOPSIG(status) == signo; }
bool IsEvent(int status, int event) { return status >> 8 == (SIGTRAP | (event << 8)); }

// A child that lets itself be traced, stops, and then runs `body`.
template <typename Body>
pid_t Tracee(const Body& body) {
  fflush(nullptr);
  pid_t pid = fork();
  if (pid == 0) {
    if (ptrace(PTRACE_TRACEME, 0, 0, 0) != 0) _exit(90);
    raise(SIGSTOP);
    _exit(body());
  }
  EXPECT_TRUE(StoppedBy(WaitFor(pid), SIGSTOP));
  return pid;
}

// A child that waits in pause(2).
pid_t Pauser() {
  fflush(nullptr);
  pid_t pid = fork();
  if (pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (;;) pause();
  }
  return pid;
}

void KillAndReap(pid_t pid) {
  kill(pid, SIGKILL);
  int status = 0;
  while (waitpid(pid, &status, __WALL) == pid && !WIFEXITED(status) && !WIFSIGNALED(status)) {
  }
  EXPECT_TRUE(KilledBy(status, SIGKILL)) << std::hex << status;
}

user_regs_struct Regs(pid_t pid) {
  user_regs_struct regs{};
  EXPECT_EQ(ptrace(PTRACE_GETREGS, pid, 0, &regs), 0) << strerror(errno);
  return regs;
}

TEST(PtraceTest, TracemeStopsAtSignals) {
  pid_t pid = Tracee([] {
    raise(SIGUSR1);  // would kill
    return 5;
  });
  EXPECT_EQ(ptrace(PTRACE_CONT, pid, 0, 0), 0);
  EXPECT_TRUE(StoppedBy(WaitFor(pid), SIGUSR1));
  siginfo_t info{};
  EXPECT_EQ(ptrace(PTRACE_GETSIGINFO, pid, 0, &info), 0);
  EXPECT_EQ(info.si_signo, SIGUSR1);
  EXPECT_EQ(info.si_pid, pid);
  EXPECT_EQ(ptrace(PTRACE_CONT, pid, 0, 0), 0);  // swallowed
  EXPECT_TRUE(ExitedWith(WaitFor(pid), 5));
}

TEST(PtraceTest, ASignalCanBePassedOnOrExchanged) {
  pid_t pid = Tracee([] {
    raise(SIGUSR1);
    return 5;
  });
  ptrace(PTRACE_CONT, pid, 0, 0);
  EXPECT_TRUE(StoppedBy(WaitFor(pid), SIGUSR1));
  EXPECT_EQ(ptrace(PTRACE_CONT, pid, 0, SIGTERM), 0);
  EXPECT_TRUE(KilledBy(WaitFor(pid), SIGTERM));
}

TEST(PtraceTest, IgnoredSignalsAreSeenToo) {
  pid_t pid = Tracee([] {
    raise(SIGCHLD);
    return 0;
  });
  ptrace(PTRACE_CONT, pid, 0, 0);
  EXPECT_TRUE(StoppedBy(WaitFor(pid), SIGCHLD));
  ptrace(PTRACE_CONT, pid, 0, SIGCHLD);
  EXPECT_TRUE(ExitedWith(WaitFor(pid), 0));
}

TEST(PtraceTest, ParentIsToldByTrapped) {
  pid_t pid = Tracee([] {
    raise(SIGUSR2);
    return 0;
  });
  ptrace(PTRACE_CONT, pid, 0, 0);
  siginfo_t info{};
  ASSERT_EQ(waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WSTOPPED), 0);
  EXPECT_EQ(info.si_code, CLD_TRAPPED);
  EXPECT_EQ(info.si_status, SIGUSR2);
  ptrace(PTRACE_CONT, pid, 0, 0);
  EXPECT_TRUE(ExitedWith(WaitFor(pid), 0));
}

TEST(PtraceTest, MemoryAndRegisters) {
  static volatile long word = 0x1122334455667788;
  pid_t pid = Tracee([] { return word == 42 ? 3 : 4; });
  auto* address = const_cast<long*>(&word);
  errno = 0;
  EXPECT_EQ(ptrace(PTRACE_PEEKDATA, pid, address, 0), 0x1122334455667788);
  EXPECT_EQ(errno, 0);
  EXPECT_EQ(ptrace(PTRACE_POKEDATA, pid, address, 42), 0);
  EXPECT_EQ(ptrace(PTRACE_PEEKDATA, pid, address, 0), 42);
  errno = 0;
  EXPECT_EQ(ptrace(PTRACE_PEEKDATA, pid, 16, 0), -1);
  EXPECT_EQ(errno, EIO);
  user_regs_struct regs = Regs(pid);
  errno = 0;
  EXPECT_EQ(static_cast<unsigned long>(ptrace(PTRACE_PEEKUSER, pid, offsetof(user, regs.rip), 0)),
            regs.rip);
  EXPECT_EQ(ptrace(PTRACE_POKEUSER, pid, offsetof(user, regs.r15), 0x77), 0);
  EXPECT_EQ(Regs(pid).r15, 0x77u);
  regs.r14 = 0x66;
  EXPECT_EQ(ptrace(PTRACE_SETREGS, pid, 0, &regs), 0);
  EXPECT_EQ(Regs(pid).r14, 0x66u);
  EXPECT_EQ(ptrace(PTRACE_PEEKUSER, pid, 3, 0), -1);
  EXPECT_EQ(errno, EIO);
  regs.cs = 0;
  EXPECT_ERRNO(EIO, ptrace(PTRACE_SETREGS, pid, 0, &regs));
  ptrace(PTRACE_CONT, pid, 0, 0);
  EXPECT_TRUE(ExitedWith(WaitFor(pid), 3));
}

__attribute__((noinline)) int Constant() { return 7; }

TEST(PtraceTest, ReadOnlyTextCanBeChanged) {
  // mov eax, 9; ret
  static const unsigned char code[8] = {0xb8, 9, 0, 0, 0, 0xc3, 0x90, 0x90};
  pid_t pid = Tracee([] {
    int (*volatile f)() = Constant;
    return f();
  });
  long word;
  memcpy(&word, code, sizeof(word));
  EXPECT_EQ(ptrace(PTRACE_POKETEXT, pid, reinterpret_cast<void*>(Constant), word), 0)
      << strerror(errno);
  ptrace(PTRACE_CONT, pid, 0, 0);
  EXPECT_TRUE(ExitedWith(WaitFor(pid), 9));
  EXPECT_EQ(Constant(), 7);  // its own copy
}

TEST(PtraceTest, BreakpointByProcMem) {
  pid_t pid = Tracee([] {
    int (*volatile f)() = Constant;
    return f();
  });
  Fd mem(open(("/proc/" + std::to_string(pid) + "/mem").c_str(), O_RDWR));
  ASSERT_GE(mem.get(), 0);
  auto at = static_cast<off_t>(reinterpret_cast<intptr_t>(Constant));
  unsigned char saved = 0, trap = 0xcc;
  ASSERT_EQ(pread(mem.get(), &saved, 1, at), 1);
  ASSERT_EQ(pwrite(mem.get(), &trap, 1, at), 1) << strerror(errno);
  ptrace(PTRACE_CONT, pid, 0, 0);
  EXPECT_TRUE(StoppedBy(WaitFor(pid), SIGTRAP));
  user_regs_struct regs = Regs(pid);
  EXPECT_EQ(regs.rip, static_cast<unsigned long long>(at) + 1);
  ASSERT_EQ(pwrite(mem.get(), &saved, 1, at), 1);
  regs.rip--;
  EXPECT_EQ(ptrace(PTRACE_SETREGS, pid, 0, &regs), 0);
  ptrace(PTRACE_CONT, pid, 0, 0);
  EXPECT_TRUE(ExitedWith(WaitFor(pid), 7));
}

TEST(PtraceTest, RegisterSets) {
  pid_t pid = Tracee([] { return 0; });
  user_regs_struct regs{};
  iovec iov{&regs, sizeof(regs)};
  EXPECT_EQ(ptrace(PTRACE_GETREGSET, pid, NT_PRSTATUS, &iov), 0);
  EXPECT_EQ(iov.iov_len, sizeof(regs));
  EXPECT_EQ(regs.rip, Regs(pid).rip);
  user_fpregs_struct fp{};
  iov = {&fp, sizeof(fp)};
  EXPECT_EQ(ptrace(PTRACE_GETREGSET, pid, NT_PRFPREG, &iov), 0);
  EXPECT_EQ(fp.cwd, 0x37f);
  fp.xmm_space[0] = 0x12345678;
  EXPECT_EQ(ptrace(PTRACE_SETREGSET, pid, NT_PRFPREG, &iov), 0);
  user_fpregs_struct again{};
  EXPECT_EQ(ptrace(PTRACE_GETFPREGS, pid, 0, &again), 0);
  EXPECT_EQ(again.xmm_space[0], 0x12345678u);
  std::vector<char> xstate(16384);
  iov = {xstate.data(), xstate.size()};
  EXPECT_EQ(ptrace(PTRACE_GETREGSET, pid, 0x202 /* NT_X86_XSTATE */, &iov), 0);
  EXPECT_GE(iov.iov_len, 576u);
  uint64_t features = 0;
  memcpy(&features, xstate.data() + 464, sizeof(features));
  EXPECT_EQ(features & 3, 3u);
  EXPECT_EQ(ptrace(PTRACE_SETREGSET, pid, 0x202, &iov), 0) << strerror(errno);
  iov = {&regs, 3};
  EXPECT_ERRNO(EINVAL, ptrace(PTRACE_GETREGSET, pid, NT_PRSTATUS, &iov));
  iov = {&regs, sizeof(regs)};
  EXPECT_ERRNO(EINVAL, ptrace(PTRACE_GETREGSET, pid, 0x9999, &iov));
  KillAndReap(pid);
}

TEST(PtraceTest, SyscallStops) {
  pid_t pid = Tracee([] {
    syscall(SYS_getppid);
    return 0;
  });
  EXPECT_EQ(ptrace(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACESYSGOOD), 0);
  int entries = 0, exits = 0;
  for (;;) {
    ptrace(PTRACE_SYSCALL, pid, 0, 0);
    int status = WaitFor(pid);
    if (!StoppedBy(status, SIGTRAP | 0x80)) {
      EXPECT_TRUE(ExitedWith(status, 0)) << std::hex << status;
      break;
    }
    user_regs_struct regs = Regs(pid);
    __ptrace_syscall_info info{};
    long size = ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof(info), &info);
    if (regs.orig_rax != SYS_getppid) continue;
    EXPECT_EQ(info.arch, AUDIT_ARCH_X86_64);
    EXPECT_EQ(info.instruction_pointer, regs.rip);
    if (info.op == SYSCALL_INFO_ENTRY) {
      entries++;
      EXPECT_EQ(size, 80);
      EXPECT_EQ(info.entry.nr, static_cast<uint64_t>(SYS_getppid));
      EXPECT_EQ(static_cast<long long>(regs.rax), -ENOSYS);
    } else {
      exits++;
      EXPECT_EQ(info.op, SYSCALL_INFO_EXIT);
      EXPECT_EQ(size, 33);
      EXPECT_EQ(info.exit.rval, getpid());
    }
  }
  EXPECT_EQ(entries, 1);
  EXPECT_EQ(exits, 1);
}

// Goes on until the next stop of a system call.
int NextSyscall(pid_t pid) {
  ptrace(PTRACE_SYSCALL, pid, 0, 0);
  return WaitFor(pid);
}

TEST(PtraceTest, ATracerCanChangeTheCallAndItsResult) {
  pid_t pid = Tracee([] {
    if (syscall(SYS_getppid) != 1234) return 1;
    return syscall(SYS_getppid) == -1 && errno == ENOSYS ? 0 : 2;
  });
  ptrace(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACESYSGOOD);
  // Behind raise(SIGSTOP) comes its own end and more.
  while (StoppedBy(NextSyscall(pid), SIGTRAP | 0x80) && Regs(pid).orig_rax != SYS_getppid) {
  }
  EXPECT_TRUE(StoppedBy(NextSyscall(pid), SIGTRAP | 0x80));
  EXPECT_EQ(ptrace(PTRACE_POKEUSER, pid, offsetof(user, regs.rax), 1234), 0);
  EXPECT_TRUE(StoppedBy(NextSyscall(pid), SIGTRAP | 0x80));
  EXPECT_EQ(Regs(pid).orig_rax, static_cast<unsigned long long>(SYS_getppid));
  EXPECT_EQ(ptrace(PTRACE_POKEUSER, pid, offsetof(user, regs.orig_rax), -1L), 0);
  ptrace(PTRACE_CONT, pid, 0, 0);
  EXPECT_TRUE(ExitedWith(WaitFor(pid), 0));
}

TEST(PtraceTest, SysemuSkipsTheCall) {
  pid_t pid = Tracee([] { return syscall(SYS_getppid) == 99 ? 0 : 1; });
  for (;;) {
    ptrace(static_cast<__ptrace_request>(31 /* PTRACE_SYSEMU */), pid, 0, 0);
    ASSERT_TRUE(StoppedBy(WaitFor(pid), SIGTRAP));
    user_regs_struct regs = Regs(pid);
    if (regs.orig_rax == SYS_getppid) {
      regs.rax = 99;
      ptrace(PTRACE_SETREGS, pid, 0, &regs);
      break;
    }
  }
  ptrace(PTRACE_CONT, pid, 0, 0);
  EXPECT_TRUE(ExitedWith(WaitFor(pid), 0));
}

TEST(PtraceTest, SingleStep) {
  pid_t pid = Tracee([] { return Constant(); });
  std::set<unsigned long long> places;
  int steps = 0;
  bool seen = false;
  for (; steps < 20000; steps++) {
    ASSERT_EQ(ptrace(PTRACE_SINGLESTEP, pid, 0, 0), 0);
    int status = WaitFor(pid);
    if (!StoppedBy(status, SIGTRAP)) {
      EXPECT_TRUE(ExitedWith(status, 7)) << std::hex << status;
      break;
    }
    unsigned long long rip = Regs(pid).rip;
    seen |= rip == reinterpret_cast<unsigned long long>(Constant);
    places.insert(rip);
  }
  EXPECT_TRUE(seen);
  EXPECT_GT(places.size(), 5u);
  EXPECT_LT(steps, 20000);
}

TEST(PtraceTest, AttachStopsAndDetachLetsGo) {
  pid_t pid = Pauser();
  EXPECT_ERRNO(ESRCH, ptrace(PTRACE_CONT, pid, 0, 0));  // not ours yet
  ASSERT_EQ(ptrace(PTRACE_ATTACH, pid, 0, 0), 0);
  EXPECT_TRUE(StoppedBy(WaitFor(pid), SIGSTOP));
  std::string status = ReadFile("/proc/" + std::to_string(pid) + "/status");
  EXPECT_NE(status.find("TracerPid:\t" + std::to_string(getpid()) + "\n"), std::string::npos);
  EXPECT_NE(status.find("State:\tt"), std::string::npos) << status;
  EXPECT_EQ(ptrace(PTRACE_DETACH, pid, 0, 0), 0);
  EXPECT_ERRNO(ESRCH, ptrace(PTRACE_CONT, pid, 0, 0));
  KillAndReap(pid);
}

TEST(PtraceTest, AnInterruptedCallIsRestarted) {
  int fds[2];
  ASSERT_EQ(pipe(fds), 0);
  pid_t pid = fork();
  if (pid == 0) {
    char c = 0;
    _exit(read(fds[0], &c, 1) == 1 && c == 'x' ? 0 : 1);
  }
  ASSERT_EQ(ptrace(PTRACE_ATTACH, pid, 0, 0), 0);
  EXPECT_TRUE(StoppedBy(WaitFor(pid), SIGSTOP));
  EXPECT_EQ(ptrace(PTRACE_DETACH, pid, 0, 0), 0);
  ASSERT_EQ(write(fds[1], "x", 1), 1);
  EXPECT_TRUE(ExitedWith(WaitFor(pid), 0));
  close(fds[0]);
  close(fds[1]);
}

TEST(PtraceTest, ErrorsOfRequests) {
  EXPECT_ERRNO(ESRCH, ptrace(PTRACE_ATTACH, 0x7ffffff, 0, 0));
  EXPECT_ERRNO(EPERM, ptrace(PTRACE_ATTACH, getpid(), 0, 0));
  pid_t pid = Tracee([] { return 0; });
  EXPECT_ERRNO(EPERM, ptrace(PTRACE_ATTACH, pid, 0, 0));
  EXPECT_ERRNO(EINVAL, ptrace(PTRACE_SETOPTIONS, pid, 0, 0x40000000));
  EXPECT_ERRNO(EIO, ptrace(PTRACE_CONT, pid, 0, 99));
  EXPECT_ERRNO(EIO, ptrace(static_cast<__ptrace_request>(0x7777), pid, 0, 0));
  EXPECT_ERRNO(EIO, ptrace(PTRACE_INTERRUPT, pid, 0, 0));  // not seized
  EXPECT_ERRNO(EFAULT, ptrace(PTRACE_GETREGS, pid, 0, 0));
  KillAndReap(pid);
}

TEST(PtraceTest, OthersProcessesAreOutOfReach) {
  pid_t pid = Pauser();
  int status =
      AsUser([&] { return ptrace(PTRACE_ATTACH, pid, 0, 0) == -1 && errno == EPERM ? 0 : 1; });
  EXPECT_TRUE(ExitedWith(status, 0) || ExitedWith(status, 99)) << status;
  KillAndReap(pid);
}

TEST(PtraceTest, ForkEventAndTheChild) {
  pid_t pid = Tracee([] {
    pid_t child = fork();
    if (child == 0) _exit(3);
    int status = 0;
    waitpid(child, &status, 0);
    return WEXITSTATUS(status);
  });
  ASSERT_EQ(ptrace(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACEFORK | PTRACE_O_TRACECLONE), 0);
  ptrace(PTRACE_CONT, pid, 0, 0);
  int status = WaitFor(pid);
  ASSERT_TRUE(IsEvent(status, PTRACE_EVENT_FORK)) << std::hex << status;
  unsigned long child = 0;
  ASSERT_EQ(ptrace(PTRACE_GETEVENTMSG, pid, 0, &child), 0);
  // A tracee though it is no child of ours.
  EXPECT_TRUE(StoppedBy(WaitFor(static_cast<pid_t>(child)), SIGSTOP));
  ptrace(PTRACE_CONT, child, 0, 0);
  EXPECT_TRUE(ExitedWith(WaitFor(static_cast<pid_t>(child)), 3));
  ptrace(PTRACE_CONT, pid, 0, 0);
  // Its parent waits for it after us.
  status = WaitFor(pid);
  if (StoppedBy(status, SIGCHLD)) {
    ptrace(PTRACE_CONT, pid, 0, SIGCHLD);
    status = WaitFor(pid);
  }
  EXPECT_TRUE(ExitedWith(status, 3)) << std::hex << status;
}

TEST(PtraceTest, VforkAndItsEnd) {
  pid_t pid = Tracee([] {
    pid_t child = vfork();
    if (child == 0) _exit(0);
    return 0;
  });
  ptrace(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACEVFORK | PTRACE_O_TRACEVFORKDONE);
  ptrace(PTRACE_CONT, pid, 0, 0);
  ASSERT_TRUE(IsEvent(WaitFor(pid), PTRACE_EVENT_VFORK));
  unsigned long child = 0;
  ptrace(PTRACE_GETEVENTMSG, pid, 0, &child);
  EXPECT_TRUE(StoppedBy(WaitFor(static_cast<pid_t>(child)), SIGSTOP));
  ptrace(PTRACE_CONT, child, 0, 0);
  ptrace(PTRACE_CONT, pid, 0, 0);
  EXPECT_TRUE(ExitedWith(WaitFor(static_cast<pid_t>(child)), 0));
  int status = WaitFor(pid);
  while (StoppedBy(status, SIGCHLD)) {
    ptrace(PTRACE_CONT, pid, 0, 0);
    status = WaitFor(pid);
  }
  EXPECT_TRUE(IsEvent(status, PTRACE_EVENT_VFORK_DONE)) << std::hex << status;
  KillAndReap(pid);
}

TEST(PtraceTest, ThreadsAreTraceesOfTheirOwn) {
  pid_t pid = Tracee([] {
    std::thread([] {}).join();
    return 6;
  });
  ptrace(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACECLONE);
  ptrace(PTRACE_CONT, pid, 0, 0);
  ASSERT_TRUE(IsEvent(WaitFor(pid), PTRACE_EVENT_CLONE));
  unsigned long thread = 0;
  ptrace(PTRACE_GETEVENTMSG, pid, 0, &thread);
  pid_t tid = static_cast<pid_t>(thread);
  EXPECT_TRUE(StoppedBy(WaitFor(tid), SIGSTOP));
  ptrace(PTRACE_CONT, pid, 0, 0);
  ptrace(PTRACE_CONT, tid, 0, 0);
  EXPECT_TRUE(ExitedWith(WaitFor(tid), 0));
  EXPECT_TRUE(ExitedWith(WaitFor(pid), 6));
}

TEST(PtraceTest, ExecEventOrSigtrap) {
  for (bool event : {false, true}) {
    pid_t pid = Tracee([] {
      execl("/proc/self/exe", "x", "--gtest_list_tests", nullptr);
      return 1;
    });
    if (event) ptrace(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACEEXEC);
    ptrace(PTRACE_CONT, pid, 0, 0);
    int status = WaitFor(pid);
    EXPECT_EQ(status >> 8, event ? SIGTRAP | (PTRACE_EVENT_EXEC << 8) : SIGTRAP);
    if (event) {
      unsigned long message = 0;
      ptrace(PTRACE_GETEVENTMSG, pid, 0, &message);
      EXPECT_EQ(message, static_cast<unsigned long>(pid));
    }
    KillAndReap(pid);
  }
}

TEST(PtraceTest, ExitEventHasTheStatus) {
  pid_t pid = Tracee([] { return 9; });
  ptrace(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACEEXIT);
  ptrace(PTRACE_CONT, pid, 0, 0);
  ASSERT_TRUE(IsEvent(WaitFor(pid), PTRACE_EVENT_EXIT));
  unsigned long message = 0;
  EXPECT_EQ(ptrace(PTRACE_GETEVENTMSG, pid, 0, &message), 0);
  EXPECT_EQ(message, 9u << 8);
  EXPECT_GT(Regs(pid).rip, 0u);
  ptrace(PTRACE_CONT, pid, 0, 0);
  EXPECT_TRUE(ExitedWith(WaitFor(pid), 9));
}

TEST(PtraceTest, ExitkillEndsTheTracee) {
  int fds[2];
  ASSERT_EQ(pipe(fds), 0);
  int status = InChild([&] {
    pid_t pid = fork();
    if (pid == 0) {
      for (;;) pause();
    }
    if (ptrace(PTRACE_SEIZE, pid, 0, PTRACE_O_EXITKILL) != 0) return 1;
    return 0;  // and its end closes the last writer but for the tracee
  });
  EXPECT_TRUE(ExitedWith(status, 0));
  close(fds[1]);
  char c;
  EXPECT_EQ(read(fds[0], &c, 1), 0);
  close(fds[0]);
}

TEST(PtraceSeizeTest, InterruptAndListen) {
  pid_t pid = Pauser();
  ASSERT_EQ(ptrace(PTRACE_SEIZE, pid, 0, 0), 0);
  ASSERT_EQ(ptrace(PTRACE_INTERRUPT, pid, 0, 0), 0);
  EXPECT_EQ(WaitFor(pid) >> 8, SIGTRAP | (EVENT_STOP << 8));
  // A group-stop: told by its signal and the event.
  ptrace(PTRACE_CONT, pid, 0, 0);
  kill(pid, SIGSTOP);
  EXPECT_EQ(WaitFor(pid) >> 8, SIGSTOP);
  ptrace(PTRACE_CONT, pid, 0, SIGSTOP);
  EXPECT_EQ(WaitFor(pid) >> 8, SIGSTOP | (EVENT_STOP << 8));
  ASSERT_EQ(ptrace(PTRACE_LISTEN, pid, 0, 0), 0);
  EXPECT_ERRNO(ESRCH, ptrace(PTRACE_CONT, pid, 0, 0));
  int status = 0;
  EXPECT_EQ(waitpid(pid, &status, WNOHANG | __WALL), 0);
  kill(pid, SIGCONT);
  EXPECT_EQ(WaitFor(pid) >> 8, SIGTRAP | (EVENT_STOP << 8));
  ptrace(PTRACE_CONT, pid, 0, 0);
  EXPECT_TRUE(StoppedBy(WaitFor(pid), SIGCONT));
  KillAndReap(pid);
}

TEST(PtraceSeizeTest, ChildrenBeginWithAnEventStop) {
  pid_t pid = fork();
  if (pid == 0) {
    raise(SIGSTOP);
    if (fork() == 0) _exit(0);
    for (;;) pause();
  }
  int status = 0;
  ASSERT_EQ(waitpid(pid, &status, WUNTRACED), pid);
  ASSERT_EQ(ptrace(PTRACE_SEIZE, pid, 0, PTRACE_O_TRACEFORK), 0);
  EXPECT_EQ(WaitFor(pid) >> 8, SIGSTOP | (EVENT_STOP << 8));
  kill(pid, SIGCONT);
  ptrace(PTRACE_CONT, pid, 0, 0);
  unsigned long child = 0;
  for (;;) {
    status = WaitFor(pid);
    ASSERT_TRUE(WIFSTOPPED(status));
    if (IsEvent(status, PTRACE_EVENT_FORK)) break;
    ptrace(PTRACE_CONT, pid, 0, 0);
  }
  ptrace(PTRACE_GETEVENTMSG, pid, 0, &child);
  EXPECT_EQ(WaitFor(static_cast<pid_t>(child)) >> 8, SIGTRAP | (EVENT_STOP << 8));
  KillAndReap(static_cast<pid_t>(child));
  KillAndReap(pid);
}

TEST(PtraceTest, GroupStopOfAnAttachedTaskHasNoSiginfo) {
  pid_t pid = Pauser();
  ptrace(PTRACE_ATTACH, pid, 0, 0);
  EXPECT_TRUE(StoppedBy(WaitFor(pid), SIGSTOP));
  siginfo_t info{};
  EXPECT_EQ(ptrace(PTRACE_GETSIGINFO, pid, 0, &info), 0);
  ptrace(PTRACE_CONT, pid, 0, SIGSTOP);
  EXPECT_TRUE(StoppedBy(WaitFor(pid), SIGSTOP));
  EXPECT_ERRNO(EINVAL, ptrace(PTRACE_GETSIGINFO, pid, 0, &info));
  KillAndReap(pid);
}

TEST(PtraceTest, SeccompEvent) {
  pid_t pid = Tracee([] {
    sock_filter code[] = {{BPF_LD | BPF_W | BPF_ABS, 0, 0, offsetof(seccomp_data, nr)},
                          {BPF_JMP | BPF_JEQ | BPF_K, 0, 1, SYS_getppid},
                          {BPF_RET | BPF_K, 0, 0, SECCOMP_RET_TRACE | 77},
                          {BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW}};
    sock_fprog program{4, code};
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) return 1;
    return syscall(SYS_getppid) == 55 ? 0 : 2;
  });
  ptrace(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACESECCOMP);
  ptrace(PTRACE_CONT, pid, 0, 0);
  int status = WaitFor(pid);
  ASSERT_TRUE(IsEvent(status, PTRACE_EVENT_SECCOMP)) << std::hex << status;
  unsigned long message = 0;
  ptrace(PTRACE_GETEVENTMSG, pid, 0, &message);
  EXPECT_EQ(message, 77u);
  user_regs_struct regs = Regs(pid);
  EXPECT_EQ(regs.orig_rax, static_cast<unsigned long long>(SYS_getppid));
  regs.orig_rax = -1ULL;  // not made, and with this result
  regs.rax = 55;
  ptrace(PTRACE_SETREGS, pid, 0, &regs);
  ptrace(PTRACE_CONT, pid, 0, 0);
  EXPECT_TRUE(ExitedWith(WaitFor(pid), 0));
}

TEST(PtraceTest, SignalMaskOfATracee) {
  pid_t pid = Tracee([] { return 0; });
  uint64_t mask = 0;
  EXPECT_EQ(ptrace(static_cast<__ptrace_request>(0x420a), pid, 8, &mask), 0);
  mask |= 1 << (SIGUSR1 - 1);
  EXPECT_EQ(ptrace(static_cast<__ptrace_request>(0x420b), pid, 8, &mask), 0);
  uint64_t again = 0;
  EXPECT_EQ(ptrace(static_cast<__ptrace_request>(0x420a), pid, 8, &again), 0);
  EXPECT_EQ(again, mask);
  EXPECT_ERRNO(EINVAL, ptrace(static_cast<__ptrace_request>(0x420a), pid, 4, &mask));
  KillAndReap(pid);
}

TEST(PtraceTest, TheEndOfATracerLetsItsTraceesGo) {
  int fds[2];
  ASSERT_EQ(pipe(fds), 0);
  pid_t pid = Pauser();
  int status = InChild([&] {
    if (ptrace(PTRACE_ATTACH, pid, 0, 0) != 0) return 1;
    return StoppedBy(WaitFor(pid), SIGSTOP) ? 0 : 2;
  });
  EXPECT_TRUE(ExitedWith(status, 0));
  KillAndReap(pid);
  close(fds[0]);
  close(fds[1]);
}

}  // namespace
}  // namespace sandboxd::test
