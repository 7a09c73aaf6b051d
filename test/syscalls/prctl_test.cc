// prctl(2), arch_prctl(2), personality(2), uname(2), unshare(2), getrandom(2), sysinfo(2).
#include <asm/prctl.h>
#include <sched.h>
#include <signal.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>

#include <cstring>
#include <string>

#include "test/syscalls/testing.h"

namespace sandboxd::test {
namespace {

TEST(PrctlTest, NamesAreCutAtFifteenBytes) {
  char old[16], now[16];
  ASSERT_EQ(prctl(PR_GET_NAME, old), 0);
  ASSERT_EQ(prctl(PR_SET_NAME, "0123456789abcdefgh"), 0);
  ASSERT_EQ(prctl(PR_GET_NAME, now), 0);
  EXPECT_STREQ(now, "0123456789abcde");
  prctl(PR_SET_NAME, old);
}

TEST(PrctlTest, NoNewPrivsStays) {
  int status = InChild([] {
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return 1;
    if (prctl(PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0) != -1) return 2;
    return prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 ? 0 : 3;
  });
  EXPECT_TRUE(ExitedWith(status, 0)) << status;
}

TEST(PrctlTest, DeathSignalIsRememberedAndNotInherited) {
  int signo = -1;
  EXPECT_ERRNO(EINVAL, prctl(PR_SET_PDEATHSIG, 65));
  ASSERT_EQ(prctl(PR_SET_PDEATHSIG, SIGUSR2), 0);
  ASSERT_EQ(prctl(PR_GET_PDEATHSIG, &signo), 0);
  EXPECT_EQ(signo, SIGUSR2);
  EXPECT_TRUE(ExitedWith(InChild([] {
                           int inherited = -1;
                           prctl(PR_GET_PDEATHSIG, &inherited);
                           return inherited;
                         }),
                         0));
  prctl(PR_SET_PDEATHSIG, 0);
}

TEST(PrctlTest, DumpableIsZeroOrOne) {
  int old = prctl(PR_GET_DUMPABLE);
  EXPECT_ERRNO(EINVAL, prctl(PR_SET_DUMPABLE, 2));
  ASSERT_EQ(prctl(PR_SET_DUMPABLE, 0), 0);
  EXPECT_EQ(prctl(PR_GET_DUMPABLE), 0);
  prctl(PR_SET_DUMPABLE, old);
}

TEST(PrctlTest, UnknownOptionsAreInvalid) { EXPECT_ERRNO(EINVAL, prctl(12345)); }

TEST(ArchPrctlTest, FsBaseIsTheThreadPointer) {
  uint64_t fs = 0;
  ASSERT_EQ(syscall(SYS_arch_prctl, ARCH_GET_FS, &fs), 0);
  uint64_t self;
  asm("movq %%fs:0, %0" : "=r"(self));
  EXPECT_EQ(fs, self);
  EXPECT_ERRNO(EPERM, syscall(SYS_arch_prctl, ARCH_SET_GS, ~uint64_t{0}));
  EXPECT_ERRNO(EINVAL, syscall(SYS_arch_prctl, 0x9999, 0));
}

TEST(ArchPrctlTest, GsBaseIsUsed) {
  static uint64_t word = 0x1122334455667788;
  ASSERT_EQ(syscall(SYS_arch_prctl, ARCH_SET_GS, &word), 0);
  uint64_t got;
  asm volatile("movq %%gs:0, %0" : "=r"(got));
  EXPECT_EQ(got, word);
  EXPECT_EQ(syscall(SYS_arch_prctl, ARCH_SET_GS, 0), 0);
}

TEST(PersonalityTest, IsRememberedAndInherited) {
  int old = personality(0xffffffff);
  ASSERT_GE(personality(static_cast<unsigned long>(old) | ADDR_NO_RANDOMIZE), 0);
  EXPECT_TRUE(ExitedWith(
      InChild([] { return (personality(0xffffffff) & ADDR_NO_RANDOMIZE) != 0 ? 0 : 1; }), 0));
  personality(static_cast<unsigned long>(old));
}

TEST(UnameTest, SaysLinuxOnX86) {
  utsname name{};
  ASSERT_EQ(uname(&name), 0);
  EXPECT_STREQ(name.sysname, "Linux");
  EXPECT_STREQ(name.machine, "x86_64");
  EXPECT_NE(strlen(name.release), 0u);
  EXPECT_ERRNO(EFAULT, syscall(SYS_uname, 8));
}

TEST(UnameTest, HostnamesAreOfTheirNamespace) {
  int status = InChild([] {
    if (unshare(CLONE_NEWUTS) != 0) return 100;
    if (sethostname("inside", 6) != 0) return 1;
    utsname name{};
    uname(&name);
    if (strcmp(name.nodename, "inside") != 0) return 2;
    const std::string long_name(65, 'x');
    if (sethostname(long_name.data(), long_name.size()) != -1 || errno != EINVAL) return 3;
    return 0;
  });
  if (ExitedWith(status, 100)) GTEST_SKIP() << "may not make a UTS namespace here";
  EXPECT_TRUE(ExitedWith(status, 0)) << status;
  utsname name{};
  uname(&name);
  EXPECT_STRNE(name.nodename, "inside");
}

TEST(UnshareTest, FilesBecomePrivate) {
  EXPECT_ERRNO(EINVAL, unshare(1));
  int fd = open("/dev/null", O_RDONLY);
  // A child that shares the table, but for the unsharing.
  pid_t pid = static_cast<pid_t>(syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0));
  if (pid == 0) _exit(unshare(CLONE_FILES) == 0 && close(fd) == 0 ? 0 : 1);
  int status;
  ASSERT_EQ(waitpid(pid, &status, 0), pid);
  EXPECT_TRUE(ExitedWith(status, 0));
  EXPECT_EQ(close(fd), 0);
}

TEST(UnshareTest, TheFirstChildInANewPidNamespaceIsItsInit) {
  int status = InChild([] {
    if (unshare(CLONE_NEWPID) != 0) return 100;
    int inner = InChild([] { return getpid() == 1 && getppid() == 0 ? 0 : 1; });
    if (!ExitedWith(inner, 0)) return 1;
    // Its init is gone: nobody else can be added.
    pid_t pid = fork();
    if (pid == 0) _exit(0);
    return pid == -1 && errno == ENOMEM ? 0 : 2;
  });
  if (ExitedWith(status, 100)) GTEST_SKIP() << "may not make a pid namespace here";
  EXPECT_TRUE(ExitedWith(status, 0)) << status;
}

TEST(UnshareTest, TheEndOfAnInitEndsItsNamespace) {
  int fds[2];
  ASSERT_EQ(pipe(fds), 0);
  int status = InChild([&fds] {
    if (unshare(CLONE_NEWPID) != 0) return 100;
    return ExitedWith(InChild([&fds] {
                        for (int i = 0; i < 3; i++) {
                          if (fork() == 0) {
                            for (;;) pause();
                          }
                        }
                        close(fds[0]);
                        return 5;
                      }),
                      5)
               ? 0
               : 1;
  });
  close(fds[1]);
  if (ExitedWith(status, 100)) {
    close(fds[0]);
    GTEST_SKIP() << "may not make a pid namespace here";
  }
  EXPECT_TRUE(ExitedWith(status, 0)) << status;
  // End of file: nobody holds the other end any more.
  char c;
  EXPECT_EQ(read(fds[0], &c, 1), 0);
  close(fds[0]);
}

TEST(GetrandomTest, FillsWhatItIsGiven) {
  unsigned char bytes[512] = {};
  ASSERT_EQ(getrandom(bytes, sizeof(bytes), 0), ssize_t{sizeof(bytes)});
  int zeros = 0;
  for (unsigned char b : bytes) zeros += b == 0;
  EXPECT_LT(zeros, 100);
  EXPECT_ERRNO(EINVAL, getrandom(bytes, 1, 0x100));
  EXPECT_ERRNO(EFAULT, syscall(SYS_getrandom, 8, 16, 0));
  EXPECT_EQ(getrandom(bytes, 0, 0), 0);
}

TEST(SysinfoTest, HasMemoryAndProcesses) {
  struct sysinfo info {};
  ASSERT_EQ(sysinfo(&info), 0);
  EXPECT_GT(info.totalram, 0u);
  EXPECT_GT(info.procs, 0);
  EXPECT_GT(info.mem_unit, 0u);
}

}  // namespace
}  // namespace sandboxd::test
