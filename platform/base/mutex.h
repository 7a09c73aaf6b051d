// Mutex with a rank (lock_rank.h), scoped locks, and a condition variable.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>

#include "platform/base/lock_rank.h"
#include "platform/base/thread_annotations.h"

namespace sandboxd {

using Nanos = std::chrono::nanoseconds;

class CAPABILITY("mutex") Mutex {
 public:
  explicit Mutex(LockRank rank) : rank_(rank) {}
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;

  void Lock() ACQUIRE() {
    NoteAcquire(rank_);
    mutex_.lock();
  }
  void Unlock() RELEASE() {
    mutex_.unlock();
    NoteRelease(rank_);
  }
  bool TryLock() TRY_ACQUIRE(true) {
    if (!mutex_.try_lock()) return false;
    NoteTryAcquired(rank_);
    return true;
  }
  // Documents that the caller holds this mutex where the analysis can't see it.
  void AssertHeld() const ASSERT_CAPABILITY(this) {}
  LockRank rank() const { return rank_; }

 private:
  friend class CondVar;
  friend class MutexLockPair;
#ifdef NDEBUG
  static void NoteAcquire(LockRank) {}
  static void NoteTryAcquired(LockRank) {}
  static void NoteAcquireSameRankAllowed(LockRank) {}
  static void NoteRelease(LockRank) {}
#else
  static void NoteAcquire(LockRank rank);
  static void NoteTryAcquired(LockRank rank);
  static void NoteAcquireSameRankAllowed(LockRank rank);
  static void NoteRelease(LockRank rank);
#endif
  std::mutex mutex_;
  const LockRank rank_;
};

class SCOPED_CAPABILITY MutexLock {
 public:
  explicit MutexLock(Mutex& m) ACQUIRE(m) : mutex_(m) { mutex_.Lock(); }
  ~MutexLock() RELEASE() { mutex_.Unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  Mutex& mutex_;
};

// Takes two mutexes of one rank in address order; they may be the same mutex.
class SCOPED_CAPABILITY MutexLockPair {
 public:
  MutexLockPair(Mutex& a, Mutex& b) ACQUIRE(a, b);
  ~MutexLockPair() RELEASE();
  MutexLockPair(const MutexLockPair&) = delete;
  MutexLockPair& operator=(const MutexLockPair&) = delete;

 private:
  Mutex& first_;
  Mutex& second_;
};

// The mutex is held on entry and on return of every Wait.
class CondVar {
 public:
  void Wait(Mutex& m) REQUIRES(m);
  // False on timeout.
  bool WaitFor(Mutex& m, Nanos timeout) REQUIRES(m);
  void NotifyOne() { cv_.notify_one(); }
  void NotifyAll() { cv_.notify_all(); }

 private:
  std::condition_variable cv_;
};

// In builds without NDEBUG: CHECK-fails if this thread holds any ranked mutex. For places that
// block.
void AssertNoLocksHeld();

}  // namespace sandboxd
