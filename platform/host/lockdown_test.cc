#include "platform/host/lockdown.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/capability.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <functional>

namespace sandboxd::host {
namespace {

constexpr int kCannotRunHere = 77;

// The exit status of `body` in a process and a user namespace of its own.
int InNamespaces(const std::function<int()>& body) {
  const pid_t pid = fork();
  if (pid == 0) _exit(unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0 ? body() : kCannotRunHere);
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

#define EXPECT_STATUS_0(call)                                                            \
  do {                                                                                   \
    const int status = (call);                                                           \
    if (status == kCannotRunHere) GTEST_SKIP() << "this host allows no user namespaces"; \
    EXPECT_EQ(status, 0);                                                                \
  } while (0)

TEST(LockdownTest, CapabilitiesAreGoneForGood) {
  EXPECT_STATUS_0(InNamespaces([] {
    if (!DropAllCapabilities().ok() || !SetNoNewPrivsAndNoCore().ok()) return 1;
    cap_t now = cap_get_proc();
    cap_t none = cap_init();
    if (cap_compare(now, none) != 0) return 2;
    for (int cap = 0; cap <= CAP_LAST_CAP; cap++) {
      if (prctl(PR_CAPBSET_READ, cap) == 1) return 3;
    }
    return prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 ? 0 : 4;
  }));
}

TEST(LockdownTest, RootIsEmptyAndReadOnlyAndHasNoWayOut) {
  EXPECT_STATUS_0(InNamespaces([] {
    if (!EnterEmptyRoot().ok()) return 1;
    if (open("/f", O_CREAT | O_WRONLY, 0600) >= 0) return 2;
    if (mkdir("/d", 0700) == 0) return 3;
    if (chdir("/../../..") != 0) return 4;
    for (const char* name : {"etc", "proc", "tmp", "/etc", "/proc/self", "../etc"}) {
      if (access(name, F_OK) == 0) return 5;
    }
    return 0;
  }));
}

TEST(LockdownTest, OnlyTheDescriptorsNamedStayOpen) {
  EXPECT_STATUS_0(InNamespaces([] {
    for (int fd : {50, 51, 60, 61}) {
      if (dup2(1, fd) != fd) return 1;
    }
    const int keep[] = {60, -1, 2, 50};
    if (!CloseAllFdsBut(keep).ok()) return 2;
    for (int fd = 0; fd < 100; fd++) {
      const bool open = fcntl(fd, F_GETFD) >= 0;
      if (open != (fd == 2 || fd == 50 || fd == 60)) return 3;
    }
    return 0;
  }));
}

}  // namespace
}  // namespace sandboxd::host
