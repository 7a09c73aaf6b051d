// A Context of the systrap platform.
#pragma once

#include <array>
#include <atomic>
#include <optional>

#include "platform/context.h"
#include "platform/systrap/systrap_address_space.h"
#include "platform/systrap/turns.h"

namespace sandboxd::platform::systrap {

class SystrapContext : public Context {
 public:
  SystrapContext(Ref<SystrapAddressSpace> as, stub::SharedContext& shared, pid_t tid,
                 uint64_t slot);
  ~SystrapContext() override;

  // Before anything else: waits for the stub thread, and gives it a vector state if there is one.
  Result<void> Start(ConstBytes vector_state);

  Stop Switch(arch::Registers& regs, StepMode step) override;
  void ShowEveryCall(bool on) override;
  void Interrupt() override;
  void InterruptToEnd() override;
  void Rest() override { SpinBudget::Idle(); }
  void Wake() override { SpinBudget::Busy(); }
  Result<std::vector<std::byte>> GetFpState() override;
  Result<void> SetFpState(ConstBytes xstate) override;
  Result<void> ResetFpState() override;
  size_t CopyIn(UserAddr src, Bytes dst) override;
  size_t CopyOut(UserAddr dst, ConstBytes src) override;
  Result<uint32_t> Load32(UserAddr addr) override;
  Result<uint32_t> CompareExchange32(UserAddr addr, uint32_t expected, uint32_t desired) override;

  uint64_t slot() const { return slot_; }
  // Has the stub thread carry out a command, and returns what it says. ESRCH if it is dead.
  Result<uint64_t> Op(stub::Command command, std::array<uint64_t, 6> args);
  // A host call of the stub's: its result, or the host's errno.
  Result<uint64_t> RunHostCall(long number, const std::array<uint64_t, 6>& args);
  // Reads or writes memory of the stub, its own too, at most a slot's buffer.
  bool ReadStub(uint64_t address, Bytes to);
  bool WriteStub(uint64_t address, ConstBytes from);

 protected:
  Turns& turns() { return turns_; }
  // One Switch is under way as long as this lives. `interrupted`: instead of running, return.
  class Running {
   public:
    explicit Running(SystrapContext& context);
    ~Running();
    Running(const Running&) = delete;
    Running& operator=(const Running&) = delete;
    bool interrupted() const { return interrupted_; }

   private:
    SystrapContext& context_;
    bool interrupted_;
  };
  // Whether an interrupt was wanted; it is taken by this.
  bool TakeInterrupt() { return wanted_.exchange(false, std::memory_order_seq_cst); }
  void StoreRegisters(const arch::Registers& regs, StepMode step);
  void LoadRegisters(arch::Registers& regs, StepMode step);

 private:
  Result<uint64_t> HostCall(long number, const uint64_t (&args)[6]) override;
  arch::Fault LoadFault();
  bool UseOp(size_t size);
  // Whether what has happened is nothing to the application, which goes on from where the registers
  // in the slot then are.
  bool IsOurAffair(Patcher& patcher, stub::Event event);
  bool IsOurFault(Patcher& patcher);
  SystrapAddressSpace& Space();
  bool every_call_ = false;  // ShowEveryCall
  // Calls whose result stays what it is: before the application goes on from one, and when it makes
  // one.
  void NoteAnswer(const arch::Registers& regs);
  void NoteCall(const arch::Registers& regs);

  Turns turns_;
  const uint64_t slot_;
  // The call that may be answered by the stub next time, and where it returns to.
  std::optional<uint64_t> answerable_;
  uint64_t answerable_ip_ = 0;
  // As in ptrace::Tracee: Interrupt() sets wanted_ and then looks at running_, Switch() does the
  // reverse, both sequentially consistent.
  std::atomic<bool> wanted_{false};
  std::atomic<bool> running_{false};
};

}  // namespace sandboxd::platform::systrap
