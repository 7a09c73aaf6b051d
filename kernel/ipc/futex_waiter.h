// One thread that sleeps on one futex word; lives on that thread's stack. Private to the futex
// table.
#pragma once

#include <atomic>

#include "kernel/ipc/futex.h"

namespace sandboxd::ipc {

struct FutexTable::Waiter {
  Waiter(wait::Blocker& b, const mm::SharedKey& k, uint32_t bits)
      : blocker(b), key(k), bitset(bits) {}

  wait::Blocker& blocker;
  // Where it is queued, or was when it was woken. Written under the old and the new bucket's mutex
  // by a requeue; whoever locks what it read must look again.
  std::atomic<Bucket*> bucket{nullptr};
  // Guarded by the mutex of `bucket`.
  mm::SharedKey key;
  const uint32_t bitset;
  bool woken = false;
  int32_t pi_tid = 0;  // waits to own the word as this thread; 0: an ordinary waiter
  Waiter* next = nullptr;
  Waiter* prev = nullptr;
};

}  // namespace sandboxd::ipc
