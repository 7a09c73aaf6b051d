// Trips the seccomp list of sandbox-kernel from inside, in children that have loaded it.
#include "kernel/boot/seccomp_list.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <functional>

#include "platform/testing/fake_platform.h"

namespace sandboxd::boot {
namespace {

// The wait status of a child that runs `act` behind the list, and exits with its result.
int RunLockedDown(const std::function<int()>& act) {
  platform::FakePlatform platform;
  pid_t child = fork();
  if (child == 0) {
    if (!KernelSeccompList(platform).Load().ok()) _exit(99);
    _exit(act());
  }
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  return status;
}

void ExpectKilledBySeccomp(const char* what, const std::function<int()>& act) {
  int status = RunLockedDown(act);
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS)
      << what << ": wait status " << status;
}

TEST(KernelSeccompListTest, OpeningAFileKills) {
  ExpectKilledBySeccomp(
      "open", [] { return static_cast<int>(syscall(SYS_open, "/etc/passwd", O_RDONLY)); });
  ExpectKilledBySeccomp("openat", [] { return openat(AT_FDCWD, "/etc/passwd", O_RDONLY); });
  ExpectKilledBySeccomp(
      "openat2", [] { return static_cast<int>(syscall(SYS_openat2, AT_FDCWD, "/", nullptr, 0)); });
  ExpectKilledBySeccomp("stat by path", [] {
    return static_cast<int>(syscall(SYS_newfstatat, AT_FDCWD, "/", nullptr, 0));
  });
}

TEST(KernelSeccompListTest, RunningAProgramKills) {
  ExpectKilledBySeccomp("execve", [] {
    return static_cast<int>(syscall(SYS_execve, "/bin/true", nullptr, nullptr));
  });
  ExpectKilledBySeccomp("execveat", [] {
    return static_cast<int>(syscall(SYS_execveat, 0, "", nullptr, nullptr, 0));
  });
}

TEST(KernelSeccompListTest, MakingASocketKills) {
  ExpectKilledBySeccomp("socket", [] { return socket(AF_INET, SOCK_STREAM, 0); });
  ExpectKilledBySeccomp("connect", [] { return connect(0, nullptr, 0); });
}

TEST(KernelSeccompListTest, MakingAProcessKills) {
  ExpectKilledBySeccomp("fork", [] { return static_cast<int>(syscall(SYS_fork)); });
  ExpectKilledBySeccomp("clone",
                        [] { return static_cast<int>(syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0)); });
}

TEST(KernelSeccompListTest, ExecutableMemoryKills) {
  ExpectKilledBySeccomp("mmap", [] {
    return mmap(nullptr, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) ==
           MAP_FAILED;
  });
}

TEST(KernelSeccompListTest, CloneWithFlagsInMemoryFailsSoThatTheCheckedOneIsUsed) {
  int status = RunLockedDown([] { return syscall(SYS_clone3, nullptr, 0) == -1 ? errno : 0; });
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), ENOSYS);
}

TEST(KernelSeccompListTest, WhatTheKernelNeedsIsAllowed) {
  UniqueFd data(memfd_create("data", MFD_CLOEXEC));
  const int fd = data.get();
  int status = RunLockedDown([fd] {
    if (ftruncate(fd, 4096) != 0 || pwrite(fd, "x", 1, 0) != 1) return 1;
    void* map = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    return map != MAP_FAILED && close(fd) == 0 ? 0 : 2;
  });
  EXPECT_EQ(status, 0);
}

}  // namespace
}  // namespace sandboxd::boot
