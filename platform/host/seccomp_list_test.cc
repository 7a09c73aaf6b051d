#include "platform/host/seccomp_list.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <functional>
#include <thread>

namespace sandboxd::host {
namespace {

int InChild(const std::function<int()>& body) {
  const pid_t pid = fork();
  if (pid == 0) {
    const int status = body();
    for (;;) syscall(SYS_exit_group, status);
  }
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

SeccompList TestList() {
  SeccompList list;
  list.Allow(SYS_exit_group, "leaving");
  list.Allow(SYS_fcntl, "reading flags", {ArgIs(0, 1), Arg32Is(1, F_GETFL)});
  list.Allow(SYS_fcntl, "reading descriptor flags", {Arg32Is(1, F_GETFD)});
  return list;
}

int AfterLoad(const std::function<long()>& call) {
  return InChild([&] {
    if (!TestList().Load().ok()) return 99;
    return call() >= 0 ? 0 : 1;
  });
}

TEST(SeccompListTest, WhatIsListedWorks) {
  EXPECT_EQ(AfterLoad([] { return syscall(SYS_fcntl, 1, F_GETFL); }), 0);
  EXPECT_EQ(AfterLoad([] { return syscall(SYS_fcntl, 2, F_GETFD); }), 0);
}

TEST(SeccompListTest, AnythingElseKills) {
  EXPECT_EQ(AfterLoad([] { return syscall(SYS_getpid); }), 128 + SIGSYS);
  EXPECT_EQ(AfterLoad([] { return syscall(SYS_openat, AT_FDCWD, "/", O_RDONLY); }), 128 + SIGSYS);
}

TEST(SeccompListTest, OtherArgumentsKill) {
  EXPECT_EQ(AfterLoad([] { return syscall(SYS_fcntl, 2, F_GETFL); }), 128 + SIGSYS);
  EXPECT_EQ(AfterLoad([] { return syscall(SYS_fcntl, 1, F_SETFL, 0); }), 128 + SIGSYS);
}

TEST(SeccompListTest, OtherEntriesIntoTheHostKill) {
  EXPECT_EQ(AfterLoad([] {
              long result;
              asm volatile("int $0x80" : "=a"(result) : "a"(1), "b"(0) : "memory");  // exit(0)
              return result;
            }),
            128 + SIGSYS);
  constexpr long kX32Bit = 0x40000000;
  EXPECT_EQ(AfterLoad([] { return syscall(kX32Bit | SYS_exit_group, 0); }), 128 + SIGSYS);
}

TEST(SeccompListTest, PrintsEachRuleWithItsReason) {
  EXPECT_EQ(TestList().ToString(),
            "exit_group  leaving\n"
            "fcntl(arg0 == 0x1, arg1 & 0xffffffff == 0x3)  reading flags\n"
            "fcntl(arg1 & 0xffffffff == 0x1)  reading descriptor flags\n");
}

}  // namespace
}  // namespace sandboxd::host
