// What exec(2) and the first program of a process share. Private to kernel/task.
#pragma once

#include "kernel/task/clone.h"

namespace sandboxd::task {

// Loads the program and makes it the task's, which has no program yet and no other thread. On the
// task's own thread.
Result<void> LoadAndEnter(Task& task, const ExecArgs& args);

}  // namespace sandboxd::task
