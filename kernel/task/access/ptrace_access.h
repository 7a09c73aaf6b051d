// May one task look into another (ptrace(2), "Ptrace access mode checking")?
#pragma once

#include "kernel/task/task.h"
#include "platform/base/result.h"

namespace sandboxd::task {

enum class PtraceMode : uint8_t {
  kReadFs,      // /proc: with the caller's file system ids
  kAttachReal,  // process_vm_readv, ptrace: with its real ids
};

// EPERM if not. Any thread; the caller's credentials are read, nothing is locked.
Result<void> CheckPtraceAccess(Task& caller, Task& target, PtraceMode mode);

}  // namespace sandboxd::task
