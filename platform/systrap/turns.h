// The kernel thread's side of taking turns with one stub thread (stub/shared_context.h).
#pragma once

#include <sys/types.h>

#include <cstdint>

#include "platform/base/result.h"
#include "platform/stub/shared_context.h"

namespace sandboxd::platform::systrap {

// Whether waiting by looking again and again pays: it does while each busy pair of stub and kernel
// thread can have two processors. Process-wide.
class SpinBudget {
 public:
  // A pair is busy from here until Idle().
  static void Busy();
  static void Idle();
  // How often a waiter looks before it sleeps, now.
  static uint32_t Rounds();
};

// Everything but construction on the thread that owns the context.
class Turns {
 public:
  Turns(stub::SharedContext& shared, pid_t tid) : shared_(shared), tid_(tid) {}

  pid_t tid() const { return tid_; }
  stub::SharedContext& shared() { return shared_; }

  // Waits until a new stub thread is ready for its first turn. EAGAIN if it never is.
  Result<void> AwaitReady();
  // Hands over and waits for the turn to come back. False if the stub thread is dead.
  bool Take(stub::Command command);
  // Whether the stub thread has stopped looking and would have to be woken.
  bool Asleep() const;
  bool dead() const { return dead_; }

 private:
  bool Await();

  stub::SharedContext& shared_;
  const pid_t tid_;
  bool dead_ = false;
};

}  // namespace sandboxd::platform::systrap
