#include "kernel/time/timer.h"

#include <gtest/gtest.h>

#include <atomic>

#include "kernel/time/clock.h"

namespace sandboxd::time {
namespace {

// Lets a test wait for callbacks.
class Counter {
 public:
  void Add(uint64_t n) {
    MutexLock lock(mutex_);
    value_ += n;
    changed_.NotifyAll();
  }
  void WaitFor(uint64_t at_least) {
    MutexLock lock(mutex_);
    while (value_ < at_least) changed_.Wait(mutex_);
  }

 private:
  Mutex mutex_{LockRank::kLeaf};
  CondVar changed_;
  uint64_t value_ GUARDED_BY(mutex_) = 0;
};

TEST(TimerTest, AOneShotTimerFiresOnceAndIsDisarmed) {
  TimerService service;
  Counter counter;
  Timer timer(service, [&](uint64_t n) { counter.Add(n); });
  timer.Start(MonotonicNow(), Nanos(0));
  counter.WaitFor(1);
  timer.Stop();
  EXPECT_EQ(timer.Get().remaining, Nanos(0));
}

TEST(TimerTest, AnIntervalTimerCountsWhatItOverran) {
  TimerService service;
  Counter counter;
  std::atomic<uint64_t> first{0};
  Timer timer(service, [&](uint64_t n) {
    uint64_t none = 0;
    first.compare_exchange_strong(none, n);
    counter.Add(n);
  });
  // Due ten and a half intervals ago: eleven expirations at once.
  Nanos hour = std::chrono::hours(1);
  timer.Start(MonotonicNow() - hour * 10 - hour / 2, hour);
  counter.WaitFor(11);
  EXPECT_EQ(first.load(), 11u);
  EXPECT_GT(timer.Get().remaining, Nanos(0));
  EXPECT_LE(timer.Get().remaining, hour);
}

TEST(TimerTest, TheEarliestComesFirstWhateverTheOrderOfStarting) {
  TimerService service;
  Counter counter;
  Timer late(service, [&](uint64_t) { FAIL() << "not due"; });
  Timer soon(service, [&](uint64_t n) { counter.Add(n); });
  late.Start(MonotonicNow() + std::chrono::hours(1), Nanos(0));
  soon.Start(MonotonicNow() + std::chrono::milliseconds(1), Nanos(0));
  counter.WaitFor(1);
  late.Stop();
}

TEST(TimerTest, ATimerMayStopAndRestartItselfInItsCallback) {
  TimerService service;
  Counter counter;
  Timer* self = nullptr;
  Timer timer(service, [&](uint64_t) {
    self->Stop();
    counter.Add(1);
    self->Start(MonotonicNow(), Nanos(0));
  });
  self = &timer;
  timer.Start(MonotonicNow(), Nanos(0));
  counter.WaitFor(3);
}

TEST(TimerTest, StopWaitsForARunningCallback) {
  TimerService service;
  Counter entered, leave;
  std::atomic<bool> done{false};
  auto timer = std::make_unique<Timer>(service, [&](uint64_t) {
    entered.Add(1);
    leave.WaitFor(1);
    done = true;
  });
  timer->Start(MonotonicNow(), Nanos(0));
  entered.WaitFor(1);
  leave.Add(1);
  timer.reset();
  EXPECT_TRUE(done.load());
}

}  // namespace
}  // namespace sandboxd::time
