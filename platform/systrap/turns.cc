#include "platform/systrap/turns.h"

#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <ctime>

#include "platform/base/log.h"

namespace sandboxd::platform::systrap {
namespace {

using stub::kOwnerDied;
using stub::kTidMask;
using stub::kWaiting;

// A look costs some 40 ns: a processor's `pause`. Longer than most system calls of ours take.
constexpr uint32_t kRounds = 400;

std::atomic<int> busy_pairs{0};

int UsableProcessors() {
  static const int count = [] {
    cpu_set_t set;
    return sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;
  }();
  return count;
}

// Shared between processes, so not FUTEX_PRIVATE.
long Futex(uint32_t* word, int operation, uint32_t value, const timespec* timeout = nullptr) {
  return syscall(SYS_futex, word, operation, value, timeout, nullptr, 0);
}

}  // namespace

void SpinBudget::Busy() { busy_pairs.fetch_add(1, std::memory_order_relaxed); }
void SpinBudget::Idle() { busy_pairs.fetch_sub(1, std::memory_order_relaxed); }
uint32_t SpinBudget::Rounds() {
  return busy_pairs.load(std::memory_order_relaxed) * 2 <= UsableProcessors() ? kRounds : 0;
}

Result<void> Turns::AwaitReady() {
  constexpr timespec kLongEnough{10, 0};  // only a stub that is killed at birth takes that long
  for (;;) {
    // Acquire: pairs with the stub's release when it has set itself up.
    const uint32_t ready = __atomic_load_n(&shared_.ready, __ATOMIC_ACQUIRE);
    if (ready != 0) return Ok();
    if (Futex(&shared_.ready, FUTEX_WAIT, 0, &kLongEnough) != 0 && errno == ETIMEDOUT) {
      LOG_WARNING("systrap: stub thread %d did not start", tid_);
      dead_ = true;
      return Errno::kEAGAIN;
    }
  }
}

bool Turns::Asleep() const {
  return __atomic_load_n(&shared_.turn.word, __ATOMIC_RELAXED) == kWaiting;
}

bool Turns::Take(stub::Command command) {
  if (dead_) return false;
  shared_.command = command;
  shared_.spin = SpinBudget::Rounds();
  // Release: what we wrote is there before the turn. Sequentially consistent with the look at
  // `alive`: the host marks that first, then `turn`.
  const uint32_t old =
      __atomic_exchange_n(&shared_.turn.word, static_cast<uint32_t>(tid_), __ATOMIC_SEQ_CST);
  if ((old & kWaiting) != 0) Futex(&shared_.turn.word, FUTEX_WAKE, 1);
  if ((__atomic_load_n(&shared_.alive.word, __ATOMIC_SEQ_CST) & kOwnerDied) != 0) dead_ = true;
  return !dead_ && Await();
}

bool Turns::Await() {
  uint32_t rounds = SpinBudget::Rounds();
  for (;;) {
    // Acquire: pairs with the stub's release when it posts.
    uint32_t seen = __atomic_load_n(&shared_.turn.word, __ATOMIC_ACQUIRE);
    if ((seen & kOwnerDied) != 0) {
      dead_ = true;
      return false;
    }
    if ((seen & kTidMask) == 0) return true;
    if (rounds > 0) {
      rounds--;
      __builtin_ia32_pause();
      continue;
    }
    if ((seen & kWaiting) != 0 ||
        __atomic_compare_exchange_n(&shared_.turn.word, &seen, seen | kWaiting, false,
                                    __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)) {
      Futex(&shared_.turn.word, FUTEX_WAIT, seen | kWaiting);
    }
  }
}

}  // namespace sandboxd::platform::systrap
