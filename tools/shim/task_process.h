// One process of a task: its init process or one of exec.
#pragma once

#include <google/protobuf/timestamp.pb.h>

#include <string>

#include "platform/base/mutex.h"
#include "platform/base/ref.h"
#include "proto/sandboxd/v1/process.pb.h"
#include "tools/shim/proto/task.pb.h"
#include "tools/shim/stdio_relay.h"

namespace sandboxd::shim {

namespace task = containerd::task::v2;

struct TaskProcess : RefCounted {
  std::string exec_id;  // empty: the init process
  StdioPaths stdio;
  v1::ProcessSpec spec;  // of exec, until it is started

  Mutex mutex{LockRank::kDaemonSandbox};
  CondVar changed;
  Ref<StdioRelay> relay GUARDED_BY(mutex);
  task::Status status GUARDED_BY(mutex) = task::CREATED;
  uint32_t pid GUARDED_BY(mutex) = 0;
  // The event of its start has been queued: that of its exit may follow.
  bool announced GUARDED_BY(mutex) = false;
  uint32_t exit_status GUARDED_BY(mutex) = 0;
  google::protobuf::Timestamp exited_at GUARDED_BY(mutex);

  Ref<StdioRelay> Relay() {
    MutexLock lock(mutex);
    return relay;
  }
  void SetRelay(Ref<StdioRelay> next) {
    MutexLock lock(mutex);
    relay = std::move(next);
  }
  void WaitAnnounced() {
    MutexLock lock(mutex);
    while (!announced) changed.Wait(mutex);
  }
  void SetAnnounced() {
    MutexLock lock(mutex);
    announced = true;
    changed.NotifyAll();
  }
  void WaitStopped() {
    MutexLock lock(mutex);
    while (status != task::STOPPED) changed.Wait(mutex);
  }
  task::Status Status() {
    MutexLock lock(mutex);
    return status;
  }
  void SetStatus(task::Status next) {
    MutexLock lock(mutex);
    status = next;
    changed.NotifyAll();
  }
  bool SetStopped(uint32_t with_status);
};

}  // namespace sandboxd::shim
