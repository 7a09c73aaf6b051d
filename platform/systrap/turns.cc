#include "platform/systrap/turns.h"

#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <climits>
#include <ctime>

#include "platform/base/log.h"

namespace sandboxd::platform::systrap {
namespace {

using stub::kOwnerDied;
using stub::kTidMask;
using stub::kWaiting;

// How often a side looks: a look is a `pause`, some 30 to 40 ns.
constexpr uint32_t kRounds = 400;
// The same for what takes the host long: making a process.
constexpr uint32_t kLongRounds = 5000;
// A wait that is longer than this is none that sharing a processor makes shorter.
constexpr timespec kShortSleep{0, 1'000'000};
// Dead stubs wake us, unless a hostile one has broken the list by which the host knows whom to
// wake. So nobody sleeps for longer than this without a look. Only threads whose application is
// computing sleep here, so that an idle sandbox stays idle.
constexpr timespec kLongSleep{10, 0};
// The same for an application that is to end. It has that long to answer an interrupt, twice.
constexpr timespec kDoomedSleep{1, 0};
// So many short sleeps one after the other make a pair share.
constexpr uint32_t kSleepsToShare = 8;

std::atomic<int> busy_pairs{0};

struct Processors {
  cpu_set_t set;
  int count = 1;
};
// Those that this process may use.
const Processors& Usable() {
  static const Processors processors = [] {
    Processors p;
    CPU_ZERO(&p.set);
    if (sched_getaffinity(0, sizeof(p.set), &p.set) == 0) p.count = CPU_COUNT(&p.set);
    return p;
  }();
  return processors;
}

// Shared between processes, so not FUTEX_PRIVATE.
long Futex(uint32_t* word, int operation, uint32_t value, const timespec* timeout = nullptr) {
  return syscall(SYS_futex, word, operation, value, timeout, nullptr, 0);
}

timespec Now() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now;
}

bool IsShort(const timespec& from, const timespec& to) {
  const int64_t ns = (to.tv_sec - from.tv_sec) * 1'000'000'000 + (to.tv_nsec - from.tv_nsec);
  return ns < kShortSleep.tv_nsec;
}

}  // namespace

void SpinBudget::Busy() { busy_pairs.fetch_add(1, std::memory_order_relaxed); }
void SpinBudget::Idle() { busy_pairs.fetch_sub(1, std::memory_order_relaxed); }
bool SpinBudget::Allows() {
  return busy_pairs.load(std::memory_order_relaxed) * 2 <= Usable().count;
}

bool SpinHabit::Looks() {
  if (waits_left_ == 0) return true;
  waits_left_--;
  return false;
}

void SpinHabit::Learn(bool paid_off) {
  successes_ += paid_off ? 1 : 0;
  if (++tries_ < kTries) return;
  if (successes_ * 2 < kTries) {
    waits_left_ = pause_;
    pause_ = std::min(pause_ * 2, kLongestPause);
  } else {
    pause_ = kShortestPause;
  }
  tries_ = successes_ = 0;
}

Result<void> Turns::AwaitReady() {
  uint32_t rounds = SpinBudget::Allows() ? kLongRounds : 0;
  constexpr timespec kLongEnough{10, 0};  // only a stub that is killed at birth takes that long
  for (;;) {
    // Acquire: pairs with the stub's release when it has set itself up.
    const uint32_t ready = __atomic_load_n(&shared_.ready, __ATOMIC_ACQUIRE);
    if (ready != 0) return Ok();
    if (rounds > 0) {
      rounds--;
      __builtin_ia32_pause();
      continue;
    }
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
  const bool room = SpinBudget::Allows();
  we_look_ = ours_.Looks() && room;
  ChoosePlace();
  const bool stub_looked = stub_looks_;
  stub_looks_ = stubs_.Looks() && room && processor_ < 0;
  shared_.command = command;
  shared_.spin = stub_looks_ ? kRounds : 0;
  // Release: what we wrote is there before the turn. Sequentially consistent with the look at
  // `alive`: the host marks that first, then `turn`.
  const uint32_t old =
      __atomic_exchange_n(&shared_.turn.word, static_cast<uint32_t>(tid_), __ATOMIC_SEQ_CST);
  if (stub_looked) stubs_.Learn((old & kWaiting) == 0);
  if ((old & kWaiting) != 0) Futex(&shared_.turn.word, FUTEX_WAKE, 1);
  if ((__atomic_load_n(&shared_.alive.word, __ATOMIC_SEQ_CST) & kOwnerDied) != 0) dead_ = true;
  return !dead_ && Await(command);
}

bool Turns::Await(stub::Command command) {
  const bool is_run = command == stub::Command::kRun;
  const bool is_long = command == stub::Command::kFork || command == stub::Command::kThread;
  uint32_t rounds = !we_look_ ? 0 : is_long ? kLongRounds : kRounds;
  bool slept = false;
  bool doomed = false;  // seen to be
  fruitless_ = 0;
  for (;;) {
    // Acquire: pairs with the stub's release when it posts.
    uint32_t seen = __atomic_load_n(&shared_.turn.word, __ATOMIC_ACQUIRE);
    if (!doomed && doomed_.load(std::memory_order_relaxed)) {
      doomed = true;
      fruitless_ = 0;
    }
    const bool too_long = fruitless_ > 1 && (!is_run || doomed);
    const bool lost = fruitless_ > 0 && (too_long || IsGone());
    if ((seen & kOwnerDied) != 0 || killed_.load(std::memory_order_acquire) || lost) {
      dead_ = true;
      return false;
    }
    if ((seen & kTidMask) == 0) break;
    if (rounds > 0) {
      rounds--;
      __builtin_ia32_pause();
      continue;
    }
    if ((seen & kWaiting) != 0 ||
        __atomic_compare_exchange_n(&shared_.turn.word, &seen, seen | kWaiting, false,
                                    __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)) {
      short_sleeps_ = Sleep(seen | kWaiting) ? short_sleeps_ + (slept ? 0 : 1) : 0;
      slept = true;
    }
  }
  if (we_look_) ours_.Learn(!slept);
  return true;
}

// Sleeps while the word is `seen`. False if that took long: then the pair has been let loose, as
// the application is computing and may do that anywhere.
bool Turns::Sleep(uint32_t seen) {
  if (short_sleeps_ == 0 && processor_ < 0) {
    // It has been long lately; no timer for it. The next wait finds out.
    const timespec before = Now();
    SleepLong(seen);
    return IsShort(before, Now());
  }
  if (Futex(&shared_.turn.word, FUTEX_WAIT, seen, &kShortSleep) == 0 || errno != ETIMEDOUT) {
    return true;
  }
  Unpin();
  SleepLong(seen);
  return false;
}

void Turns::SleepLong(uint32_t seen) {
  // Who dooms us wakes us after that; a wake that comes before we sleep is lost only for the time
  // of one long sleep.
  const bool doomed = doomed_.load(std::memory_order_relaxed);
  const timespec* time = doomed ? &kDoomedSleep : &kLongSleep;
  if (Futex(&shared_.turn.word, FUTEX_WAIT, seen, time) != 0 && errno == ETIMEDOUT) {
    fruitless_++;
  }
}

void Turns::Doom() {
  doomed_.store(true, std::memory_order_relaxed);
  Futex(&shared_.turn.word, FUTEX_WAKE, INT_MAX);
}

bool Turns::IsGone() const {
  siginfo_t info{};
  const int options = WEXITED | WNOHANG | WNOWAIT | __WALL;
  return waitid(P_PID, static_cast<id_t>(tid_), &info, options) != 0 || info.si_pid != 0;
}

void Turns::Forsake(stub::SharedContext& shared) {
  __atomic_fetch_or(&shared.turn.word, kOwnerDied, __ATOMIC_SEQ_CST);
  Futex(&shared.turn.word, FUTEX_WAKE, INT_MAX);
}

void Turns::ChoosePlace() {
  if (we_look_) {
    Unpin();
    return;
  }
  if (short_sleeps_ < kSleepsToShare || processor_ >= 0 || Usable().count == 1) return;
  const int here = sched_getcpu();
  if (here < 0) return;
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(here, &one);
  if (sched_setaffinity(0, sizeof(one), &one) != 0) return;
  sched_setaffinity(tid_, sizeof(one), &one);
  processor_ = here;
}

void Turns::Unpin() {
  short_sleeps_ = 0;
  if (processor_ < 0) return;
  processor_ = -1;
  sched_setaffinity(0, sizeof(Usable().set), &Usable().set);
  if (!dead_) sched_setaffinity(tid_, sizeof(Usable().set), &Usable().set);
}

}  // namespace sandboxd::platform::systrap
