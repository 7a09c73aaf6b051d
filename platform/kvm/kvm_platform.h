// The KVM platform: application code runs in a virtual machine of which its stub is the monitor.
#pragma once

#include <memory>

#include "platform/kvm/kvm_address_space.h"
#include "platform/platform.h"
#include "platform/stub/graveyard.h"
#include "platform/stub/template_process.h"

namespace sandboxd::platform::kvm {

class KvmPlatform final : public Platform {
 public:
  // `kvm_fd`: /dev/kvm, if it has been opened already; stays the caller's. -1: opens it.
  static Availability Probe(int kvm_fd = -1);
  static Result<std::unique_ptr<Platform>> Create(int kvm_fd = -1);
  static std::unique_ptr<Platform> Describe() {
    return std::unique_ptr<Platform>(new KvmPlatform(nullptr, {}));
  }

  std::string_view name() const override { return "kvm"; }
  Result<Ref<AddressSpace>> NewAddressSpace() override;
  VdsoLayout vdso() const override { return template_->layout().vdso; }
  std::vector<HostSyscall> HostSyscalls() const override;
  std::string StubSeccomp() const override;

 private:
  KvmPlatform(std::unique_ptr<stub::TemplateProcess> t, const MachineLimits& limits)
      : template_(std::move(t)), limits_(limits) {}

  const std::unique_ptr<stub::TemplateProcess> template_;
  const MachineLimits limits_;
  stub::Graveyard graveyard_;
};

}  // namespace sandboxd::platform::kvm
