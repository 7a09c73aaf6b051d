// wait4(2), waitid(2), and how children tell their parents.
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include <cstring>
#include <thread>

#include "test/syscalls/testing.h"

namespace sandboxd::test {
namespace {

pid_t Child(const std::function<int()>& body) {
  fflush(nullptr);
  pid_t pid = fork();
  if (pid == 0) _exit(body());
  return pid;
}
pid_t PausedChild() {
  return Child([] {
    for (;;) pause();
    return 0;
  });
}

// An action for the length of a test.
class WithAction {
 public:
  WithAction(int signo, const struct sigaction& action) : signo_(signo) {
    sigaction(signo, &action, &old_);
  }
  ~WithAction() { sigaction(signo_, &old_, nullptr); }

 private:
  int signo_;
  struct sigaction old_;
};

TEST(WaitTest, NoChildrenIsEchild) {
  EXPECT_ERRNO(ECHILD, waitpid(-1, nullptr, 0));
  EXPECT_ERRNO(ECHILD, waitpid(getpid(), nullptr, 0));
  EXPECT_ERRNO(ECHILD, waitpid(-getpgrp() - 1000000, nullptr, WNOHANG));
}

TEST(WaitTest, BadOptionsAreInvalid) {
  EXPECT_ERRNO(EINVAL, waitpid(-1, nullptr, 0x80));
  siginfo_t info;
  EXPECT_ERRNO(EINVAL, waitid(P_ALL, 0, &info, WNOHANG));
  EXPECT_ERRNO(EINVAL, waitid(P_PID, 0, &info, WEXITED));
  EXPECT_ERRNO(ESRCH, syscall(SYS_wait4, INT32_MIN, nullptr, 0, nullptr));
}

TEST(WaitTest, StatusSaysHowTheChildEnded) {
  EXPECT_TRUE(ExitedWith(InChild([] { return 42; }), 42));
  EXPECT_TRUE(KilledBy(InChild([] { return raise(SIGKILL); }), SIGKILL));
  EXPECT_TRUE(KilledBy(InChild([] { return raise(SIGTERM); }), SIGTERM));
}

TEST(WaitTest, NohangReturnsZeroWhileTheChildRuns) {
  pid_t pid = PausedChild();
  int status = 123;
  EXPECT_EQ(waitpid(pid, &status, WNOHANG), 0);
  EXPECT_EQ(status, 123);
  siginfo_t info;
  memset(&info, 0xff, sizeof(info));
  EXPECT_EQ(waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOHANG), 0);
  EXPECT_EQ(info.si_pid, 0);
  EXPECT_EQ(info.si_signo, 0);
  kill(pid, SIGKILL);
  EXPECT_EQ(waitpid(pid, &status, 0), pid);
}

TEST(WaitTest, NowaitLeavesTheZombie) {
  pid_t pid = Child([] { return 5; });
  siginfo_t info{};
  ASSERT_EQ(waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOWAIT), 0);
  EXPECT_EQ(info.si_code, CLD_EXITED);
  EXPECT_EQ(info.si_status, 5);
  EXPECT_EQ(info.si_signo, SIGCHLD);
  EXPECT_EQ(info.si_uid, getuid());
  int status;
  EXPECT_EQ(waitpid(pid, &status, 0), pid);
  EXPECT_TRUE(ExitedWith(status, 5));
  EXPECT_ERRNO(ECHILD, waitpid(pid, &status, 0));
}

TEST(WaitTest, AZombieCanBeSignalledUntilItIsReaped) {
  pid_t pid = Child([] { return 0; });
  siginfo_t info{};
  ASSERT_EQ(waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOWAIT), 0);
  EXPECT_EQ(kill(pid, SIGTERM), 0);
  EXPECT_EQ(waitpid(pid, nullptr, 0), pid);
  EXPECT_ERRNO(ESRCH, kill(pid, 0));
}

TEST(WaitTest, StopsAndContinuesAreReportedOnceEach) {
  pid_t pid = PausedChild();
  int status;
  ASSERT_EQ(kill(pid, SIGSTOP), 0);
  ASSERT_EQ(waitpid(pid, &status, WUNTRACED), pid);
  EXPECT_TRUE(WIFSTOPPED(status));
  EXPECT_EQ(WSTOPSIG(status), SIGSTOP);
  EXPECT_EQ(waitpid(pid, &status, WUNTRACED | WNOHANG), 0);
  ASSERT_EQ(kill(pid, SIGCONT), 0);
  ASSERT_EQ(waitpid(pid, &status, WCONTINUED), pid);
  EXPECT_TRUE(WIFCONTINUED(status));
  EXPECT_EQ(waitpid(pid, &status, WCONTINUED | WNOHANG), 0);
  ASSERT_EQ(kill(pid, SIGKILL), 0);
  ASSERT_EQ(waitpid(pid, &status, 0), pid);
  EXPECT_TRUE(KilledBy(status, SIGKILL));
}

TEST(WaitTest, AStoppedChildDiesOfSigkill) {
  pid_t pid = PausedChild();
  int status;
  kill(pid, SIGSTOP);
  ASSERT_EQ(waitpid(pid, &status, WUNTRACED), pid);
  kill(pid, SIGKILL);
  ASSERT_EQ(waitpid(pid, &status, 0), pid);
  EXPECT_TRUE(KilledBy(status, SIGKILL));
}

TEST(WaitTest, WaitidTellsStoppedFromContinued) {
  pid_t pid = PausedChild();
  siginfo_t info{};
  kill(pid, SIGTSTP);
  // The test may run in an orphaned process group, where SIGTSTP does nothing: SIGSTOP always does.
  kill(pid, SIGSTOP);
  ASSERT_EQ(waitid(P_PID, static_cast<id_t>(pid), &info, WSTOPPED), 0);
  EXPECT_EQ(info.si_code, CLD_STOPPED);
  kill(pid, SIGCONT);
  ASSERT_EQ(waitid(P_PID, static_cast<id_t>(pid), &info, WCONTINUED), 0);
  EXPECT_EQ(info.si_code, CLD_CONTINUED);
  EXPECT_EQ(info.si_status, SIGCONT);
  kill(pid, SIGKILL);
  EXPECT_EQ(waitpid(pid, nullptr, 0), pid);
}

TEST(WaitTest, ByProcessGroup) {
  pid_t pid = Child([] { return 3; });
  setpgid(pid, pid);  // fails if the child is gone already: then its group is ours
  pid_t group = getpgid(pid);
  int status;
  EXPECT_EQ(waitpid(-group, &status, 0), pid);
  EXPECT_TRUE(ExitedWith(status, 3));
}

TEST(WaitTest, AnyThreadMayWaitUnlessNothread) {
  pid_t pid = Child([] { return 1; });
  std::thread([pid] {
    EXPECT_ERRNO(ECHILD, waitpid(pid, nullptr, __WNOTHREAD));
    EXPECT_EQ(waitpid(pid, nullptr, 0), pid);
  }).join();
}

TEST(WaitTest, RusageIsThatOfTheChild) {
  pid_t pid = Child([] { return 0; });
  rusage usage;
  memset(&usage, 0xff, sizeof(usage));
  EXPECT_EQ(wait4(pid, nullptr, 0, &usage), pid);
  EXPECT_GE(usage.ru_utime.tv_sec, 0);
  EXPECT_LT(usage.ru_utime.tv_sec, 60);
  EXPECT_GT(usage.ru_maxrss, 0);
}

TEST(WaitTest, IgnoredSigchldReapsChildrenByItself) {
  struct sigaction ignore {};
  ignore.sa_handler = SIG_IGN;
  WithAction with(SIGCHLD, ignore);
  pid_t pid = Child([] { return 0; });
  EXPECT_ERRNO(ECHILD, waitpid(pid, nullptr, 0));
  EXPECT_ERRNO(ESRCH, kill(pid, 0));
}

TEST(WaitTest, NocldwaitReapsChildrenByItself) {
  struct sigaction action {};
  action.sa_handler = SIG_DFL;
  action.sa_flags = SA_NOCLDWAIT;
  WithAction with(SIGCHLD, action);
  pid_t pid = Child([] { return 0; });
  EXPECT_ERRNO(ECHILD, waitpid(pid, nullptr, 0));
}

TEST(WaitTest, SigchldSaysWhoAndHow) {
  sigset_t set, old;
  sigemptyset(&set);
  sigaddset(&set, SIGCHLD);
  sigprocmask(SIG_BLOCK, &set, &old);
  pid_t pid = Child([] { return 17; });
  siginfo_t info{};
  EXPECT_EQ(sigwaitinfo(&set, &info), SIGCHLD);
  EXPECT_EQ(info.si_code, CLD_EXITED);
  EXPECT_EQ(info.si_pid, pid);
  EXPECT_EQ(info.si_status, 17);
  EXPECT_EQ(waitpid(pid, nullptr, 0), pid);
  sigprocmask(SIG_SETMASK, &old, nullptr);
}

volatile sig_atomic_t handled = 0;

TEST(WaitTest, AHandlerWithoutRestartInterrupts) {
  struct sigaction action {};
  action.sa_handler = [](int) { handled = 1; };
  WithAction with(SIGUSR1, action);
  handled = 0;
  pid_t parent = getpid();
  // The signal may come before the wait begins; then it comes again.
  pid_t pid = Child([parent] {
    for (;;) {
      kill(parent, SIGUSR1);
      usleep(1000);
    }
    return 0;
  });
  EXPECT_ERRNO(EINTR, waitpid(pid, nullptr, 0));
  EXPECT_EQ(handled, 1);
  kill(pid, SIGKILL);
  while (waitpid(pid, nullptr, 0) == -1 && errno == EINTR) continue;
}

TEST(WaitTest, AHandlerWithRestartDoesNot) {
  struct sigaction action {};
  action.sa_handler = [](int) { handled = handled + 1; };
  action.sa_flags = SA_RESTART;
  WithAction with(SIGUSR1, action);
  handled = 0;
  pid_t parent = getpid();
  pid_t pid = Child([parent] {
    for (int i = 0; i < 20; i++) kill(parent, SIGUSR1);
    return 2;
  });
  int status;
  EXPECT_EQ(waitpid(pid, &status, 0), pid);
  EXPECT_TRUE(ExitedWith(status, 2));
  EXPECT_GE(handled, 1);
}

TEST(WaitTest, ZombiesAreNobodyToACallThatDoesNotAskForEnds) {
  pid_t pid = Child([] { return 3; });
  siginfo_t info;
  ASSERT_EQ(waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOWAIT), 0);
  EXPECT_ERRNO(ECHILD, waitid(P_PID, static_cast<id_t>(pid), &info, WSTOPPED));
  EXPECT_EQ(waitpid(pid, nullptr, 0), pid);
}

}  // namespace
}  // namespace sandboxd::test
