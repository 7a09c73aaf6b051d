// Assemble: puts a kernel together from its parts, and injects into lower floors what they need of
// higher ones.
#pragma once

#include <memory>

#include "kernel/task/kernel.h"
#include "platform/platform.h"

namespace sandboxd::boot {

std::unique_ptr<task::Kernel> Assemble(std::unique_ptr<platform::Platform> platform, bool strace);

}  // namespace sandboxd::boot
