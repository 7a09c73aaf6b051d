// The stub's list as a stub would meet it that runs free.
#include "platform/stub/stub_seccomp.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <functional>

#include "platform/stub/layout.h"
#include "platform/stub/machine.h"

namespace sandboxd::platform::stub {
namespace {

constexpr int kKilled = 128 + SIGSYS;

int Free(const std::function<long()>& call) {
  const pid_t pid = fork();
  if (pid == 0) {
    if (!StubSeccompList(Kind::kTraced).Load().ok()) _exit(99);
    const long result = call();
    for (;;) syscall(SYS_exit_group, result >= 0 ? 0 : 1);
  }
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

TEST(StubSeccompTest, MemoryCallsWork) {
  EXPECT_EQ(Free([] {
              long at = syscall(SYS_mmap, 0, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
              return syscall(SYS_munmap, at, 4096);
            }),
            0);
}

TEST(StubSeccompTest, WhatReachesOthersKills) {
  const pid_t self = getpid();
  EXPECT_EQ(Free([] { return syscall(SYS_openat, AT_FDCWD, "/etc/passwd", O_RDONLY); }), kKilled);
  EXPECT_EQ(Free([] { return syscall(SYS_execve, "/bin/true", nullptr, nullptr); }), kKilled);
  EXPECT_EQ(Free([] { return syscall(SYS_socket, AF_INET, SOCK_STREAM, 0); }), kKilled);
  EXPECT_EQ(Free([&] { return syscall(SYS_kill, self, 0); }), kKilled);
  EXPECT_EQ(Free([&] { return syscall(SYS_ptrace, 16, self, 0, 0); }), kKilled);
  EXPECT_EQ(Free([&] { return syscall(SYS_process_vm_readv, self, 0, 0, 0, 0, 0); }), kKilled);
  EXPECT_EQ(Free([] { return syscall(SYS_write, 1, "x", 1); }), kKilled);
  EXPECT_EQ(Free([] { return syscall(SYS_sendmsg, 0, nullptr, 0); }), kKilled);
  EXPECT_EQ(Free([] { return syscall(SYS_fork); }), kKilled);
  EXPECT_EQ(Free([] { return syscall(SYS_unshare, CLONE_NEWUSER); }), kKilled);
}

TEST(StubSeccompTest, OtherArgumentsKill) {
  for (unsigned long flags :
       {static_cast<unsigned long>(SIGCHLD), CLONE_NEWUSER | 0x808000UL, CLONE_VM | 0UL,
        SANDBOXD_STUB_THREAD_FLAGS | 0UL | CLONE_THREAD, 0xffff'ffff'0000'0000UL | 0x808000}) {
    EXPECT_EQ(Free([flags] { return syscall(SYS_clone, flags, 0, 0, 0, 0); }), kKilled) << flags;
  }
  EXPECT_EQ(Free([] { return syscall(SYS_prctl, PR_SET_DUMPABLE, 0); }), kKilled);
  EXPECT_EQ(Free([] { return syscall(SYS_prctl, PR_SET_PDEATHSIG, 0); }), kKilled);
  EXPECT_EQ(Free([] { return syscall(SYS_socketpair, AF_UNIX, SOCK_STREAM, 0, nullptr); }),
            kKilled);
  EXPECT_EQ(Free([] { return syscall(SYS_sendto, 1, "x", 1, 0, nullptr, 0); }), kKilled);
  EXPECT_EQ(Free([] { return syscall(SYS_recvfrom, 3, nullptr, 0, 0, nullptr, nullptr); }),
            kKilled);
}

// As a monitor meets it that application code has taken over.
int Monitor(const std::function<long()>& call) {
  const pid_t pid = fork();
  if (pid == 0) {
    if (!StubSeccompList(Kind::kMachine).Load().ok()) _exit(99);
    const long result = call();
    for (;;) syscall(SYS_exit_group, result >= 0 ? 0 : 1);
  }
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

TEST(StubSeccompTest, AMonitorHasTheRequestsToKvmThatItNeeds) {
  // No such descriptor: the host's answer, not the list's.
  constexpr int kFails = 1;
  EXPECT_EQ(Monitor([] { return syscall(SYS_ioctl, 99, KVM_RUN, 0); }), kFails);
  EXPECT_EQ(Monitor([] { return syscall(SYS_ioctl, 99, kSetMsrsRequest, 0); }), kFails);
  for (unsigned long request : std::initializer_list<unsigned long>{
           KVM_CREATE_IRQCHIP, KVM_CREATE_DEVICE, KVM_IRQFD, KVM_IOEVENTFD, KVM_GET_MSR_INDEX_LIST,
           KVM_CHECK_EXTENSION, KVM_SET_GUEST_DEBUG, KVM_ENABLE_CAP}) {
    EXPECT_EQ(Monitor([request] { return syscall(SYS_ioctl, 2, request, 0); }), kKilled) << request;
  }
  // A machine comes from /dev/kvm, its memory and processors from the machine.
  EXPECT_EQ(Monitor([] { return syscall(SYS_ioctl, 5, KVM_CREATE_VM, 0); }), kKilled);
  EXPECT_EQ(Monitor([] { return syscall(SYS_ioctl, 1, KVM_CREATE_VM, 1); }), kKilled);
  EXPECT_EQ(Monitor([] { return syscall(SYS_ioctl, 1, KVM_CREATE_VCPU, 0); }), kKilled);
  EXPECT_EQ(Monitor([] { return syscall(SYS_ioctl, 0, TIOCSTI, 0); }), kKilled);
  EXPECT_EQ(Monitor([] { return syscall(SYS_fcntl, 0, F_SETFL, 0); }), kKilled);
  EXPECT_EQ(Monitor([] { return syscall(SYS_close_range, 0, 100, 0); }), kKilled);
  EXPECT_EQ(Monitor([] { return syscall(SYS_openat, AT_FDCWD, "/dev/kvm", O_RDWR); }), kKilled);
}

}  // namespace
}  // namespace sandboxd::platform::stub
