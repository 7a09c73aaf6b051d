// Telling a tracer that something happened to a tracee. Private to kernel/task.
#pragma once

#include "kernel/task/task.h"

namespace sandboxd::task {

// SIGCHLD with `code` (CLD_*) and `status`, and whoever waits in the tracer's process. The tree
// mutex is held, the tracee's signal mutex is not. True if the tracer ignores its children.
bool PtraceNotify(Task& tracer, Task& tracee, int code, int status);

}  // namespace sandboxd::task
