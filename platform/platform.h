// Platform: a way to run application code and catch its system calls.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "platform/address_space.h"
#include "platform/context.h"

namespace sandboxd::platform {

// Whether a platform can run on this host, and if not, why, in a sentence for a person.
struct Availability {
  bool available = false;
  // Why not; or a remark, if there is one to make about a platform that is available.
  std::string reason;
  // `auto` passes over a platform that works here but is slower than another one; `reason` says
  // why.
  bool automatic = true;
};

// The location of the host's vdso in every address space, above kApplicationEnd. Empty if there is
// none.
struct VdsoLayout {
  AddrRange vvar;
  AddrRange vdso;
};

class Platform {
 public:
  virtual ~Platform() = default;
  virtual std::string_view name() const = 0;

  // An address space with nothing mapped in the application's range and one parked thread. Any
  // thread.
  virtual Result<Ref<AddressSpace>> NewAddressSpace() = 0;

  virtual VdsoLayout vdso() const = 0;

  // Host system calls (numbers) that the kernel process itself makes for this platform; they go
  // into its seccomp list, each with a reason.
  struct HostSyscall {
    int number;
    const char* reason;
  };
  virtual std::vector<HostSyscall> HostSyscalls() const = 0;

  // The seccomp list of its stubs, a line a rule, for docs/seccomp.md. "" if it has none.
  virtual std::string StubSeccomp() const { return ""; }
};

struct PlatformOptions {
  int kvm_fd = -1;  // /dev/kvm, for a process that can't open it; stays the caller's
};

// "systrap", "kvm" or "ptrace". Call before lock-down and while the process has one thread: it
// starts the stub template, which leaves our address space behind. EINVAL for an unknown name.
Result<std::unique_ptr<Platform>> CreatePlatform(std::string_view name,
                                                 const PlatformOptions& options = {});

// The same for HostSyscalls() and StubSeccomp() only: starts nothing, needs nothing of the host.
std::unique_ptr<Platform> DescribePlatform(std::string_view name);

struct PlatformInfo {
  std::string_view name;
  Availability availability;
};
// Every platform this build knows, best first; `auto` takes the first one that is available and
// `automatic`. Tries what can be tried without starting stubs.
std::vector<PlatformInfo> ListPlatforms(const PlatformOptions& options = {});

}  // namespace sandboxd::platform
