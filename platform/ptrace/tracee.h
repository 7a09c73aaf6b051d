// Tracee: one stub thread as its tracer sees it: registers, running, stopping.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <vector>

#include "platform/arch/registers.h"
#include "platform/base/result.h"
#include "platform/base/types.h"
#include "platform/context.h"
#include "platform/stub/layout.h"

namespace sandboxd::platform::ptrace {

// Thread rules: everything but Interrupt() on the host thread that called Attach(): the host knows
// tracers by thread. The stub process is not reaped here.
class Tracee {
 public:
  Tracee(pid_t tid, const stub::Layout& layout) : tid_(tid), layout_(layout) {}
  Tracee(const Tracee&) = delete;
  Tracee& operator=(const Tracee&) = delete;

  pid_t tid() const { return tid_; }
  bool dead() const { return dead_; }

  // Stops a parked thread. `drop_socket`: it is the first thread of a process that may have been
  // caught before it closed the descriptor it inherited; then this closes it.
  Result<void> Attach(bool drop_socket);
  // Lets the thread sleep in the stub's own code until the next Attach, by whomever.
  void Park();

  Stop Run(arch::Registers& regs, StepMode step);
  void Interrupt();

  // Runs a snippet of the stub with the registers given, and leaves there what it returns. EFAULT
  // if it faults, ESRCH if the stub is dead. The application's registers are the caller's affair.
  Result<void> RunSnippet(const char* snippet, arch::Registers& regs);
  Result<uint64_t> HostCall(long number, const uint64_t (&args)[6]);

  Result<std::vector<std::byte>> GetXstate() const;
  Result<void> SetXstate(ConstBytes xstate);

 private:
  struct HostStop {
    bool dead = false;
    bool syscall = false;
    int signal = 0;  // of a signal-delivery stop; 0: another kind
  };
  HostStop Wait();
  bool Load(const arch::Registers& regs);
  bool Fetch(arch::Registers& regs);
  bool Resume(int request);
  bool IsForeignCall(const arch::Registers& regs) const;

  const pid_t tid_;
  const stub::Layout& layout_;
  bool dead_ = false;
  // What the stopped thread's registers are, if known: saves setting them again.
  arch::Registers loaded_;
  bool loaded_valid_ = false;
  // Interrupt() sets wanted_ and then looks at running_; Run() sets running_ and then looks at
  // wanted_. Sequentially consistent on both sides, so that one of them sees the other.
  std::atomic<bool> wanted_{false};
  std::atomic<bool> running_{false};
};

}  // namespace sandboxd::platform::ptrace
