#include "platform/base/mutex.h"

#include "platform/base/check.h"

namespace sandboxd {

#ifndef NDEBUG
namespace {
struct HeldLocks {
  static constexpr int kMax = 32;
  LockRank ranks[kMax];
  int count = 0;
};
thread_local HeldLocks t_held;

void Push(LockRank rank) {
  CHECK(t_held.count < HeldLocks::kMax);
  t_held.ranks[t_held.count++] = rank;
}

LockRank Highest() {
  LockRank highest = static_cast<LockRank>(0);
  for (int i = 0; i < t_held.count; i++) {
    if (t_held.ranks[i] > highest) highest = t_held.ranks[i];
  }
  return highest;
}
}  // namespace

void Mutex::NoteAcquire(LockRank rank) {
  CHECK_MSG(Highest() < rank, "lock order: rank %d wanted while holding rank %d",
            static_cast<int>(rank), static_cast<int>(Highest()));
  Push(rank);
}

void Mutex::NoteAcquireSameRankAllowed(LockRank rank) {
  CHECK_MSG(Highest() <= rank, "lock order: rank %d wanted while holding rank %d",
            static_cast<int>(rank), static_cast<int>(Highest()));
  Push(rank);
}

// A try-lock can't deadlock, so it may break the order.
void Mutex::NoteTryAcquired(LockRank rank) { Push(rank); }

void Mutex::NoteRelease(LockRank rank) {
  for (int i = t_held.count - 1; i >= 0; i--) {
    if (t_held.ranks[i] != rank) continue;
    for (int j = i; j + 1 < t_held.count; j++) t_held.ranks[j] = t_held.ranks[j + 1];
    t_held.count--;
    return;
  }
  CHECK_MSG(false, "released a mutex of rank %d that this thread does not hold",
            static_cast<int>(rank));
}

void AssertNoLocksHeld() {
  CHECK_MSG(t_held.count == 0, "holding rank %d", static_cast<int>(Highest()));
}
#else
void AssertNoLocksHeld() {}
#endif

MutexLockPair::MutexLockPair(Mutex& a, Mutex& b) NO_THREAD_SAFETY_ANALYSIS
    : first_(&a < &b ? a : b),
      second_(&a < &b ? b : a) {
  first_.Lock();
  if (&first_ == &second_) return;
  Mutex::NoteAcquireSameRankAllowed(second_.rank_);
  second_.mutex_.lock();
}

MutexLockPair::~MutexLockPair() NO_THREAD_SAFETY_ANALYSIS {
  if (&first_ != &second_) second_.Unlock();
  first_.Unlock();
}

void CondVar::Wait(Mutex& m) {
  std::unique_lock<std::mutex> lock(m.mutex_, std::adopt_lock);
  cv_.wait(lock);
  lock.release();
}

bool CondVar::WaitFor(Mutex& m, Nanos timeout) {
  std::unique_lock<std::mutex> lock(m.mutex_, std::adopt_lock);
  bool notified = cv_.wait_for(lock, timeout) == std::cv_status::no_timeout;
  lock.release();
  return notified;
}

}  // namespace sandboxd
