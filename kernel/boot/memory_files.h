// The memfds of tmpfs files in a process that has no /proc to open a second description through.
#pragma once

#include "kernel/fs/tmpfs/memory_files.h"

namespace sandboxd::boot {

// A stub gets a duplicate of the read-write description even for read-only rights. That is harmless
// as long as applications can't make host calls with it, which holds on the ptrace platform (SYSEMU
// takes every call, see docs/security.md).
tmpfs::MemoryFiles& SandboxMemoryFiles();

}  // namespace sandboxd::boot
