// Context: one thread of application code, on the host thread that owns it.
#pragma once

#include <cstdint>
#include <vector>

#include "platform/arch/fault.h"
#include "platform/arch/registers.h"
#include "platform/base/ref.h"
#include "platform/base/result.h"
#include "platform/base/types.h"

namespace sandboxd::platform {

class AddressSpace;

// Why Switch returned.
struct Stop {
  enum class Kind : uint8_t {
    kSyscall,    // registers hold a system call: orig_rax is its number, rip is behind the
                 // instruction
    kFault,      // the processor raised an exception: `fault` says which signal Linux would send
    kInterrupt,  // Interrupt() was called, or the platform has no reason to give; nothing has
                 // changed
    kDead,  // the stub is gone (killed from outside, out of memory): the application must be killed
  };
  using Fault = arch::Fault;  // signo, code, addr, trapno, error_code
  Kind kind = Kind::kInterrupt;
  Fault fault;
};

enum class StepMode : uint8_t { kRun, kSingleStep };

// Thread rules: everything but Interrupt() is called on the host thread that created the Context
// (the task's thread), and the destructor too. The application code of a Context never runs outside
// Switch().
class Context {
 public:
  virtual ~Context();
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  AddressSpace& address_space() const { return *address_space_; }

  // Runs application code from `regs` until something happens, and leaves the registers of that
  // moment in `regs`. On kSyscall the application's rax is -ENOSYS, as at a ptrace entry stop; put
  // the result there. rcx and r11 are what the `syscall` instruction leaves.
  virtual Stop Switch(arch::Registers& regs, StepMode step) = 0;

  // Makes a Switch that is under way, or else the next one, return soon with kInterrupt (if nothing
  // else stops it first). Any thread; never blocks. Interrupts that meet are one.
  virtual void Interrupt() = 0;
  // The same for an application that is to end whatever it does: if it keeps the interrupt away
  // from itself, its Switch returns kDead in the end. Any thread; never blocks.
  virtual void InterruptToEnd() { Interrupt(); }

  // The owner is about to sleep until something happens elsewhere, or it is awake again: in between
  // this context needs no processor. Begins awake.
  virtual void Rest() {}
  virtual void Wake() {}

  // Vector and floating-point state in the processor's XSAVE format (uncompacted), as in
  // NT_X86_XSTATE.
  virtual Result<std::vector<std::byte>> GetFpState() = 0;
  virtual Result<void> SetFpState(ConstBytes xstate) = 0;
  // The state that execve(2) gives.
  virtual Result<void> ResetFpState() = 0;

  // With `on`, every call makes Switch return, since somebody looks at them (a filter, a tracer);
  // without, a platform may answer by itself those whose result it knows.
  virtual void ShowEveryCall(bool on) { static_cast<void>(on); }

  // Copies between our memory and the application's. The number of bytes copied before the first
  // byte that can't be: the application's own protections decide (a write to a read-only page
  // fails). The fast path of the platform; address_space().CopyIn works from any thread.
  virtual size_t CopyIn(UserAddr src, Bytes dst) = 0;
  virtual size_t CopyOut(UserAddr dst, ConstBytes src) = 0;

  // Atomic operations on a 4-byte aligned word; EFAULT if it is not accessible. CompareExchange
  // returns the value found: it has stored `desired` if that equals `expected`.
  virtual Result<uint32_t> Load32(UserAddr addr) = 0;
  virtual Result<uint32_t> CompareExchange32(UserAddr addr, uint32_t expected,
                                             uint32_t desired) = 0;

 protected:
  explicit Context(Ref<AddressSpace> as);

 private:
  friend class AddressSpace;
  // Runs one host system call in the stub, on this context's stub thread: its result, or the host's
  // errno. Only AddressSpace uses it: what it may run is the stub's seccomp list.
  virtual Result<uint64_t> HostCall(long number, const uint64_t (&args)[6]) = 0;

  Ref<AddressSpace> address_space_;
};

}  // namespace sandboxd::platform
