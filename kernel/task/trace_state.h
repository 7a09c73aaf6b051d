// What a task that is traced by another knows of that (ptrace(2)). Private to kernel/task.
#pragma once

#include <cstdint>
#include <functional>

#include "kernel/signal/signal.h"
#include "platform/base/mutex.h"

namespace sandboxd::task {

class Task;

// Guarded by the tracee's signal mutex; `tracer` is written under the tree mutex too, and read
// under either. What the tracee's own thread left here when it stopped belongs to the tracer until
// it resumes it.
struct TraceState {
  enum class Resume : uint8_t { kContinue, kSyscall, kStep, kSysemu, kSysemuStep };
  // Where PTRACE_GET_SYSCALL_INFO says that it stands (PTRACE_SYSCALL_INFO_*).
  enum class Phase : uint8_t { kNone, kEntry, kExit, kSeccomp };

  Task* tracer = nullptr;  // lets its tracees go before it ends
  bool seized = false;
  uint32_t options = 0;  // PTRACE_O_*

  bool stopped = false;        // in a ptrace-stop
  bool listening = false;      // PTRACE_LISTEN: stopped, but for the tracer it runs
  bool in_event_stop = false;  // PTRACE_EVENT_STOP
  int code = 0;                // that wait(2) has yet to report: signal, event and 0x80
  uint64_t message = 0;        // PTRACE_GETEVENTMSG
  bool has_info = false;
  signal::SigInfo info;  // PTRACE_GETSIGINFO
  Phase phase = Phase::kNone;

  Resume resume = Resume::kContinue;
  int resume_signal = 0;
  bool trap_stop = false;  // shall stop soon, with PTRACE_EVENT_STOP if it is seized

  // It was released as a thread of its process but its tracer has not yet waited for it.
  bool unreaped = false;
  int exit_wait_status = 0;
};

// Work that others ask a stopped task's own thread to do, since only that may use its context.
struct RemoteCalls {
  Mutex mutex{LockRank::kLeaf};
  CondVar changed;
  bool open GUARDED_BY(mutex) = false;  // the task is in a ptrace-stop
  const std::function<void()>* call GUARDED_BY(mutex) = nullptr;
};

}  // namespace sandboxd::task
