#include "kernel/time/clock.h"

#include <gtest/gtest.h>

namespace sandboxd::time {
namespace {

TEST(ClockTest, ConversionsKeepTheValue) {
  EXPECT_EQ(Timespec::From(Nanos(1'500'000'001)).sec, 1);
  EXPECT_EQ(Timespec::From(Nanos(1'500'000'001)).nsec, 500'000'001);
  EXPECT_EQ((Timespec{2, 3}.ToNanos()), Nanos(2'000'000'003));
  EXPECT_EQ((Timeval{2, 3}.ToNanos()), Nanos(2'000'003'000));
}

TEST(ClockTest, HugeTimesSaturate) {
  EXPECT_EQ((Timespec{INT64_MAX, 0}.ToNanos()), Nanos::max());
  EXPECT_EQ(*ToMonotonic(CLOCK_MONOTONIC, Nanos::max()), Nanos::max());
}

TEST(ClockTest, InvalidTimesAreSeen) {
  EXPECT_FALSE((Timespec{-1, 0}.valid()));
  EXPECT_FALSE((Timespec{0, 1'000'000'000}.valid()));
  EXPECT_FALSE((Timeval{0, 1'000'000}.valid()));
}

TEST(ClockTest, CpuClocksAreNotTheHosts) {
  EXPECT_TRUE(HostClockNow(CLOCK_PROCESS_CPUTIME_ID).Is(Errno::kEINVAL));
  EXPECT_TRUE(HostClockNow(CLOCK_TAI).ok());
}

TEST(ClockTest, APastRealtimePointIsInThePastOfMonotonic) {
  Nanos before = MonotonicNow();
  auto point = ToMonotonic(CLOCK_REALTIME, RealtimeNow() - std::chrono::hours(1));
  ASSERT_TRUE(point.ok());
  EXPECT_LT(*point, before);
}

}  // namespace
}  // namespace sandboxd::time
