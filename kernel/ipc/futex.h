// Futexes: the wait queues behind words of application memory (futex(2)). One table per sandbox.
//
// A word is found by where its memory really is (mm::SharedKey), so processes that share memory
// meet. Thread-safe.
//
// The race that futexes exist for ("the value changed between the check and the sleep") is closed
// by checking the word with the bucket's mutex held; a waker takes the same mutex. That is this
// folder's stated exception to rule 23: Load32 and CompareExchange32 of user memory run under a
// bucket's mutex. They take only locks of the platform (rank above kFutexBucket) and never come
// back here.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>

#include "kernel/mm/memory_manager.h"
#include "kernel/mm/user_memory.h"
#include "kernel/wait/wait_queue.h"
#include "platform/base/mutex.h"
#include "platform/base/result.h"
#include "platform/base/types.h"

namespace sandboxd::ipc {

enum class FutexScope : uint8_t { kPrivate, kShared };  // FUTEX_PRIVATE_FLAG

inline constexpr uint32_t kFutexMatchAny = 0xffffffff;  // FUTEX_BITSET_MATCH_ANY

// A futex word: its address, and which memory that is.
struct FutexWord {
  UserAddr addr;
  mm::SharedKey key;

  // EINVAL if misaligned, EFAULT if nothing is mapped there (shared only: private keys take no
  // lock).
  static Result<FutexWord> Find(const mm::MemoryManager& mm, UserAddr addr, FutexScope scope);
};

class FutexTable {
 public:
  FutexTable() = default;
  ~FutexTable();
  FutexTable(const FutexTable&) = delete;
  FutexTable& operator=(const FutexTable&) = delete;

  // Sleeps while *word == expected. EAGAIN if it differs, ETIMEDOUT, ERESTARTSYS, EFAULT.
  Result<void> Wait(wait::Blocker& blocker, const mm::UserMemory& memory, const FutexWord& word,
                    uint32_t expected, uint32_t bitset, wait::Deadline deadline);
  // Wakes at most `count` waiters whose bitset meets `bitset`; how many.
  int Wake(const FutexWord& word, int count, uint32_t bitset = kFutexMatchAny);
  // FUTEX_REQUEUE and, with `expected`, FUTEX_CMP_REQUEUE (EAGAIN if *from differs): wakes `wake`,
  // moves at most `requeue` of the rest; woken + moved (only woken without `expected`).
  Result<int> Requeue(const mm::UserMemory& memory, const FutexWord& from, const FutexWord& to,
                      int wake, int requeue, std::optional<uint32_t> expected);
  // FUTEX_WAKE_OP: changes *second as `op` (FUTEX_OP) says, wakes `wake` on first and, if the old
  // value compares true, `wake_second` on second.
  Result<int> WakeOp(const mm::UserMemory& memory, const FutexWord& first, const FutexWord& second,
                     int wake, int wake_second, uint32_t op);

  // futex_waitv(2): sleeps while every word has its value; the index of one that was woken.
  struct WaitTarget {
    FutexWord word;
    uint32_t expected = 0;
  };
  Result<int> WaitMany(wait::Blocker& blocker, const mm::UserMemory& memory,
                       std::span<const WaitTarget> targets, wait::Deadline deadline);

  // Priority-inheritance futexes: mutexes whose word holds the owner's thread id. Nobody inherits a
  // priority here: the host schedules; what remains is the lock protocol. `tid` is the caller's,
  // and `owner_exists` says whether a thread id that a word names is alive (ESRCH if not).
  using OwnerExists = std::function<bool(int32_t tid)>;
  enum class PiLockMode : uint8_t { kWait, kTry };
  Result<void> LockPi(wait::Blocker& blocker, const mm::UserMemory& memory, const FutexWord& word,
                      int32_t tid, PiLockMode mode, wait::Deadline deadline,
                      const OwnerExists& owner_exists);
  Result<void> UnlockPi(const mm::UserMemory& memory, const FutexWord& word, int32_t tid);

  // --- for a thread that ends (and for exec), while its memory is still there ---
  // set_tid_address(2): writes 0 to *clear_child_tid and wakes one waiter there. Errors are
  // nobody's.
  void ClearChildTid(const mm::MemoryManager& mm, const mm::UserMemory& memory, UserAddr word);
  // set_robust_list(2): marks each futex of the list that `tid` still owns FUTEX_OWNER_DIED and
  // wakes a waiter. `head` is a struct robust_list_head, from the application: anything may be
  // there.
  void ExitRobustList(const mm::MemoryManager& mm, const mm::UserMemory& memory, UserAddr head,
                      int32_t tid);

 private:
  struct Waiter;
  // A doubly linked list in arrival order.
  struct alignas(64) Bucket {
    Mutex mutex{LockRank::kFutexBucket};
    Waiter* head GUARDED_BY(mutex) = nullptr;
    Waiter* tail GUARDED_BY(mutex) = nullptr;
    void Append(Waiter& w) REQUIRES(mutex);
    void Remove(Waiter& w) REQUIRES(mutex);
  };

  Bucket& BucketOf(const mm::SharedKey& key);
  static void WakeOne(Bucket& bucket, Waiter& waiter);
  static int WakeLocked(Bucket& bucket, const mm::SharedKey& key, int count, uint32_t bitset);
  static bool IsWoken(const Waiter& waiter);
  // Takes `waiter` out wherever requeues have put it. True if it had been woken.
  static bool Withdraw(Waiter& waiter);
  Result<void> TakePiLocked(Bucket& bucket, const mm::UserMemory& memory, const FutexWord& word,
                            int32_t tid, PiLockMode mode, uint32_t known_owner, bool owner_exists);
  Result<void> HandOver(Bucket& bucket, const mm::UserMemory& memory, const FutexWord& word,
                        uint32_t value, uint32_t mark);
  void HandleOwnerDeath(const mm::MemoryManager& mm, const mm::UserMemory& memory, UserAddr word,
                        int32_t tid, bool pi, bool pending_operation);

  static constexpr size_t kBuckets = 128;
  std::array<Bucket, kBuckets> buckets_;
};

}  // namespace sandboxd::ipc
