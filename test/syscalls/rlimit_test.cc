// getrlimit(2), prlimit(2), getrusage(2), getpriority(2), sched_setaffinity(2).
#include <sched.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include <cstring>
#include <vector>

#include "test/syscalls/testing.h"

namespace sandboxd::test {
namespace {

TEST(RlimitTest, LoweringIsAllowedAndInherited) {
  int status = InChild([] {
    rlimit limit;
    if (getrlimit(RLIMIT_CORE, &limit) != 0) return 1;
    limit.rlim_cur = 0;
    if (setrlimit(RLIMIT_CORE, &limit) != 0) return 2;
    return ExitedWith(InChild([] {
                        rlimit inherited;
                        getrlimit(RLIMIT_CORE, &inherited);
                        return inherited.rlim_cur == 0 ? 0 : 1;
                      }),
                      0)
               ? 0
               : 3;
  });
  EXPECT_TRUE(ExitedWith(status, 0)) << status;
}

TEST(RlimitTest, ArgumentsAreChecked) {
  rlimit limit{2, 1};
  EXPECT_ERRNO(EINVAL, setrlimit(RLIMIT_NOFILE, &limit));
  EXPECT_ERRNO(EINVAL, syscall(SYS_getrlimit, 16, &limit));
  EXPECT_ERRNO(EINVAL, syscall(SYS_prlimit64, 0, -1, nullptr, nullptr));
  EXPECT_ERRNO(ESRCH, syscall(SYS_prlimit64, 0x3fffffff, RLIMIT_NOFILE, nullptr, nullptr));
  EXPECT_ERRNO(EFAULT, syscall(SYS_setrlimit, RLIMIT_NOFILE, 8));
}

TEST(RlimitTest, NofileBoundsDescriptors) {
  int status = InChild([] {
    rlimit limit{10, 10};
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0) return 1;
    while (dup(0) >= 0) continue;
    return errno == EMFILE ? 0 : 2;
  });
  EXPECT_TRUE(ExitedWith(status, 0)) << status;
}

TEST(RlimitTest, FsizeSendsSigxfsz) {
  TempFile file;
  int status = InChild([&file] {
    rlimit limit{4, 4};
    if (setrlimit(RLIMIT_FSIZE, &limit) != 0) return 1;
    Fd fd = file.Open(O_WRONLY);
    if (write(fd.get(), "123456", 6) != 4) return 2;
    return write(fd.get(), "x", 1) == 1 ? 3 : 4;
  });
  EXPECT_TRUE(KilledBy(status, SIGXFSZ)) << status;
}

TEST(RlimitTest, NprocBoundsOrdinaryUsers) {
  if (geteuid() != 0) GTEST_SKIP() << "needs an id of its own";
  int status = InChild([] {
    rlimit limit{1, 1};
    if (setrlimit(RLIMIT_NPROC, &limit) != 0) return 1;
    if (syscall(SYS_setuid, 54321) != 0) return 2;
    pid_t pid = fork();
    if (pid == 0) _exit(0);
    return pid == -1 && errno == EAGAIN ? 0 : 3;
  });
  EXPECT_TRUE(ExitedWith(status, 0)) << status;
}

TEST(RlimitTest, CpuLimitSendsSigxcpu) {
  int status = InChild([] {
    rlimit limit{1, 3};
    if (setrlimit(RLIMIT_CPU, &limit) != 0) return 1;
    volatile int spins = 0;
    for (;;) spins = spins + 1;
  });
  EXPECT_TRUE(KilledBy(status, SIGXCPU)) << status;
}

TEST(RlimitTest, OnlyThePrivilegedRaiseHardLimits) {
  if (geteuid() != 0) GTEST_SKIP() << "needs an id to change to";
  int status = InChild([] {
    rlimit limit{10, 10};
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0) return 1;
    if (syscall(SYS_setuid, 1000) != 0) return 2;
    limit = {10, 11};
    return setrlimit(RLIMIT_NOFILE, &limit) == -1 && errno == EPERM ? 0 : 3;
  });
  EXPECT_TRUE(ExitedWith(status, 0)) << status;
}

TEST(GetrusageTest, TimesOfSelfAndChildren) {
  rusage usage;
  ASSERT_EQ(getrusage(RUSAGE_SELF, &usage), 0);
  EXPECT_GT(usage.ru_maxrss, 0);
  ASSERT_EQ(getrusage(RUSAGE_CHILDREN, &usage), 0);
  ASSERT_EQ(getrusage(RUSAGE_THREAD, &usage), 0);
  EXPECT_ERRNO(EINVAL, syscall(SYS_getrusage, 5, &usage));
}

TEST(PriorityTest, NiceValuesAreRemembered) {
  int status = InChild([] {
    if (setpriority(PRIO_PROCESS, 0, 7) != 0) return 1;
    if (getpriority(PRIO_PROCESS, 0) != 7) return 2;
    if (setpriority(PRIO_PROCESS, 0, 100) != 0) return 3;
    return getpriority(PRIO_PROCESS, 0) == 19 ? 0 : 4;
  });
  EXPECT_TRUE(ExitedWith(status, 0)) << status;
  EXPECT_ERRNO(EINVAL, getpriority(static_cast<__priority_which>(9), 0));
  EXPECT_ERRNO(ESRCH, getpriority(PRIO_PROCESS, 0x3fffffff));
}

TEST(SchedTest, AffinityIsNeverEmpty) {
  cpu_set_t set;
  ASSERT_EQ(sched_getaffinity(0, sizeof(set), &set), 0);
  EXPECT_GE(CPU_COUNT(&set), 1);
  ASSERT_EQ(sched_setaffinity(0, sizeof(set), &set), 0);
  CPU_ZERO(&set);
  EXPECT_ERRNO(EINVAL, sched_setaffinity(0, sizeof(set), &set));
  EXPECT_ERRNO(ESRCH, sched_getaffinity(0x3fffffff, sizeof(set), &set));
}

TEST(SchedTest, PoliciesAreChecked) {
  EXPECT_EQ(sched_get_priority_max(SCHED_FIFO), 99);
  EXPECT_EQ(sched_get_priority_min(SCHED_RR), 1);
  EXPECT_EQ(sched_get_priority_max(SCHED_OTHER), 0);
  EXPECT_ERRNO(EINVAL, sched_get_priority_max(77));
  sched_param param{};
  param.sched_priority = 5;
  EXPECT_ERRNO(EINVAL, sched_setscheduler(0, SCHED_OTHER, &param));
  EXPECT_EQ(sched_getscheduler(0), SCHED_OTHER);
}

TEST(RlimitTest, GrowingAFileBeyondItsLimitIsSigxfsz) {
  TempFile file;
  int status = InChild([&] {
    signal(SIGXFSZ, SIG_IGN);
    rlimit limit = {1024, 1024};
    if (setrlimit(RLIMIT_FSIZE, &limit) != 0) return 1;
    if (truncate(file.path(), 1024) != 0) return 2;
    if (truncate(file.path(), 1025) == 0 || errno != EFBIG) return 3;
    Fd fd = file.Open(O_RDWR);
    if (ftruncate(fd.get(), 4096) == 0 || errno != EFBIG) return 4;
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGXFSZ);
    signal(SIGXFSZ, SIG_DFL);
    sigprocmask(SIG_BLOCK, &set, nullptr);
    if (truncate(file.path(), 4096) == 0 || errno != EFBIG) return 5;
    timespec none = {};
    return sigtimedwait(&set, nullptr, &none) == SIGXFSZ ? 0 : 6;
  });
  EXPECT_EQ(status, 0);
}

}  // namespace
}  // namespace sandboxd::test
