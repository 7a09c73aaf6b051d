// A Context of the KVM platform.
#pragma once

#include "platform/kvm/kvm_address_space.h"
#include "platform/systrap/systrap_context.h"

namespace sandboxd::platform::kvm {

class KvmContext final : public systrap::SystrapContext {
 public:
  KvmContext(Ref<KvmAddressSpace> as, stub::SharedContext& shared, pid_t tid, uint64_t slot);

  Stop Switch(arch::Registers& regs, StepMode step) override;

  // How often the virtual processor has left the machine, all threads of this slot together.
  uint64_t exits() { return turns().shared().exits; }

 private:
  // The page tables refuse an access. Nothing: they allow it now.
  std::optional<arch::Fault> TakePageFault();
  arch::Fault TakeException(arch::Registers& regs);
  std::optional<arch::Fault> TakeHostFault(const arch::Registers& regs);
  KvmAddressSpace& space() { return static_cast<KvmAddressSpace&>(address_space()); }

  // After the host could not provide a page: so many page faults ask it about theirs.
  int checks_left_ = 0;
  int host_faults_ = 0;  // without an explanation so far
};

}  // namespace sandboxd::platform::kvm
