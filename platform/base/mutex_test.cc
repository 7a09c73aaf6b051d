#include "platform/base/mutex.h"

#include <gtest/gtest.h>

#include <thread>

namespace sandboxd {
namespace {

TEST(MutexTest, RisingRanksMayNest) {
  Mutex outer(LockRank::kTaskTree);
  Mutex inner(LockRank::kMm);
  MutexLock a(outer);
  MutexLock b(inner);
}

TEST(MutexTest, OrderOfReleaseIsFree) {
  Mutex outer(LockRank::kTaskTree);
  Mutex inner(LockRank::kMm);
  outer.Lock();
  inner.Lock();
  outer.Unlock();
  inner.Unlock();
  AssertNoLocksHeld();
}

TEST(MutexTest, PairTakesBothAndAcceptsOneTwice) {
  Mutex a(LockRank::kSocket);
  Mutex b(LockRank::kSocket);
  { MutexLockPair both(a, b); }
  { MutexLockPair both(b, a); }
  { MutexLockPair same(a, a); }
  AssertNoLocksHeld();
  MutexLock again(a);
}

TEST(MutexTest, GuardsAgainstOtherThreads) {
  Mutex mutex(LockRank::kLeaf);
  int n = 0;
  auto count = [&] {
    for (int i = 0; i < 20000; i++) {
      MutexLock lock(mutex);
      n++;
    }
  };
  std::thread other(count);
  count();
  other.join();
  EXPECT_EQ(n, 40000);
}

TEST(CondVarTest, WakesTheWaiter) {
  Mutex mutex(LockRank::kLeaf);
  CondVar changed;
  bool ready = false;
  std::thread other([&] {
    MutexLock lock(mutex);
    ready = true;
    changed.NotifyAll();
  });
  {
    MutexLock lock(mutex);
    while (!ready) changed.Wait(mutex);
  }
  other.join();
  AssertNoLocksHeld();
}

TEST(CondVarTest, TimesOutWithTheMutexHeld) {
  Mutex mutex(LockRank::kLeaf);
  CondVar never;
  MutexLock lock(mutex);
  EXPECT_FALSE(never.WaitFor(mutex, Nanos(1)));
  std::thread([&]() NO_THREAD_SAFETY_ANALYSIS { EXPECT_FALSE(mutex.TryLock()); }).join();
}

#ifndef NDEBUG
void TakeBoth(Mutex& first, Mutex& second) {
  MutexLock a(first);
  MutexLock b(second);
}

TEST(MutexDeathTest, FallingRankIsFatal) {
  Mutex low(LockRank::kTaskTree);
  Mutex high(LockRank::kMm);
  EXPECT_DEATH(TakeBoth(high, low), "lock order: rank 100 wanted while holding rank 200");
}

TEST(MutexDeathTest, TwoOfOneRankAreFatalOutsideAPair) {
  Mutex a(LockRank::kSocket);
  Mutex b(LockRank::kSocket);
  EXPECT_DEATH(TakeBoth(a, b), "lock order");
}

TEST(MutexDeathTest, BlockingWithALockIsFatal) {
  Mutex mutex(LockRank::kTaskTree);
  MutexLock lock(mutex);
  EXPECT_DEATH(AssertNoLocksHeld(), "holding rank 100");
}
#endif

}  // namespace
}  // namespace sandboxd
