// The systrap platform: stubs that run by themselves. A seccomp filter turns the application's
// system calls into signals that the stub's own code takes, which then hands over to the kernel
// thread through shared memory.
#pragma once

#include <memory>
#include <optional>

#include "platform/platform.h"
#include "platform/stub/graveyard.h"
#include "platform/stub/template_process.h"
#include "platform/systrap/systrap_address_space.h"

namespace sandboxd::platform::systrap {

class SystrapPlatform final : public Platform {
 public:
  static Availability Probe();
  static Result<std::unique_ptr<Platform>> Create();
  ~SystrapPlatform() override;
  static std::unique_ptr<Platform> Describe() {
    return std::unique_ptr<Platform>(new SystrapPlatform(nullptr));
  }

  std::string_view name() const override { return "systrap"; }
  Result<Ref<AddressSpace>> NewAddressSpace() override;
  VdsoLayout vdso() const override { return template_->layout().vdso; }
  std::vector<HostSyscall> HostSyscalls() const override;
  std::string StubSeccomp() const override;

 private:
  explicit SystrapPlatform(std::unique_ptr<stub::TemplateProcess> t) : template_(std::move(t)) {}
  Result<void> OrderNext() REQUIRES(mutex_);

  const std::unique_ptr<stub::TemplateProcess> template_;
  stub::Graveyard graveyard_;
  // The next address space, which the template is making while nobody waits for it: its slots.
  Mutex mutex_{LockRank::kContext};
  std::optional<SharedSlots> next_ GUARDED_BY(mutex_);
};

}  // namespace sandboxd::platform::systrap
