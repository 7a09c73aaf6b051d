// The tracer's side of ptrace(2): beginning, resuming, ending; and how ends of tracees are told.
#include <linux/capability.h>
#include <linux/ptrace.h>
#include <signal.h>
#include <sys/epoll.h>

#include <algorithm>

#include "kernel/task/ptrace.h"
#include "kernel/task/ptrace_notify.h"
#include "kernel/task/tree.h"

namespace sandboxd::task {

using signal::SigInfo;

namespace {

constexpr uint64_t kKnownOptions = 0xff | PTRACE_O_EXITKILL;
constexpr uint64_t kSuspendSeccomp = 1 << 21;

Result<void> CheckOptions(uint64_t options) {
  if ((options & ~(kKnownOptions | kSuspendSeccomp)) != 0) return Errno::kEINVAL;
  // As without CONFIG_CHECKPOINT_RESTORE.
  return (options & kSuspendSeccomp) != 0 ? Result<void>(Errno::kEINVAL) : Ok();
}

}  // namespace

struct PtraceControl {
  // Both mutexes are held.
  static void LinkLocked(Task& tracer, Task& target, bool seized,
                         uint64_t options) NO_THREAD_SAFETY_ANALYSIS {
    target.trace_ = TraceState();
    target.trace_.tracer = &tracer;
    target.trace_.seized = seized;
    target.trace_.options = static_cast<uint32_t>(options);
    tracer.tracees_.push_back(Ref<Task>(&target));
  }

  // Both mutexes are held. The reference goes to `debris`. A stopped one is free to go on.
  static void UnlinkLocked(Task& tracee, std::vector<Ref<Task>>& debris) NO_THREAD_SAFETY_ANALYSIS {
    Task* tracer = tracee.trace_.tracer;
    if (tracer == nullptr) return;
    auto& all = tracer->tracees_;
    auto it = std::find_if(all.begin(), all.end(),
                           [&](const Ref<Task>& t) { return t.get() == &tracee; });
    if (it != all.end()) {
      debris.push_back(std::move(*it));
      all.erase(it);
    }
    const bool stopped = tracee.trace_.stopped;
    const int signo = tracee.trace_.resume_signal;
    SigInfo info = tracee.trace_.info;
    tracee.trace_ = TraceState();
    tracee.trace_.resume_signal = signo;
    tracee.trace_.info = info;
    // A group-stop that it had been kept out of holds it now.
    ThreadGroup& group = *tracee.group_;
    if (group.stop_state_ != ThreadGroup::StopState::kRunning && !tracee.exiting_ &&
        !tracee.stopped_ && !tracee.must_stop_) {
      tracee.must_stop_ = true;
      group.stop_count_++;
    }
    if (stopped || tracee.must_stop_) tracee.Poke();
  }

  static Result<void> Traceme(Task& self) {
    Kernel& kernel = self.kernel_;
    MutexLock tree(kernel.tree_mutex());
    ThreadGroup* parent = self.group_->parent_;
    Task* tracer = nullptr;
    if (parent != nullptr) {
      for (const Ref<Task>& t : parent->tasks_) {
        if (tracer == nullptr || t->serial() == self.group_->creator_serial_) tracer = t.get();
      }
    }
    MutexLock lock(self.group_->signal_mutex_);
    if (self.trace_.tracer != nullptr) return Errno::kEPERM;
    // As Linux: a parent that is no more, or ending, is no error.
    if (tracer == nullptr || tracer->no_more_tracees_) return Ok();
    LinkLocked(*tracer, self, /*seized=*/false, 0);
    return Ok();
  }

  static Result<void> Attach(Task& tracer, Task& target, bool seize, uint64_t options) {
    if (target.group_ == tracer.group_) return Errno::kEPERM;
    MutexLock tree(tracer.kernel_.tree_mutex());
    MutexLock lock(target.group_->signal_mutex_);
    if (target.exiting_ || target.dead_.load()) return Errno::kEPERM;
    if (target.trace_.tracer != nullptr || tracer.no_more_tracees_) return Errno::kEPERM;
    LinkLocked(tracer, target, seize, options);
    if (!seize) {
      (void)target.group_->SendLocked(SigInfo::Kernel(SIGSTOP), &target);  // always has room
    }
    if (target.stopped_) {
      // From the group-stop into a ptrace-stop.
      target.stopped_ = false;
      target.trace_.trap_stop = true;
      target.Poke();
    }
    return Ok();
  }

  static Result<void> CheckStoppedLocked(const Task& tracer, const Task& tracee) {
    const TraceState& s = tracee.trace_;
    if (s.tracer != &tracer || !s.stopped || s.listening) return Errno::kESRCH;
    return Ok();
  }
  static Result<void> CheckStopped(const Task& tracer, Task& tracee) {
    MutexLock lock(tracee.group_->signal_mutex_);
    return CheckStoppedLocked(tracer, tracee);
  }
  static Result<void> CheckTracee(const Task& tracer, const Task& tracee) {
    return tracee.trace_.tracer == &tracer ? Ok() : Result<void>(Errno::kESRCH);
  }

  static Result<void> Detach(Task& tracer, Task& tracee, uint64_t signo) {
    std::vector<Ref<Task>> debris;
    MutexLock tree(tracer.kernel_.tree_mutex());
    MutexLock lock(tracee.group_->signal_mutex_);
    TRY(CheckStoppedLocked(tracer, tracee));
    if (signo > static_cast<uint64_t>(signal::kSignalCount)) return Errno::kEIO;
    tracee.trace_.resume_signal = static_cast<int>(signo);
    UnlinkLocked(tracee, debris);
    return Ok();
  }

  static Result<void> Resume(Task& tracer, Task& tracee, TraceState::Resume how, uint64_t signo) {
    MutexLock lock(tracee.group_->signal_mutex_);
    TRY(CheckStoppedLocked(tracer, tracee));
    if (signo > static_cast<uint64_t>(signal::kSignalCount)) return Errno::kEIO;
    tracee.trace_.resume = how;
    tracee.trace_.resume_signal = static_cast<int>(signo);
    tracee.trace_.code = 0;
    tracee.trace_.stopped = false;
    tracee.Poke();
    return Ok();
  }

  static Result<void> SetOptions(Task& tracer, Task& tracee, uint64_t options) {
    TRY(CheckOptions(options));
    MutexLock lock(tracee.group_->signal_mutex_);
    TRY(CheckStoppedLocked(tracer, tracee));
    tracee.trace_.options = static_cast<uint32_t>(options);
    return Ok();
  }

  static Result<void> Listen(Task& tracer, Task& tracee) {
    MutexLock lock(tracee.group_->signal_mutex_);
    TRY(CheckStoppedLocked(tracer, tracee));
    TraceState& s = tracee.trace_;
    if (!s.seized || !s.in_event_stop) return Errno::kEIO;
    s.code = 0;
    if (s.trap_stop) {
      s.stopped = false;  // there is news already
      tracee.Poke();
    } else {
      s.listening = true;
    }
    return Ok();
  }

  static Result<void> Interrupt(Task& tracer, Task& tracee) {
    MutexLock lock(tracee.group_->signal_mutex_);
    TRY(CheckTracee(tracer, tracee));
    TraceState& s = tracee.trace_;
    if (!s.seized) return Errno::kEIO;
    if (tracee.exiting_) return Errno::kESRCH;
    s.trap_stop = true;
    if (std::exchange(s.listening, false)) s.stopped = false;
    if (!s.stopped) tracee.Poke();
    return Ok();
  }

  static Result<void> Kill(Task& tracer, Task& tracee) {
    {
      MutexLock lock(tracee.group_->signal_mutex_);
      TRY(CheckTracee(tracer, tracee));
    }
    return tracee.group_->SendSignal(SigInfo::Kernel(SIGKILL));
  }

  static void Forget(Task& task) {
    std::vector<Ref<Task>> debris;  // never the last reference: the caller has one
    MutexLock lock(task.group_->signal_mutex_);
    UnlinkLocked(task, debris);
  }

  static Tid TracerOf(Task& task, const PidNamespace& viewer) {
    MutexLock tree(task.kernel_.tree_mutex());
    Task* tracer = task.trace_.tracer;
    return tracer == nullptr ? Tid(0) : tracer->group_->TgidIn(viewer);
  }

  static bool Notify(Task& tracer, Task& tracee, int code, int status) {
    ThreadGroup& group = *tracer.group_;
    SigInfo info;
    info.signo = SIGCHLD;
    info.code = code;
    info.child.pid = tracee.TidIn(*tracer.pid_ns_).value;
    creds::CredRef creds = tracee.credentials();
    info.child.uid = tracer.credentials()->user_ns->FromKUid(creds->ruid);
    info.child.status = status;
    signal::SigAction action = group.handlers()->Get(SIGCHLD);
    const bool end = code == CLD_EXITED || code == CLD_KILLED || code == CLD_DUMPED;
    if (!action.is_ignore() && (end || (action.flags & SA_NOCLDSTOP) == 0)) {
      (void)group.SendSignal(info);  // a standard signal always has room
    }
    group.child_queue_.Notify(EPOLLIN);
    return action.is_ignore() || (action.flags & SA_NOCLDWAIT) != 0;
  }

  static void TellEnd(Task& tracer, Task& tracee, const ExitStatus& status, bool* ignored) {
    *ignored = Notify(tracer, tracee, status.signo == 0 ? CLD_EXITED : CLD_KILLED,
                      status.signo == 0 ? status.code & 0xff : status.signo);
  }

  static bool KeepsDeadThread(Task& task) {
    Task* tracer = task.trace_.tracer;
    if (tracer == nullptr) return false;
    ExitStatus status = task.thread_status_;
    {
      MutexLock lock(task.group_->signal_mutex_);
      if (task.group_->group_exit_ && !task.exit_called_) status = task.group_->status_;
      task.trace_.unreaped = true;
      task.trace_.stopped = false;
      task.trace_.exit_wait_status = status.ToWaitStatus();
    }
    bool ignored = false;
    TellEnd(*tracer, task, status, &ignored);
    if (!ignored) return true;
    PtraceForget(task);
    return false;
  }

  static bool TellTracerOfEnd(ThreadGroup& group) {
    Task& leader = *group.tasks_.front();
    Task* tracer = leader.trace_.tracer;
    if (tracer == nullptr || tracer->group_.get() == group.parent_) return false;
    bool ignored = false;
    TellEnd(*tracer, leader, *group.exit_status(), &ignored);
    if (!ignored) return true;
    PtraceForget(leader);
    return false;
  }

  static void ReleaseTracees(Task& tracer) {
    Debris debris;
    std::vector<Ref<ThreadGroup>> victims;
    MutexLock tree(tracer.kernel_.tree_mutex());
    tracer.no_more_tracees_ = true;
    while (!tracer.tracees_.empty()) {
      Ref<Task> tracee = tracer.tracees_.front();
      ThreadGroup& group = *tracee->group_;
      bool unreaped;
      {
        MutexLock lock(group.signal_mutex_);
        unreaped = tracee->trace_.unreaped;
        if ((tracee->trace_.options & PTRACE_O_EXITKILL) != 0) victims.push_back(tracee->group_);
        tracee->trace_.resume_signal = 0;
        UnlinkLocked(*tracee, debris.tasks);
      }
      if (unreaped) {
        TreeOps::ReleaseIds(*tracee);
      } else if (tracee->is_leader() && group.zombie_ && !group.reaped_ &&
                 group.parent_ != tracer.group_.get()) {
        TreeOps::TellParent(group, debris);
      }
      debris.tasks.push_back(std::move(tracee));
    }
    for (const Ref<ThreadGroup>& victim : victims) victim->Kill({.signo = SIGKILL});
    for (Ref<ThreadGroup>& victim : victims) debris.groups.push_back(std::move(victim));
  }
};

bool PtraceNotify(Task& tracer, Task& tracee, int code, int status) {
  return PtraceControl::Notify(tracer, tracee, code, status);
}

void PtraceForget(Task& task) { PtraceControl::Forget(task); }
void PtraceForgetLocked(Task& task, std::vector<Ref<Task>>& debris) {
  PtraceControl::UnlinkLocked(task, debris);
}
bool PtraceKeepsDeadThread(Task& task) { return PtraceControl::KeepsDeadThread(task); }
bool PtraceTellTracerOfEnd(ThreadGroup& group) { return PtraceControl::TellTracerOfEnd(group); }
void PtraceReleaseTracees(Task& tracer) { PtraceControl::ReleaseTracees(tracer); }

Result<void> PtraceTraceme(Task& self) { return PtraceControl::Traceme(self); }
Result<void> PtraceAttach(Task& tracer, Task& target, bool seize, uint64_t options) {
  TRY(CheckOptions(options));
  return PtraceControl::Attach(tracer, target, seize, options);
}
Result<void> PtraceDetach(Task& tracer, Task& tracee, uint64_t signo) {
  return PtraceControl::Detach(tracer, tracee, signo);
}
Result<void> PtraceResume(Task& tracer, Task& tracee, TraceState::Resume how, uint64_t signo) {
  return PtraceControl::Resume(tracer, tracee, how, signo);
}
Result<void> PtraceSetOptions(Task& tracer, Task& tracee, uint64_t options) {
  return PtraceControl::SetOptions(tracer, tracee, options);
}
Result<void> PtraceListen(Task& tracer, Task& tracee) {
  return PtraceControl::Listen(tracer, tracee);
}
Result<void> PtraceInterrupt(Task& tracer, Task& tracee) {
  return PtraceControl::Interrupt(tracer, tracee);
}
Result<void> PtraceKill(Task& tracer, Task& tracee) { return PtraceControl::Kill(tracer, tracee); }

Result<void> PtraceCheckStopped(Task& tracer, Task& tracee) {
  return PtraceControl::CheckStopped(tracer, tracee);
}

Tid TracerOf(Task& task, const PidNamespace& viewer) {
  return PtraceControl::TracerOf(task, viewer);
}

}  // namespace sandboxd::task
