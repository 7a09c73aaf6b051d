// Freezing all tasks of the sandbox (cgroups' freezer, as the control channel asks for it).
#include <algorithm>

#include "kernel/task/kernel.h"
#include "kernel/task/task.h"
#include "kernel/task/thread_group.h"

namespace sandboxd::task {

// A task looks at frozen() after every clearing of its kInterrupted and before it enters
// application code; entering fails if it has been poked since. So one that was in the tree when we
// poked stops, and one that comes later sees frozen() from the beginning.
void Kernel::Freeze() {
  frozen_.store(true, std::memory_order_seq_cst);
  for (const Ref<ThreadGroup>& group : ThreadGroups()) {
    for (const Ref<Task>& task : group->Tasks()) task->Interrupt();
  }
  for (;;) {
    uint64_t before;
    {
      MutexLock lock(freeze_mutex_);
      before = left_application_;
    }
    if (!AnyTaskInApplication()) return;
    MutexLock lock(freeze_mutex_);
    while (left_application_ == before) freeze_changed_.Wait(freeze_mutex_);
  }
}

void Kernel::Thaw() {
  frozen_.store(false, std::memory_order_seq_cst);
  for (const Ref<ThreadGroup>& group : ThreadGroups()) {
    for (const Ref<Task>& task : group->Tasks()) task->Interrupt();
  }
}

void Kernel::NoteLeftApplication() {
  MutexLock lock(freeze_mutex_);
  left_application_++;
  freeze_changed_.NotifyAll();
}

bool Kernel::AnyTaskInApplication() {
  for (const Ref<ThreadGroup>& group : ThreadGroups()) {
    const auto tasks = group->Tasks();
    if (std::any_of(tasks.begin(), tasks.end(),
                    [](const Ref<Task>& task) { return task->in_application(); })) {
      return true;
    }
  }
  return false;
}

}  // namespace sandboxd::task
