// The traced task's side of ptrace(2): where it stops, and what it takes from its tracer.
#include <linux/capability.h>
#include <linux/ptrace.h>
#include <sched.h>
#include <signal.h>
#include <sys/epoll.h>

#include "kernel/task/ptrace.h"
#include "kernel/task/ptrace_notify.h"
#include "platform/base/check.h"

namespace sandboxd::task {

using Phase = TraceState::Phase;
using Resume = TraceState::Resume;
using signal::SigInfo;

namespace {

constexpr int kGoodSyscallBit = 0x80;
constexpr uint64_t kMessageEntry = 1, kMessageExit = 2;  // PTRACE_EVENTMSG_SYSCALL_*

constexpr bool HasEvent(uint32_t options, int event) { return ((options >> event) & 1) != 0; }

}  // namespace

struct PtraceOps {
  struct Request {
    int code = 0;           // what wait(2) reports: signal, 0x80, event << 8
    int why = CLD_TRAPPED;  // si_code of the SIGCHLD
    uint64_t message = 0;
    std::optional<SigInfo> info;
    Phase phase = Phase::kNone;
    bool event_stop = false;  // PTRACE_EVENT_STOP
    bool at_exit = false;     // only SIGKILL keeps it from stopping
  };
  struct Outcome {
    bool stopped = false;
    int signo = 0;  // that the tracer wants delivered
    SigInfo info;
  };

  // The information of stops that are no signal's (ptrace_notify).
  static SigInfo OwnInfo(Task& task, int code) {
    creds::CredRef creds = task.credentials();
    return SigInfo::User(code & 0x7f, code, task.tid().value,
                         creds->user_ns->FromKUid(creds->ruid));
  }

  static bool MayStopLocked(const Task& task, bool at_exit) {
    if (task.trace_.tracer == nullptr || task.hard_kill_) return false;
    return at_exit || !task.kill_;
  }

  // Enters the stop and tells the tracer. False: there is nobody to stop for.
  static bool Enter(Task& task, const Request& request) {
    MutexLock tree(task.kernel_.tree_mutex());
    Task* tracer = nullptr;
    {
      MutexLock lock(task.group_->signal_mutex_);
      TraceState& s = task.trace_;
      if (!MayStopLocked(task, request.at_exit)) return false;
      tracer = s.tracer;
      s.stopped = true;
      s.listening = false;
      s.in_event_stop = request.event_stop;
      s.code = request.code;
      s.message = request.message;
      s.has_info = request.info.has_value();
      s.info = request.info.value_or(SigInfo());
      s.phase = request.phase;
      s.resume = Resume::kContinue;
      s.resume_signal = 0;
    }
    {
      MutexLock lock(task.remote_calls_.mutex);
      task.remote_calls_.open = true;
    }
    PtraceNotify(*tracer, task, request.why, request.code & 0x7f);
    return true;
  }

  // Does what others ask for meanwhile, until it may go on.
  static void SleepInStop(Task& task, bool at_exit) {
    for (;;) {
      task.word_.fetch_and(~(Task::kInterrupted | Task::kWoken), std::memory_order_acq_rel);
      Serve(task);
      {
        MutexLock lock(task.group_->signal_mutex_);
        if (!task.trace_.stopped) break;
        if (!MayStopLocked(task, at_exit)) {
          task.trace_.stopped = false;
          break;
        }
      }
      task.SleepOnWord(Task::kInterrupted | Task::kWoken, std::nullopt);
    }
    RemoteCalls& remote = task.remote_calls_;
    Serve(task);
    MutexLock lock(remote.mutex);
    remote.open = false;
    remote.changed.NotifyAll();
  }

  static void Serve(Task& task) {
    RemoteCalls& remote = task.remote_calls_;
    const std::function<void()>* call = nullptr;
    {
      MutexLock lock(remote.mutex);
      call = remote.call;
    }
    if (call == nullptr) return;
    (*call)();
    MutexLock lock(remote.mutex);
    remote.call = nullptr;
    remote.changed.NotifyAll();
  }

  static Outcome Leave(Task& task) {
    Outcome outcome{.stopped = true, .signo = 0, .info = {}};
    Resume how;
    {
      MutexLock lock(task.group_->signal_mutex_);
      TraceState& s = task.trace_;
      outcome.signo = s.resume_signal;
      outcome.info = s.info;
      how = s.resume;
      s.resume_signal = 0;
      s.code = 0;
      s.phase = Phase::kNone;
      s.listening = s.in_event_stop = s.has_info = false;
    }
    SetWork(task, how);
    // What else came meanwhile.
    task.word_.fetch_or(Task::kInterrupted, std::memory_order_acq_rel);
    return outcome;
  }

  static void SetWork(Task& task, Resume how) {
    task.step_ = how == Resume::kStep || how == Resume::kSysemuStep;
    const bool emulate = how == Resume::kSysemu || how == Resume::kSysemuStep;
    task.syscall_work_.fetch_and(~(Task::kWorkTrace | Task::kWorkEmulate),
                                 std::memory_order_relaxed);
    if (how == Resume::kSyscall) {
      task.syscall_work_.fetch_or(Task::kWorkTrace, std::memory_order_relaxed);
    }
    if (emulate) task.syscall_work_.fetch_or(Task::kWorkEmulate, std::memory_order_relaxed);
  }

  static Outcome Stop(Task& task, const Request& request) {
    AssertNoLocksHeld();
    if (!Enter(task, request)) {
      bool traced;
      {
        MutexLock lock(task.group_->signal_mutex_);
        traced = task.trace_.tracer != nullptr;
      }
      if (!traced) SetWork(task, Resume::kContinue);
      return {};
    }
    SleepInStop(task, request.at_exit);
    return Leave(task);
  }

  static uint32_t Options(Task& task) {
    MutexLock lock(task.group_->signal_mutex_);
    return task.trace_.tracer != nullptr ? task.trace_.options : 0;
  }
  static bool IsTraced(Task& task) {
    MutexLock lock(task.group_->signal_mutex_);
    return task.trace_.tracer != nullptr;
  }

  static void Event(Task& task, int event, uint64_t message, Phase phase = Phase::kNone) {
    Request request;
    request.code = SIGTRAP | (event << 8);
    request.message = message;
    request.info = OwnInfo(task, request.code);
    request.phase = phase;
    request.at_exit = event == PTRACE_EVENT_EXIT;
    Stop(task, request);
  }

  static void SyscallStop(Task& task, Phase phase) {
    Request request;
    request.code = SIGTRAP | (HasEvent(Options(task), 0) ? kGoodSyscallBit : 0);
    request.message = phase == Phase::kEntry ? kMessageEntry : kMessageExit;
    request.info = OwnInfo(task, request.code);
    request.phase = phase;
    Outcome outcome = Stop(task, request);
    if (outcome.signo != 0) {
      (void)task.SendSignal(SigInfo::Kernel(outcome.signo));  // standard ones always have room
    }
  }

  static void Exit(Task& task) {
    const uint64_t before = task.registers_.rax;
    SyscallStop(task, Phase::kExit);
    // A result that the tracer has changed is no restart.
    if (task.registers_.rax != before) task.restart_code_.reset();
  }

  static void Trap(Task& task) {
    Request request;
    request.why = CLD_STOPPED;
    {
      MutexLock lock(task.group_->signal_mutex_);
      task.trace_.trap_stop = false;
      if (task.trace_.tracer == nullptr) return;
      const bool stop = task.group_->stop_state_ != ThreadGroup::StopState::kRunning;
      const int signo = stop ? task.group_->stop_signo_ : 0;
      request.event_stop = task.trace_.seized;
      if (task.trace_.seized) {
        request.code = (signo != 0 ? signo : SIGTRAP) | (PTRACE_EVENT_STOP << 8);
      } else if (signo != 0) {
        request.code = signo;  // a group-stop is told from a signal by having no siginfo
      } else {
        return;
      }
    }
    if (request.event_stop) request.info = OwnInfo(task, request.code);
    Stop(task, request);
  }

  static SigInfo InfoFromTracer(Task& task, int signo) {
    MutexLock tree(task.kernel_.tree_mutex());
    Task* tracer = task.trace_.tracer;
    if (tracer == nullptr) return SigInfo::Kernel(signo);
    creds::CredRef creds = tracer->credentials();
    return SigInfo::User(signo, SI_USER, tracer->group().TgidIn(*task.pid_ns_).value,
                         task.credentials()->user_ns->FromKUid(creds->ruid));
  }

  static int EventOfClone(uint32_t options, uint64_t flags, int exit_signal) {
    if ((flags & CLONE_UNTRACED) != 0) return 0;
    int event = PTRACE_EVENT_FORK;
    if ((flags & CLONE_VFORK) != 0) {
      event = PTRACE_EVENT_VFORK;
    } else if ((flags & CLONE_THREAD) != 0 || exit_signal != SIGCHLD) {
      event = PTRACE_EVENT_CLONE;
    }
    return HasEvent(options, event) ? event : 0;
  }

  static int Inherit(Task& parent, Task& child, uint64_t flags,
                     int exit_signal) NO_THREAD_SAFETY_ANALYSIS {
    Task* tracer = parent.trace_.tracer;
    if (tracer == nullptr || tracer->no_more_tracees_) return 0;
    TraceState copy;
    int event = 0;
    {
      MutexLock lock(parent.group_->signal_mutex_);
      copy.seized = parent.trace_.seized;
      copy.options = parent.trace_.options;
      event = EventOfClone(copy.options, flags, exit_signal);
    }
    if (event == 0 && ((flags & CLONE_PTRACE) == 0 || (flags & CLONE_UNTRACED) != 0)) return 0;
    copy.tracer = tracer;
    copy.trap_stop = copy.seized;
    MutexLock lock(child.group_->signal_mutex_);
    child.trace_ = copy;
    if (!copy.seized) child.pending_.Add(SigInfo::Kernel(SIGSTOP), UINT64_MAX);
    child.word_.fetch_or(Task::kInterrupted, std::memory_order_acq_rel);
    tracer->tracees_.push_back(Ref<Task>(&child));
    return event;
  }

  // The child's id where the tracer looks from.
  static uint64_t IdForTracer(Task& task, Task& child) {
    MutexLock tree(task.kernel_.tree_mutex());
    Task* tracer = task.trace_.tracer;
    return tracer == nullptr ? 0 : static_cast<uint64_t>(child.TidIn(*tracer->pid_ns_).value);
  }

  static void ExecEvent(Task& task, Tid old_tid) {
    bool seized = false;
    {
      MutexLock lock(task.group_->signal_mutex_);
      if (task.trace_.tracer == nullptr) return;
      seized = task.trace_.seized;
    }
    if (HasEvent(Options(task), PTRACE_EVENT_EXEC)) {
      Event(task, PTRACE_EVENT_EXEC, static_cast<uint64_t>(old_tid.value));
    } else if (!seized) {
      // ptrace(2): "a SIGTRAP is sent after each successful execve".
      creds::CredRef creds = task.credentials();
      (void)task.SendSignal(SigInfo::User(SIGTRAP, SI_USER, task.tgid().value,
                                          creds->user_ns->FromKUid(creds->ruid)));
    }
  }

  static void ExitEvent(Task& task) {
    if (task.context_ == nullptr || !HasEvent(Options(task), PTRACE_EVENT_EXIT)) return;
    ExitStatus status = task.thread_status_;
    {
      MutexLock lock(task.group_->signal_mutex_);
      if (task.group_->group_exit_ && !task.exit_called_) status = task.group_->status_;
    }
    Event(task, PTRACE_EVENT_EXIT, static_cast<uint64_t>(status.ToWaitStatus()));
  }

  static bool MayKeepPrivileges(Task& task) {
    MutexLock tree(task.kernel_.tree_mutex());
    Task* tracer = task.trace_.tracer;
    return tracer == nullptr ||
           tracer->credentials()->Capable(CAP_SYS_PTRACE, *task.credentials()->user_ns);
  }
};

void PtraceSyscallEntry(Task& task) { PtraceOps::SyscallStop(task, Phase::kEntry); }
void PtraceSyscallExit(Task& task) { PtraceOps::Exit(task); }

bool PtraceSeccompEvent(Task& task, uint16_t data) {
  if (!HasEvent(PtraceOps::Options(task), PTRACE_EVENT_SECCOMP)) return false;
  PtraceOps::Event(task, PTRACE_EVENT_SECCOMP, data, Phase::kSeccomp);
  return true;
}

void PtraceTrapStop(Task& task) { PtraceOps::Trap(task); }

std::optional<SigInfo> PtraceSignalStop(Task& task, const SigInfo& info) {
  PtraceOps::Request request;
  request.code = info.signo;
  request.info = info;
  PtraceOps::Outcome outcome = PtraceOps::Stop(task, request);
  if (!outcome.stopped) return info;
  if (outcome.signo == 0) return std::nullopt;
  if (outcome.signo == outcome.info.signo) return outcome.info;
  return PtraceOps::InfoFromTracer(task, outcome.signo);
}

bool PtraceStillSteps(Task& task) {
  if (PtraceOps::IsTraced(task)) return true;
  PtraceOps::SetWork(task, Resume::kContinue);
  return false;
}

void PtraceSteppedIntoHandler(Task& task) {
  if (!PtraceStillSteps(task)) return;
  PtraceOps::Request request;
  request.code = SIGTRAP;
  request.info = PtraceOps::OwnInfo(task, SIGTRAP);
  PtraceOps::Stop(task, request);
}

void PtraceCloneEvent(Task& parent, int event, Task& child) {
  PtraceOps::Event(parent, event, PtraceOps::IdForTracer(parent, child));
}
void PtraceVforkDone(Task& parent, Task& child) {
  if (!HasEvent(PtraceOps::Options(parent), PTRACE_EVENT_VFORK_DONE)) return;
  PtraceOps::Event(parent, PTRACE_EVENT_VFORK_DONE, PtraceOps::IdForTracer(parent, child));
}
void PtraceExecEvent(Task& task, Tid old_tid) { PtraceOps::ExecEvent(task, old_tid); }
void PtraceExitEvent(Task& task) { PtraceOps::ExitEvent(task); }
bool PtracerMayKeepPrivileges(Task& task) { return PtraceOps::MayKeepPrivileges(task); }
int PtraceInherit(Task& parent, Task& child, uint64_t flags, int exit_signal) {
  return PtraceOps::Inherit(parent, child, flags, exit_signal);
}

}  // namespace sandboxd::task
