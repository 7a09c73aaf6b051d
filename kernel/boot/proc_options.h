// What proc shows that only the composition knows: terminals' device numbers, and the network's
// tables.
#pragma once

#include "kernel/fs/proc/proc_fs.h"
#include "kernel/net/network.h"

namespace sandboxd::boot {

// `network` is the sandbox's first, for who has no task; it outlives the file system.
proc::ProcOptions SandboxProcOptions(net::Network& network);

}  // namespace sandboxd::boot
