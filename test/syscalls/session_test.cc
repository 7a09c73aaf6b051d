// setpgid(2), setsid(2), and what orphaned process groups get.
#include <signal.h>
#include <sys/syscall.h>

#include <cstring>

#include "test/syscalls/testing.h"

namespace sandboxd::test {
namespace {

pid_t PausedChild() {
  pid_t pid = fork();
  if (pid == 0) {
    for (;;) pause();
  }
  return pid;
}
void End(pid_t pid) {
  kill(pid, SIGKILL);
  EXPECT_EQ(waitpid(pid, nullptr, 0), pid);
}

TEST(ProcessGroupTest, AChildCanBeGivenItsOwnGroup) {
  pid_t pid = PausedChild();
  EXPECT_EQ(getpgid(pid), getpgrp());
  EXPECT_EQ(setpgid(pid, 0), 0);
  EXPECT_EQ(getpgid(pid), pid);
  EXPECT_EQ(setpgid(pid, getpgrp()), 0);
  EXPECT_EQ(getpgid(pid), getpgrp());
  End(pid);
}

TEST(ProcessGroupTest, SetpgidChecksItsArguments) {
  EXPECT_ERRNO(EINVAL, setpgid(0, -1));
  EXPECT_ERRNO(ESRCH, setpgid(0x3fffffff, 0));
  pid_t pid = PausedChild();
  EXPECT_ERRNO(EPERM, setpgid(pid, 0x3fffffff));
  End(pid);
  EXPECT_ERRNO(ESRCH, getpgid(0x3fffffff));
  EXPECT_ERRNO(ESRCH, getsid(0x3fffffff));
}

TEST(ProcessGroupTest, KillOfAGroupReachesAllItsMembers) {
  pid_t a = PausedChild(), b = PausedChild();
  ASSERT_EQ(setpgid(a, a), 0);
  ASSERT_EQ(setpgid(b, a), 0);
  EXPECT_EQ(kill(-a, SIGTERM), 0);
  int status;
  EXPECT_EQ(waitpid(a, &status, 0), a);
  EXPECT_TRUE(KilledBy(status, SIGTERM));
  EXPECT_EQ(waitpid(b, &status, 0), b);
  EXPECT_TRUE(KilledBy(status, SIGTERM));
  EXPECT_ERRNO(ESRCH, kill(-a, 0));
}

TEST(ProcessGroupTest, AnIdStaysTakenWhileItsGroupHasMembers) {
  pid_t leader = PausedChild(), member = PausedChild();
  ASSERT_EQ(setpgid(leader, leader), 0);
  ASSERT_EQ(setpgid(member, leader), 0);
  End(leader);
  EXPECT_EQ(getpgid(member), leader);
  EXPECT_EQ(kill(-leader, 0), 0);
  End(member);
}

TEST(SessionTest, SetsidMakesALeaderOfBoth) {
  int status = InChild([] {
    pid_t sid = setsid();
    if (sid != getpid() || getsid(0) != sid || getpgrp() != sid) return 1;
    errno = 0;
    if (setsid() != -1 || errno != EPERM) return 2;
    errno = 0;
    if (setpgid(0, 0) != -1 || errno != EPERM) return 3;
    return 0;
  });
  EXPECT_TRUE(ExitedWith(status, 0)) << status;
}

TEST(SessionTest, AGroupLeaderCannotMakeASession) {
  int status = InChild([] {
    if (setpgid(0, 0) != 0) return 1;
    return setsid() == -1 && errno == EPERM ? 0 : 2;
  });
  EXPECT_TRUE(ExitedWith(status, 0)) << status;
}

TEST(SessionTest, AChildOfAnotherSessionCannotBeMoved) {
  int ready[2];
  ASSERT_EQ(pipe(ready), 0);
  pid_t pid = fork();
  if (pid == 0) {
    setsid();
    if (write(ready[1], "x", 1) != 1) _exit(1);
    for (;;) pause();
  }
  char c;
  ASSERT_EQ(read(ready[0], &c, 1), 1);
  EXPECT_ERRNO(EPERM, setpgid(pid, getpgrp()));
  End(pid);
  close(ready[0]);
  close(ready[1]);
}

TEST(SessionTest, ANewlyOrphanedStoppedGroupGetsHupAndCont) {
  // A session: middle is the only link between it and the stopped child's group.
  int result[2];
  ASSERT_EQ(pipe(result), 0);
  pid_t leader = fork();
  if (leader == 0) {
    setsid();
    pid_t middle = fork();
    if (middle == 0) {
      pid_t child = fork();
      if (child == 0) {
        setpgid(0, 0);
        struct sigaction action {};
        static int fd;
        fd = result[1];
        action.sa_handler = [](int) {
          char c = 'H';
          _exit(write(fd, &c, 1) == 1 ? 0 : 1);
        };
        sigaction(SIGHUP, &action, nullptr);
        raise(SIGSTOP);
        _exit(2);
      }
      int status;
      waitpid(child, &status, WUNTRACED);
      _exit(WIFSTOPPED(status) ? 0 : 1);
    }
    int status;
    waitpid(middle, &status, 0);
    // The child is init's now, in another session.
    _exit(WEXITSTATUS(status));
  }
  close(result[1]);
  char c = 0;
  EXPECT_EQ(read(result[0], &c, 1), 1);
  EXPECT_EQ(c, 'H');
  int status;
  EXPECT_EQ(waitpid(leader, &status, 0), leader);
  EXPECT_TRUE(ExitedWith(status, 0));
  close(result[0]);
}

TEST(SessionTest, SigtstpDoesNothingInAnOrphanedGroup) {
  int status = InChild([] {
    setsid();  // its parent is in another session: the group is orphaned
    raise(SIGTSTP);
    return 4;
  });
  EXPECT_TRUE(ExitedWith(status, 4));
}

}  // namespace
}  // namespace sandboxd::test
