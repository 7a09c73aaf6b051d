// What the host's KVM can do, and what every machine of ours is made from.
#pragma once

#include "platform/kvm/kvm_address_space.h"
#include "platform/platform.h"
#include "platform/stub/machine.h"

namespace sandboxd::platform::kvm {

// Whether the KVM behind `kvm_fd` has all that we need.
Availability CheckCapabilities(int kvm_fd);

struct MachineSettings {
  stub::MachineState state{};
  MachineLimits limits;
};
// EIO if the host can't say.
Result<std::unique_ptr<MachineSettings>> ReadMachineSettings(int kvm_fd);

}  // namespace sandboxd::platform::kvm
