// What clone, exec, exit and job control do to the process tree. Private to kernel/task; every
// function is called with the tree mutex held unless it says otherwise.
#pragma once

#include <vector>

#include "kernel/task/kernel.h"
#include "kernel/task/task.h"
#include "kernel/task/thread_group.h"

namespace sandboxd::task {

// What was taken out of the tree under the tree mutex, to be destroyed after it is released.
struct Debris {
  std::vector<Ref<Task>> tasks;
  std::vector<Ref<ThreadGroup>> groups;
  std::vector<Ref<RefCounted>> others;
};

// The CPU time of the stub behind `mm`; any lock.
Nanos StubTime(const mm::MemoryManager* mm);

struct TreeOps {
  // Gives `task` an id in its namespace and every ancestor; `wanted` from the innermost outwards.
  static Result<void> AllocateIds(Task& task, const std::vector<Tid>& wanted);
  static void ReleaseIds(Task& task);

  // A thread or a process enters the tree.
  static void AddThread(ThreadGroup& group, Task& task);
  static void AddProcess(ThreadGroup& group, Task& leader, ThreadGroup* parent,
                         Ref<ProcessGroup> process_group);
  // A process group or session of its own, named like the group's leader.
  static Ref<ProcessGroup> NewProcessGroup(ThreadGroup& group, Ref<Session> session);
  static Ref<Session> NewSession(ThreadGroup& group);
  static void JoinProcessGroup(ThreadGroup& group, Ref<ProcessGroup> to, Debris& debris);
  // Takes a session's terminal away.
  static void DropTerminal(Kernel& kernel, Session& session, Debris& debris);

  // The last thread of `group` is gone: children, process groups, session, parent.
  static void EndGroup(ThreadGroup& group, Debris& debris);
  // A zombie's parent learns of it; if nobody wants to know, it is reaped.
  static void TellParent(ThreadGroup& group, Debris& debris);
  // A zombie leaves the tree. What it used counts as its parent's children's if that waited for it.
  enum class Waited : uint8_t { kNo, kYes };
  static void Reap(ThreadGroup& group, Waited waited, Debris& debris);
  static ThreadGroup* FindReaper(ThreadGroup& dying);

  static PidIds IdsOf(const Task& task);
};

}  // namespace sandboxd::task
