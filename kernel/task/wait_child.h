// Waiting for children (wait4(2), waitid(2)).
#pragma once

#include "kernel/task/task.h"
#include "kernel/task/thread_group.h"

namespace sandboxd::task {

struct WaitRequest {
  enum class Kind : uint8_t { kAny, kPid, kProcessGroup, kGroup };
  Kind kind = Kind::kAny;
  Tid id;                  // kPid, kProcessGroup: in the caller's namespace
  Ref<ThreadGroup> group;  // kGroup: a pidfd's
  int options = 0;  // WNOHANG WEXITED WSTOPPED WCONTINUED WNOWAIT __WALL __WCLONE __WNOTHREAD
  bool nonblocking_pidfd = false;  // EAGAIN instead of waiting
};

struct WaitResult {
  Tid pid;         // 0: WNOHANG found nothing
  int code = 0;    // CLD_*
  int status = 0;  // as si_status
  uint32_t uid = 0;
  int wait_status = 0;  // as wait4(2) gives it
  ThreadGroup::Usage usage;
};

// ECHILD, ERESTARTSYS, EAGAIN.
Result<WaitResult> WaitForChild(Task& task, const WaitRequest& request);

}  // namespace sandboxd::task
