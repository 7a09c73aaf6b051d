// What the kernel does to futexes for a thread that ends: set_tid_address(2) and
// set_robust_list(2).
#include <linux/futex.h>

#include "kernel/ipc/futex.h"

namespace sandboxd::ipc {

void FutexTable::ClearChildTid(const mm::MemoryManager& mm, const mm::UserMemory& memory,
                               UserAddr word) {
  if (word.null()) return;
  // A program may have unmapped the word; then there is nobody to tell.
  if (!memory.Write<uint32_t>(word, 0).ok()) return;
  Result<FutexWord> shared = FutexWord::Find(mm, word, FutexScope::kShared);
  if (shared.ok()) Wake(*shared, 1);
}

void FutexTable::HandleOwnerDeath(const mm::MemoryManager& mm, const mm::UserMemory& memory,
                                  UserAddr addr, int32_t tid, bool pi, bool pending_operation) {
  Result<FutexWord> word = FutexWord::Find(mm, addr, FutexScope::kShared);
  if (!word.ok()) return;
  Bucket& bucket = BucketOf(word->key);
  MutexLock lock(bucket.mutex);
  Result<uint32_t> value = memory.Load32(addr);
  for (;;) {
    if (!value.ok()) return;
    if ((*value & FUTEX_TID_MASK) != static_cast<uint32_t>(tid)) {
      // The owner died between releasing the word and waking a waiter.
      if (pending_operation && !pi && *value == 0) {
        WakeLocked(bucket, word->key, 1, kFutexMatchAny);
      }
      return;
    }
    if (pi) {
      (void)HandOver(bucket, memory, *word, *value, FUTEX_OWNER_DIED);
      return;
    }
    Result<uint32_t> seen =
        memory.CompareExchange32(addr, *value, (*value & FUTEX_WAITERS) | FUTEX_OWNER_DIED);
    if (seen.ok() && *seen == *value) break;
    value = seen;
  }
  if ((*value & FUTEX_WAITERS) != 0) WakeLocked(bucket, word->key, 1, kFutexMatchAny);
}

void FutexTable::ExitRobustList(const mm::MemoryManager& mm, const mm::UserMemory& memory,
                                UserAddr head, int32_t tid) {
  struct RobustListHead {  // struct robust_list_head
    uint64_t next;
    int64_t futex_offset;
    uint64_t list_op_pending;
  };
  static_assert(sizeof(RobustListHead) == 24);
  if (head.null()) return;
  auto list = memory.Read<RobustListHead>(head);
  if (!list.ok()) return;
  // Bit 0 of an entry says that it is a priority-inheritance futex.
  auto handle = [&](uint64_t entry, bool pending) {
    UserAddr word((entry & ~uint64_t{1}) + static_cast<uint64_t>(list->futex_offset));
    HandleOwnerDeath(mm, memory, word, tid, (entry & 1) != 0, pending);
  };
  const uint64_t pending = list->list_op_pending;
  uint64_t entry = list->next;
  for (int left = ROBUST_LIST_LIMIT; left > 0 && (entry & ~uint64_t{1}) != head.value; left--) {
    auto next = memory.Read<uint64_t>(UserAddr(entry & ~uint64_t{1}));
    // The pending entry may stand in the list too: it is handled once, below.
    if ((entry & ~uint64_t{1}) != (pending & ~uint64_t{1})) handle(entry, false);
    if (!next.ok()) return;
    entry = *next;
  }
  if ((pending & ~uint64_t{1}) != 0) handle(pending, true);
}

}  // namespace sandboxd::ipc
