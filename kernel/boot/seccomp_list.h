// What the sandbox-kernel process may ask of the host, each with the reason why.
#pragma once

#include "platform/host/seccomp_list.h"
#include "platform/platform.h"

namespace sandboxd::boot {

// The kernel's own needs, plus what `platform` needs.
host::SeccompList KernelSeccompList(const platform::Platform& platform);

}  // namespace sandboxd::boot
