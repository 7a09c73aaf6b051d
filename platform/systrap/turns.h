// The kernel thread's side of taking turns with one stub thread (stub/shared_context.h).
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstdint>

#include "platform/base/result.h"
#include "platform/stub/shared_context.h"

namespace sandboxd::platform::systrap {

// Whether waiting by looking again and again may pay: it can while each busy pair of stub and
// kernel thread can have two processors. Process-wide.
class SpinBudget {
 public:
  // A pair is busy from here until Idle(): its application runs, or its kernel thread works for it.
  static void Busy();
  static void Idle();
  static bool Allows();
};

// Whether one side looks before it sleeps: as long as that pays off. When it mostly doesn't, it
// sleeps at once for a while, each time for longer, and then tries again.
class SpinHabit {
 public:
  // For the next wait.
  bool Looks();
  // Whether a wait that began with looking ended without sleep.
  void Learn(bool paid_off);

 private:
  static constexpr int kTries = 16;
  static constexpr uint32_t kShortestPause = 64, kLongestPause = 4096;  // in waits
  int tries_ = 0;
  int successes_ = 0;
  uint32_t pause_ = kShortestPause;
  uint32_t waits_left_ = 0;  // of the present pause
};

// Everything but construction on the thread that owns the context.
class Turns {
 public:
  // `killed` becomes true when the whole address space is killed.
  Turns(stub::SharedContext& shared, pid_t tid, const std::atomic<bool>& killed)
      : shared_(shared), tid_(tid), killed_(killed) {}
  Turns(const Turns&) = delete;
  Turns& operator=(const Turns&) = delete;

  pid_t tid() const { return tid_; }
  stub::SharedContext& shared() { return shared_; }

  // Waits until a new stub thread is ready for its first turn. EAGAIN if it never is.
  Result<void> AwaitReady();
  // Hands over and waits for the turn to come back. False if the stub thread is dead. A command
  // other than kRun that isn't answered in some 20 s counts as death: no honest stub takes so long.
  bool Take(stub::Command command);
  // Whether the stub thread has stopped looking and would have to be woken.
  bool Asleep() const;
  bool dead() const { return dead_; }
  // The application is to end: if it keeps its turn for long all the same, it counts as dead. Any
  // thread.
  void Doom();
  // Wakes whoever waits for this slot's turn: its stub thread has been killed. Any thread.
  static void Forsake(stub::SharedContext& shared);
  // Lets both threads run anywhere. Before the stub thread or its owner makes another, which would
  // inherit the place, and at the end.
  void Unpin();

 private:
  bool Await(stub::Command command);
  bool Sleep(uint32_t seen);
  void SleepLong(uint32_t seen);
  bool IsGone() const;
  void ChoosePlace();

  stub::SharedContext& shared_;
  const pid_t tid_;
  const std::atomic<bool>& killed_;
  std::atomic<bool> doomed_{false};
  bool dead_ = false;
  int fruitless_ = 0;  // long sleeps in this wait that nothing has ended
  SpinHabit ours_;
  SpinHabit stubs_;
  bool we_look_ = false;     // in this turn
  bool stub_looks_ = false;  // in the turn that it is about to take
  // Where looking doesn't pay, a pair that hands over often shares one processor: waking a thread
  // on another that sleeps costs ten times as much.
  int processor_ = -1;         // which; -1: both run anywhere
  uint32_t short_sleeps_ = 0;  // in a row
};

}  // namespace sandboxd::platform::systrap
