// FUTEX_LOCK_PI and FUTEX_UNLOCK_PI: the word is 0 or the owner's thread id, with FUTEX_WAITERS
// while somebody sleeps for it; the kernel hands it to the first sleeper.
#include <linux/futex.h>

#include "kernel/ipc/futex.h"
#include "kernel/ipc/futex_waiter.h"

namespace sandboxd::ipc {

// OK: the caller owns the word now. EAGAIN: `known_owner` does, and FUTEX_WAITERS is set (kWait).
// ESTALE: the owner is another than `known_owner` by now: ask about that one.
Result<void> FutexTable::TakePiLocked(Bucket& bucket, const mm::UserMemory& memory,
                                      const FutexWord& word, int32_t tid, PiLockMode mode,
                                      uint32_t known_owner, bool owner_exists) {
  bucket.mutex.AssertHeld();
  bool others = false;
  for (Waiter* w = bucket.head; w != nullptr; w = w->next) {
    if (w->key != word.key) continue;
    if (w->pi_tid == 0) return Errno::kEINVAL;  // futex(2): "inconsistent": ordinary waiters
    others = true;
  }
  uint32_t value = TRY(memory.Load32(word.addr));
  for (;;) {
    uint32_t owner = value & FUTEX_TID_MASK;
    if (owner == static_cast<uint32_t>(tid)) return Errno::kEDEADLK;
    uint32_t desired;
    if (owner == 0) {
      desired =
          (value & FUTEX_OWNER_DIED) | static_cast<uint32_t>(tid) | (others ? FUTEX_WAITERS : 0);
    } else {
      if (owner != known_owner) return Errno::kESTALE;
      if (!owner_exists) return Errno::kESRCH;
      if (mode == PiLockMode::kTry) return Errno::kEAGAIN;
      desired = value | FUTEX_WAITERS;
      if (desired == value) return Errno::kEAGAIN;
    }
    uint32_t seen = TRY(memory.CompareExchange32(word.addr, value, desired));
    if (seen == value) return owner == 0 ? Ok() : Result<void>(Errno::kEAGAIN);
    value = seen;
  }
}

Result<void> FutexTable::LockPi(wait::Blocker& blocker, const mm::UserMemory& memory,
                                const FutexWord& word, int32_t tid, PiLockMode mode,
                                wait::Deadline deadline, const OwnerExists& owner_exists) {
  Waiter waiter(blocker, word.key, kFutexMatchAny);
  waiter.pi_tid = tid;
  Bucket& bucket = BucketOf(word.key);
  for (;;) {
    // Whether a thread exists can't be asked under the bucket's mutex.
    uint32_t owner = TRY(memory.Load32(word.addr)) & FUTEX_TID_MASK;
    bool exists = owner != 0 && owner_exists(static_cast<int32_t>(owner));
    MutexLock lock(bucket.mutex);
    Result<void> taken = TakePiLocked(bucket, memory, word, tid, mode, owner, exists);
    if (taken.Is(Errno::kESTALE)) continue;
    if (!taken.Is(Errno::kEAGAIN) || mode == PiLockMode::kTry) return taken;
    waiter.bucket.store(&bucket, std::memory_order_relaxed);
    bucket.Append(waiter);
    break;
  }
  for (;;) {
    Result<void> r = blocker.Block(deadline);
    if (!r.ok()) {
      if (Withdraw(waiter)) return Ok();
      // A lock is not something that a program expects EINTR from (futex(2)).
      return r.Is(Errno::kERESTARTSYS) ? Result<void>(Errno::kERESTARTNOINTR) : r;
    }
    if (IsWoken(waiter)) return Ok();  // whoever woke us wrote our id into the word
  }
}

Result<void> FutexTable::UnlockPi(const mm::UserMemory& memory, const FutexWord& word,
                                  int32_t tid) {
  Bucket& bucket = BucketOf(word.key);
  MutexLock lock(bucket.mutex);
  uint32_t value = TRY(memory.Load32(word.addr));
  if ((value & FUTEX_TID_MASK) != static_cast<uint32_t>(tid)) return Errno::kEPERM;
  return HandOver(bucket, memory, word, value, 0);
}

// Gives the word, which holds `value`, to the first sleeper, or frees it; `mark` (FUTEX_OWNER_DIED)
// is or'ed in.
Result<void> FutexTable::HandOver(Bucket& bucket, const mm::UserMemory& memory,
                                  const FutexWord& word, uint32_t value, uint32_t mark) {
  bucket.mutex.AssertHeld();
  Waiter* heir = nullptr;
  for (Waiter* w = bucket.head; w != nullptr && heir == nullptr; w = w->next) {
    if (w->key == word.key && w->pi_tid != 0) heir = w;
  }
  uint32_t desired =
      (heir == nullptr ? 0 : FUTEX_WAITERS | static_cast<uint32_t>(heir->pi_tid)) | mark;
  for (;;) {
    uint32_t seen = TRY(memory.CompareExchange32(word.addr, value, desired));
    if (seen == value) break;
    value = seen;
  }
  if (heir != nullptr) WakeOne(bucket, *heir);
  return Ok();
}

}  // namespace sandboxd::ipc
