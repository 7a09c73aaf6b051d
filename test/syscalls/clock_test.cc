// clock_gettime(2), nanosleep(2), clock_nanosleep(2), times(2).
#include <signal.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/times.h>
#include <time.h>

#include <cstring>

#include "test/syscalls/testing.h"

namespace sandboxd::test {
namespace {

int64_t Now(clockid_t clock) {
  timespec t{};
  // The call itself, not the vdso.
  EXPECT_EQ(syscall(SYS_clock_gettime, clock, &t), 0) << clock;
  return int64_t{t.tv_sec} * 1'000'000'000 + t.tv_nsec;
}

TEST(ClockTest, EveryClockAnswersAndNeverGoesBack) {
  for (clockid_t clock : {CLOCK_MONOTONIC, CLOCK_MONOTONIC_RAW, CLOCK_MONOTONIC_COARSE,
                          CLOCK_BOOTTIME, CLOCK_PROCESS_CPUTIME_ID, CLOCK_THREAD_CPUTIME_ID}) {
    int64_t before = Now(clock);
    EXPECT_GE(Now(clock), before) << clock;
  }
  EXPECT_GT(Now(CLOCK_REALTIME), 0);
  EXPECT_GT(Now(CLOCK_TAI), 0);
}

TEST(ClockTest, TheCallAgreesWithTheVdso) {
  timespec vdso;
  int64_t before = Now(CLOCK_MONOTONIC);
  clock_gettime(CLOCK_MONOTONIC, &vdso);
  int64_t middle = int64_t{vdso.tv_sec} * 1'000'000'000 + vdso.tv_nsec;
  EXPECT_GE(middle, before);
  EXPECT_GE(Now(CLOCK_MONOTONIC), middle);
}

TEST(ClockTest, UnknownClocksAreInvalid) {
  timespec t;
  EXPECT_ERRNO(EINVAL, syscall(SYS_clock_gettime, 99, &t));
  EXPECT_ERRNO(EINVAL, syscall(SYS_clock_getres, 99, &t));
  EXPECT_ERRNO(EFAULT, syscall(SYS_clock_gettime, CLOCK_REALTIME, 8));
  EXPECT_ERRNO(EINVAL, syscall(SYS_clock_settime, CLOCK_MONOTONIC, &t));
}

TEST(ClockTest, CpuClockOfAnotherProcess) {
  clockid_t clock;
  ASSERT_EQ(clock_getcpuclockid(getpid(), &clock), 0);
  EXPECT_GE(Now(clock), 0);
}

TEST(ClockTest, CpuTimeGrowsWithWork) {
  int64_t before = Now(CLOCK_PROCESS_CPUTIME_ID);
  while (Now(CLOCK_PROCESS_CPUTIME_ID) <= before + 1'000'000) continue;
  tms t;
  EXPECT_NE(times(&t), -1);
}

TEST(NanosleepTest, SleepsAtLeastThatLong) {
  int64_t before = Now(CLOCK_MONOTONIC);
  timespec t{0, 2'000'000};
  EXPECT_EQ(nanosleep(&t, nullptr), 0);
  EXPECT_GE(Now(CLOCK_MONOTONIC) - before, 2'000'000);
}

TEST(NanosleepTest, ArgumentsAreChecked) {
  timespec bad{0, 1'000'000'000};
  EXPECT_ERRNO(EINVAL, nanosleep(&bad, nullptr));
  bad = {-1, 0};
  EXPECT_ERRNO(EINVAL, nanosleep(&bad, nullptr));
  EXPECT_EQ(clock_nanosleep(99, 0, &bad, nullptr), EINVAL);
  timespec zero{};
  EXPECT_EQ(clock_nanosleep(CLOCK_THREAD_CPUTIME_ID, 0, &zero, nullptr), EINVAL);
}

TEST(NanosleepTest, AnAbsoluteTimeInThePastReturnsAtOnce) {
  timespec past{1, 0};
  for (clockid_t clock : {CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME, CLOCK_TAI}) {
    EXPECT_EQ(clock_nanosleep(clock, TIMER_ABSTIME, &past, nullptr), 0);
  }
}

TEST(NanosleepTest, ASignalLeavesTheRest) {
  signal(SIGALRM, [](int) {});
  // Again and again: the first may come before the sleep.
  const itimerval often{{0, 1000}, {0, 1000}}, never{};
  setitimer(ITIMER_REAL, &often, nullptr);
  timespec t{100, 0}, rest{};
  EXPECT_ERRNO(EINTR, nanosleep(&t, &rest));
  setitimer(ITIMER_REAL, &never, nullptr);
  EXPECT_GT(rest.tv_sec, 50);
  EXPECT_LE(rest.tv_sec, 100);
  signal(SIGALRM, SIG_DFL);
}

TEST(NanosleepTest, AStopAndContinueDoesNotEndIt) {
  pid_t pid = fork();
  if (pid == 0) {
    timespec t{0, 20'000'000};
    _exit(nanosleep(&t, nullptr) == 0 ? 0 : 1);
  }
  int status;
  kill(pid, SIGSTOP);
  ASSERT_EQ(waitpid(pid, &status, WUNTRACED), pid);
  ASSERT_TRUE(WIFSTOPPED(status));
  kill(pid, SIGCONT);
  ASSERT_EQ(waitpid(pid, &status, 0), pid);
  EXPECT_TRUE(ExitedWith(status, 0));
}

}  // namespace
}  // namespace sandboxd::test
