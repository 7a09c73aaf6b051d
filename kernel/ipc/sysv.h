// The System V IPC objects of one ipc namespace (ipc_namespaces(7)).
#pragma once

#include "kernel/ipc/sysv_msg.h"
#include "kernel/ipc/sysv_sem.h"
#include "kernel/ipc/sysv_shm.h"

namespace sandboxd::ipc {

struct SysvIpc {
  SysvTable<SemaphoreSet> semaphores;
  SysvTable<MessageQueue> messages;
  SharedMemory memory;

  // A process ended: SEM_UNDO. `process` is its id in the sandbox's initial pid namespace.
  void OnProcessExit(int32_t process) {
    for (const Ref<SemaphoreSet>& set : semaphores.List()) set->Undo(process);
  }
};

}  // namespace sandboxd::ipc
