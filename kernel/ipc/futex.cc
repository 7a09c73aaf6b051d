#include "kernel/ipc/futex.h"

#include <linux/futex.h>

#include <deque>

#include "kernel/ipc/futex_waiter.h"

namespace sandboxd::ipc {

namespace {

int32_t SignExtend12(uint32_t v) { return static_cast<int32_t>(v << 20) >> 20; }

// The word after FUTEX_WAKE_OP's operation; ENOSYS for one that Linux does not know.
Result<uint32_t> ApplyWakeOp(uint32_t encoded, uint32_t old) {
  uint32_t op = (encoded >> 28) & 7;
  uint32_t arg = static_cast<uint32_t>(SignExtend12((encoded >> 12) & 0xfff));
  if ((encoded >> 28) & FUTEX_OP_OPARG_SHIFT) arg = uint32_t{1} << (arg & 31);
  switch (op) {
    case FUTEX_OP_SET:
      return arg;
    case FUTEX_OP_ADD:
      return old + arg;
    case FUTEX_OP_OR:
      return old | arg;
    case FUTEX_OP_ANDN:
      return old & ~arg;
    case FUTEX_OP_XOR:
      return old ^ arg;
    default:
      return Errno::kENOSYS;
  }
}

Result<bool> CompareWakeOp(uint32_t encoded, uint32_t old_word) {
  int32_t arg = SignExtend12(encoded & 0xfff);
  auto old = static_cast<int32_t>(old_word);
  switch ((encoded >> 24) & 15) {
    case FUTEX_OP_CMP_EQ:
      return old == arg;
    case FUTEX_OP_CMP_NE:
      return old != arg;
    case FUTEX_OP_CMP_LT:
      return old < arg;
    case FUTEX_OP_CMP_GE:
      return old >= arg;
    case FUTEX_OP_CMP_LE:
      return old <= arg;
    case FUTEX_OP_CMP_GT:
      return old > arg;
    default:
      return Errno::kENOSYS;
  }
}

}  // namespace

Result<FutexWord> FutexWord::Find(const mm::MemoryManager& mm, UserAddr addr, FutexScope scope) {
  if (addr.value % sizeof(uint32_t) != 0) return Errno::kEINVAL;
  if (addr >= platform::kApplicationEnd) return Errno::kEFAULT;
  if (scope == FutexScope::kPrivate) {
    return FutexWord{addr, {mm::SharedKey::Kind::kPrivate, mm.id(), addr.value, 0}};
  }
  return FutexWord{addr, TRY(mm.KeyFor(addr))};
}

FutexTable::~FutexTable() {
  for (Bucket& b : buckets_) {
    MutexLock lock(b.mutex);
    CHECK(b.head == nullptr);
  }
}

void FutexTable::Bucket::Append(Waiter& w) {
  w.next = nullptr;
  w.prev = tail;
  (tail != nullptr ? tail->next : head) = &w;
  tail = &w;
}

void FutexTable::Bucket::Remove(Waiter& w) {
  (w.prev != nullptr ? w.prev->next : head) = w.next;
  (w.next != nullptr ? w.next->prev : tail) = w.prev;
  w.next = w.prev = nullptr;
}

FutexTable::Bucket& FutexTable::BucketOf(const mm::SharedKey& key) {
  uint64_t h = key.a * 0x9e3779b97f4a7c15 + key.b;
  h = (h ^ (h >> 29)) * 0xbf58476d1ce4e5b9 + key.offset + static_cast<uint64_t>(key.kind);
  h = (h ^ (h >> 32)) * 0x94d049bb133111eb;
  return buckets_[(h >> 32) % kBuckets];
}

// The blocker is woken under the mutex: its thread must take the mutex before it may go on, so it
// is still there.
void FutexTable::WakeOne(Bucket& bucket, Waiter& waiter) {
  bucket.mutex.AssertHeld();
  bucket.Remove(waiter);
  waiter.woken = true;
  waiter.blocker.Wake();
}

int FutexTable::WakeLocked(Bucket& bucket, const mm::SharedKey& key, int count, uint32_t bitset) {
  bucket.mutex.AssertHeld();
  int woken = 0;
  for (Waiter *w = bucket.head, *next; w != nullptr; w = next) {
    next = w->next;
    if (w->key != key || (w->bitset & bitset) == 0 || w->pi_tid != 0) continue;
    WakeOne(bucket, *w);
    // Counted first, compared then: a count of 0 or less wakes one, as on Linux.
    if (++woken >= count) break;
  }
  return woken;
}

bool FutexTable::Withdraw(Waiter& waiter) {
  for (;;) {
    Bucket* b = waiter.bucket.load(std::memory_order_acquire);  // pairs with Requeue's release
    if (b == nullptr) return false;
    MutexLock lock(b->mutex);
    if (waiter.bucket.load(std::memory_order_relaxed) != b) continue;
    if (waiter.woken) return true;
    b->Remove(waiter);
    waiter.bucket.store(nullptr, std::memory_order_relaxed);
    return false;
  }
}

namespace {

// Sleeps until `woken()`; an error only if it is not woken by then.
template <typename Woken, typename GiveUp>
Result<void> SleepUntil(wait::Blocker& blocker, wait::Deadline deadline, Woken woken,
                        GiveUp give_up) {
  for (;;) {
    Result<void> r = blocker.Block(deadline);
    if (!r.ok()) return give_up() ? Ok() : r;
    if (woken()) return Ok();
  }
}

}  // namespace

Result<void> FutexTable::Wait(wait::Blocker& blocker, const mm::UserMemory& memory,
                              const FutexWord& word, uint32_t expected, uint32_t bitset,
                              wait::Deadline deadline) {
  if (bitset == 0) return Errno::kEINVAL;
  Waiter waiter(blocker, word.key, bitset);
  Bucket& bucket = BucketOf(word.key);
  {
    MutexLock lock(bucket.mutex);
    if (TRY(memory.Load32(word.addr)) != expected) return Errno::kEAGAIN;
    waiter.bucket.store(&bucket, std::memory_order_relaxed);
    bucket.Append(waiter);
  }
  return SleepUntil(
      blocker, deadline, [&] { return IsWoken(waiter); }, [&] { return Withdraw(waiter); });
}

int FutexTable::Wake(const FutexWord& word, int count, uint32_t bitset) {
  Bucket& bucket = BucketOf(word.key);
  MutexLock lock(bucket.mutex);
  return WakeLocked(bucket, word.key, count, bitset);
}

Result<int> FutexTable::Requeue(const mm::UserMemory& memory, const FutexWord& from,
                                const FutexWord& to, int wake, int requeue,
                                std::optional<uint32_t> expected) {
  if (wake < 0 || requeue < 0) return Errno::kEINVAL;
  Bucket& source = BucketOf(from.key);
  Bucket& target = BucketOf(to.key);
  MutexLockPair lock(source.mutex, target.mutex);
  if (expected.has_value() && TRY(memory.Load32(from.addr)) != *expected) return Errno::kEAGAIN;
  int done = 0;
  for (Waiter *w = source.head, *next; w != nullptr; w = next) {
    next = w->next;
    if (done - wake >= requeue) break;
    if (w->key != from.key || w->pi_tid != 0) continue;
    if (++done <= wake) {
      WakeOne(source, *w);
      continue;
    }
    w->key = to.key;
    if (&source == &target) continue;
    source.Remove(*w);
    target.Append(*w);
    w->bucket.store(&target, std::memory_order_release);  // pairs with Withdraw's and IsWoken's
  }
  return done;
}

Result<int> FutexTable::WakeOp(const mm::UserMemory& memory, const FutexWord& first,
                               const FutexWord& second, int wake, int wake_second, uint32_t op) {
  Bucket& a = BucketOf(first.key);
  Bucket& b = BucketOf(second.key);
  MutexLockPair lock(a.mutex, b.mutex);
  uint32_t old = TRY(memory.Load32(second.addr));
  for (;;) {
    uint32_t desired = TRY(ApplyWakeOp(op, old));
    uint32_t seen = TRY(memory.CompareExchange32(second.addr, old, desired));
    if (seen == old) break;
    old = seen;
  }
  bool also = TRY(CompareWakeOp(op, old));
  int woken = WakeLocked(a, first.key, wake, kFutexMatchAny);
  if (also) woken += WakeLocked(b, second.key, wake_second, kFutexMatchAny);
  return woken;
}

bool FutexTable::IsWoken(const Waiter& waiter) {
  for (;;) {
    Bucket* b = waiter.bucket.load(std::memory_order_acquire);  // pairs with Requeue's release
    MutexLock lock(b->mutex);
    if (waiter.bucket.load(std::memory_order_relaxed) == b) return waiter.woken;
  }
}

Result<int> FutexTable::WaitMany(wait::Blocker& blocker, const mm::UserMemory& memory,
                                 std::span<const WaitTarget> targets, wait::Deadline deadline) {
  std::deque<Waiter> waiters;  // never moves its elements
  auto withdraw_all = [&]() -> int {
    int woken = -1;
    for (size_t i = 0; i < waiters.size(); i++) {
      if (Withdraw(waiters[i]) && woken < 0) woken = static_cast<int>(i);
    }
    return woken;
  };
  for (const WaitTarget& t : targets) {
    Waiter& waiter = waiters.emplace_back(blocker, t.word.key, kFutexMatchAny);
    Bucket& bucket = BucketOf(t.word.key);
    Result<uint32_t> value = Errno::kEFAULT;
    {
      MutexLock lock(bucket.mutex);
      value = memory.Load32(t.word.addr);
      if (value.ok() && *value == t.expected) {
        waiter.bucket.store(&bucket, std::memory_order_relaxed);
        bucket.Append(waiter);
        continue;
      }
    }
    if (int woken = withdraw_all(); woken >= 0) return woken;
    if (!value.ok()) return value.error();
    return Errno::kEAGAIN;
  }
  for (;;) {
    Result<void> r = blocker.Block(deadline);
    bool any = !r.ok();
    for (const Waiter& w : waiters) any = any || IsWoken(w);
    if (!any) continue;
    if (int woken = withdraw_all(); woken >= 0) return woken;
    return r.error();
  }
}

}  // namespace sandboxd::ipc
