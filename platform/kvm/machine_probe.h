// Tries a machine as small as can be: how does a system call of ring 3 leave it here?
#pragma once

#include <cstdint>

namespace sandboxd::platform::kvm {

enum class CallPath : uint8_t {
  // `syscall` enters ring 0 at the address in LSTAR, and the `hlt` there leaves the machine.
  kEntry,
  // `syscall` arrives there still in ring 3, and the page fault that follows leaves the machine:
  // ring 0 is emulated, and each call costs tens of microseconds.
  kPageFault,
  // Neither: applications can't run.
  kNone,
};

// Makes a machine and drops it again, which takes a while.
CallPath ProbeCallPath(int kvm_fd);

}  // namespace sandboxd::platform::kvm
