// What proc shows that only the composition knows: terminals' device numbers.
#pragma once

#include "kernel/fs/proc/proc_fs.h"

namespace sandboxd::boot {

proc::ProcOptions SandboxProcOptions();

}  // namespace sandboxd::boot
