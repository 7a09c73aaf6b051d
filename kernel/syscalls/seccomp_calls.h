// What seccomp(2) and prctl(PR_SET_SECCOMP) share.
#pragma once

#include "kernel/syscalls/args.h"

namespace sandboxd::syscalls {

// `args`: struct sock_fprog. The result is seccomp(2)'s.
Result<uint64_t> InstallFilter(Task& t, uint32_t flags, UserAddr args);

}  // namespace sandboxd::syscalls
