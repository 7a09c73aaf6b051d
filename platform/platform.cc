#include "platform/platform.h"

#include "platform/ptrace/ptrace_platform.h"
#include "platform/systrap/systrap_platform.h"

namespace sandboxd::platform {

Result<std::unique_ptr<Platform>> CreatePlatform(std::string_view name) {
  if (name == "systrap") return systrap::SystrapPlatform::Create();
  if (name == "ptrace") return ptrace::PtracePlatform::Create();
  return Errno::kEINVAL;
}

std::vector<PlatformInfo> ListPlatforms() {
  return {{"systrap", systrap::SystrapPlatform::Probe()},
          {"ptrace", ptrace::PtracePlatform::Probe()}};
}

}  // namespace sandboxd::platform
