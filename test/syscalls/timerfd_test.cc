// timerfd_create(2).
#include <poll.h>
#include <sys/timerfd.h>

#include <cstdint>
#include <cstring>

#include "test/syscalls/testing.h"

namespace sandboxd::test {
namespace {

int Arm(int fd, long ns, long interval_ns = 0) {
  itimerspec t = {{0, interval_ns}, {0, ns}};
  return timerfd_settime(fd, 0, &t, nullptr);
}
uint64_t Take(int fd) {
  uint64_t value = 0;
  EXPECT_EQ(read(fd, &value, sizeof(value)), 8);
  return value;
}

TEST(TimerfdTest, ReadWaitsForTheExpiration) {
  for (clockid_t clock : {CLOCK_MONOTONIC, CLOCK_REALTIME, CLOCK_BOOTTIME}) {
    Fd fd(timerfd_create(clock, 0));
    ASSERT_GE(fd.get(), 0);
    ASSERT_EQ(Arm(fd.get(), 1'000'000), 0);
    EXPECT_EQ(Take(fd.get()), 1u);
    itimerspec now;
    ASSERT_EQ(timerfd_gettime(fd.get(), &now), 0);
    EXPECT_EQ(now.it_value.tv_sec, 0);
    EXPECT_EQ(now.it_value.tv_nsec, 0);
  }
}

TEST(TimerfdTest, IntervalsAddUp) {
  Fd fd(timerfd_create(CLOCK_MONOTONIC, 0));
  ASSERT_EQ(Arm(fd.get(), 1'000'000, 1'000'000), 0);
  uint64_t total = 0;
  while (total < 5) total += Take(fd.get());
  itimerspec off = {}, old;
  ASSERT_EQ(timerfd_settime(fd.get(), 0, &off, &old), 0);
  EXPECT_EQ(old.it_interval.tv_nsec, 1'000'000);
  pollfd p = {fd.get(), POLLIN, 0};
  EXPECT_EQ(poll(&p, 1, 0), 0);
}

TEST(TimerfdTest, AnAbsoluteTimeInThePastHasExpired) {
  for (clockid_t clock : {CLOCK_MONOTONIC, CLOCK_REALTIME}) {
    Fd fd(timerfd_create(clock, 0));
    itimerspec t = {{0, 0}, {1, 0}};
    ASSERT_EQ(timerfd_settime(fd.get(), TFD_TIMER_ABSTIME, &t, nullptr), 0);
    EXPECT_EQ(Take(fd.get()), 1u);
  }
}

TEST(TimerfdTest, DisarmedIsEagainAndPollSaysSo) {
  Fd fd(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK));
  uint64_t value;
  EXPECT_ERRNO(EAGAIN, read(fd.get(), &value, sizeof(value)));
  ASSERT_EQ(Arm(fd.get(), 999'999'999), 0);
  EXPECT_ERRNO(EAGAIN, read(fd.get(), &value, sizeof(value)));
  EXPECT_ERRNO(EINVAL, read(fd.get(), &value, 7));
  ASSERT_EQ(Arm(fd.get(), 1), 0);
  pollfd p = {fd.get(), POLLIN, 0};
  EXPECT_EQ(poll(&p, 1, -1), 1);
}

TEST(TimerfdTest, ArgumentsAreChecked) {
  EXPECT_ERRNO(EINVAL, timerfd_create(CLOCK_PROCESS_CPUTIME_ID, 0));
  EXPECT_ERRNO(EINVAL, timerfd_create(CLOCK_MONOTONIC, 1));
  Fd fd(timerfd_create(CLOCK_MONOTONIC, 0));
  itimerspec t = {{0, 0}, {0, 1'000'000'000}};
  EXPECT_ERRNO(EINVAL, timerfd_settime(fd.get(), 0, &t, nullptr));
  t.it_value.tv_nsec = 0;
  EXPECT_ERRNO(EINVAL, timerfd_settime(fd.get(), 8, &t, nullptr));
  EXPECT_ERRNO(EBADF, timerfd_settime(9999, 0, &t, nullptr));
  EXPECT_ERRNO(EINVAL, timerfd_settime(STDIN_FILENO, 0, &t, nullptr));
}

}  // namespace
}  // namespace sandboxd::test
