#include "platform/platform.h"

#include "platform/kvm/kvm_platform.h"
#include "platform/ptrace/ptrace_platform.h"
#include "platform/systrap/systrap_platform.h"

namespace sandboxd::platform {

Result<std::unique_ptr<Platform>> CreatePlatform(std::string_view name,
                                                 const PlatformOptions& options) {
  if (name == "systrap") return systrap::SystrapPlatform::Create();
  if (name == "ptrace") return ptrace::PtracePlatform::Create();
  if (name == "kvm") return kvm::KvmPlatform::Create(options.kvm_fd);
  return Errno::kEINVAL;
}

std::unique_ptr<Platform> DescribePlatform(std::string_view name) {
  if (name == "systrap") return systrap::SystrapPlatform::Describe();
  if (name == "kvm") return kvm::KvmPlatform::Describe();
  if (name == "ptrace") return ptrace::PtracePlatform::Describe();
  return nullptr;
}

std::vector<PlatformInfo> ListPlatforms(const PlatformOptions& options) {
  return {{"systrap", systrap::SystrapPlatform::Probe()},
          {"kvm", kvm::KvmPlatform::Probe(options.kvm_fd)},
          {"ptrace", ptrace::PtracePlatform::Probe()}};
}

}  // namespace sandboxd::platform
