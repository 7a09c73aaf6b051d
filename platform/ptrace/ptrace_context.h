// A Context of the ptrace platform.
#pragma once

#include "platform/context.h"
#include "platform/ptrace/ptrace_address_space.h"
#include "platform/ptrace/tracee.h"

namespace sandboxd::platform::ptrace {

class PtraceContext final : public Context {
 public:
  PtraceContext(Ref<PtraceAddressSpace> as, pid_t tid, const stub::Layout& layout);
  ~PtraceContext() override;

  Stop Switch(arch::Registers& regs, StepMode step) override;
  void Interrupt() override;
  Result<std::vector<std::byte>> GetFpState() override;
  Result<void> SetFpState(ConstBytes xstate) override;
  Result<void> ResetFpState() override;
  size_t CopyIn(UserAddr src, Bytes dst) override;
  size_t CopyOut(UserAddr dst, ConstBytes src) override;
  Result<uint32_t> Load32(UserAddr addr) override;
  Result<uint32_t> CompareExchange32(UserAddr addr, uint32_t expected, uint32_t desired) override;

  Tracee& tracee() { return tracee_; }

 private:
  Result<uint64_t> HostCall(long number, const uint64_t (&args)[6]) override;

  Tracee tracee_;
};

}  // namespace sandboxd::platform::ptrace
