// The ptrace platform: PTRACE_SYSEMU on stub processes. The baseline that works wherever ptrace(2)
// does.
#pragma once

#include <memory>

#include "platform/platform.h"
#include "platform/stub/template_process.h"

namespace sandboxd::platform::ptrace {

class PtracePlatform final : public Platform {
 public:
  static Availability Probe();
  static Result<std::unique_ptr<Platform>> Create();
  static std::unique_ptr<Platform> Describe() {
    return std::unique_ptr<Platform>(new PtracePlatform(nullptr));
  }

  std::string_view name() const override { return "ptrace"; }
  Result<Ref<AddressSpace>> NewAddressSpace() override;
  VdsoLayout vdso() const override { return template_->layout().vdso; }
  std::vector<HostSyscall> HostSyscalls() const override;
  std::string StubSeccomp() const override;

 private:
  explicit PtracePlatform(std::unique_ptr<stub::TemplateProcess> t) : template_(std::move(t)) {}

  const std::unique_ptr<stub::TemplateProcess> template_;
};

}  // namespace sandboxd::platform::ptrace
