// Sending signals to processes and threads, group stops, and the end of a whole group. What the
// receiving thread does with them is in task_signal.cc.
#include <signal.h>
#include <sys/epoll.h>

#include <algorithm>

#include "kernel/task/kernel.h"
#include "kernel/task/task.h"
#include "kernel/task/thread_group.h"

namespace sandboxd::task {
namespace {

using signal::DefaultAction;
using signal::SigInfo;
using signal::SigSet;

constexpr SigSet kStopSignals =
    SigSet::Of(SIGSTOP) | SigSet::Of(SIGTSTP) | SigSet::Of(SIGTTIN) | SigSet::Of(SIGTTOU);

bool IsKernelOnly(int signo) { return signo == SIGKILL || signo == SIGSTOP; }

// Sent by the kernel, or by a process that the receiver's pid namespace can't see.
bool FromOutside(const SigInfo& info) {
  // A program can forge neither code towards another process (rt_sigqueueinfo(2)).
  if (info.code == SI_KERNEL) return true;
  return (info.code == SI_USER || info.code == SI_TKILL) && info.kill.pid == 0;
}

}  // namespace

Result<void> ThreadGroup::SendSignal(const SigInfo& info) {
  MutexLock lock(signal_mutex_);
  return SendLocked(info, nullptr);
}

bool ThreadGroup::IsIgnoredLocked(const SigInfo& info, const Task& target) const {
  int signo = info.signo;
  // A blocked signal stays pending even if it is ignored now: the action may change before it is
  // unblocked.
  if (target.mask_.Has(signo) || target.real_mask_.Has(signo)) return false;
  // A tracer sees, and may change, what would be ignored.
  if (target.trace_.tracer != nullptr && signo != SIGKILL) return false;
  signal::SigAction action = handlers_->Get(signo);
  if (is_init_ && action.is_default() && !(FromOutside(info) && IsKernelOnly(signo))) return true;
  if (action.is_ignore()) return true;
  return action.is_default() && (signal::DefaultActionOf(signo) == DefaultAction::kIgnore);
}

bool ThreadGroup::SendTimerSignal(const SigInfo& info, Task* only) {
  MutexLock lock(signal_mutex_);
  const signal::PendingSignals& queue = only != nullptr ? only->pending_ : pending_;
  if (queue.HasTimer(info.timer.timer_id)) return false;
  // A full queue loses the signal, as Linux's preallocated one never would.
  return SendLocked(info, only).ok();
}

bool ThreadGroup::EndsProcessLocked(int signo, Task* only) const {
  DefaultAction action = signal::DefaultActionOf(signo);
  if (action != DefaultAction::kTerminate && action != DefaultAction::kCore) return false;
  if (is_init_ || !handlers_->Get(signo).is_default()) return false;
  auto takes = [signo](const Task& t) {
    return !t.exiting_ && t.trace_.tracer == nullptr && !t.mask_.Has(signo) &&
           !t.real_mask_.Has(signo);
  };
  if (only != nullptr) return takes(*only);
  return std::any_of(tasks_.begin(), tasks_.end(),
                     [&takes](const Ref<Task>& t) { return takes(*t); });
}

// `only`: this thread alone; null: the process.
Result<void> ThreadGroup::SendLocked(const SigInfo& info, Task* only) {
  if (group_exit_ || finished_ || tasks_.empty()) return Ok();
  int signo = info.signo;
  if (kStopSignals.Has(signo)) {
    DiscardLocked(SigSet::Of(SIGCONT));
  } else if (signo == SIGCONT) {
    DiscardLocked(kStopSignals);
    ContinueLocked();
  }
  const Task& target = only != nullptr ? *only : *tasks_.front();
  if (IsIgnoredLocked(info, target)) return Ok();
  if (signo == SIGKILL || EndsProcessLocked(signo, only)) {
    KillLocked({.signo = signo});
    return Ok();
  }
  signal::PendingSignals& queue = only != nullptr ? only->pending_ : pending_;
  switch (queue.Add(info, GetRlimit(RLIMIT_SIGPENDING).rlim_cur)) {
    case signal::PendingSignals::AddResult::kFull:
      return Errno::kEAGAIN;
    case signal::PendingSignals::AddResult::kAlreadyPending:
      return Ok();
    case signal::PendingSignals::AddResult::kQueued:
      break;
  }
  signal_queue_.Notify(EPOLLIN);
  if (only != nullptr) {
    only->PokeIfWants(signo);
  } else {
    RetargetLocked(SigSet::Of(signo), nullptr);
  }
  return Ok();
}

void ThreadGroup::RetargetLocked(SigSet which, const Task* except) {
  SigSet pending = pending_.set() & which;
  if (pending.empty()) return;
  for (int signo = 1; signo <= signal::kSignalCount; signo++) {
    if (!pending.Has(signo)) continue;
    for (const Ref<Task>& task : tasks_) {
      if (task.get() != except && task->PokeIfWants(signo)) break;
    }
  }
}

void ThreadGroup::DiscardLocked(SigSet which) {
  pending_.Discard(which);
  for (const Ref<Task>& task : tasks_) task->pending_.Discard(which);
}

void ThreadGroup::ContinueLocked() {
  if (stop_state_ == StopState::kRunning) return;
  // As Linux: who interrupts a stop that was not complete reports the stop.
  bool was_stopped = stop_state_ == StopState::kStopped;
  stop_state_ = StopState::kRunning;
  stop_report_ = 0;
  notify_code_ = was_stopped ? CLD_CONTINUED : CLD_STOPPED;
  notify_status_ = was_stopped ? SIGCONT : stop_signo_;
  if (was_stopped) continue_report_ = true;
  stop_signo_ = 0;
  stop_count_ = 0;
  Task* teller = nullptr;
  for (const Ref<Task>& task : tasks_) {
    task->must_stop_ = false;
    bool was = std::exchange(task->stopped_, false);
    if (task->trace_.tracer != nullptr && task->trace_.seized && !task->exiting_) {
      // ptrace(2), PTRACE_LISTEN: the tracer of a seized task learns of the end of a group-stop.
      task->trace_.trap_stop = true;
      if (std::exchange(task->trace_.listening, false)) task->trace_.stopped = false;
      was = true;
    }
    if (was) task->Poke();
    if (!task->exiting_ && (teller == nullptr || was)) teller = task.get();
  }
  if (teller != nullptr) teller->Poke();
}

void ThreadGroup::BeginStopLocked(int signo) {
  if (stop_state_ != StopState::kRunning) return;
  stop_state_ = StopState::kStopping;
  stop_signo_ = signo;
  stop_count_ = 0;
  continue_report_ = false;
  for (const Ref<Task>& task : tasks_) {
    if (task->exiting_) continue;
    task->must_stop_ = true;
    stop_count_++;
    task->Poke();
  }
}

bool ThreadGroup::CountStoppedLocked() {
  if (--stop_count_ > 0 || stop_state_ != StopState::kStopping) return false;
  stop_state_ = StopState::kStopped;
  stop_report_ = stop_signo_;
  return true;
}

void ThreadGroup::Kill(const ExitStatus& status) {
  MutexLock lock(signal_mutex_);
  KillLocked(status);
}

void ThreadGroup::KillLocked(const ExitStatus& status) {
  if (status.signo == SIGKILL && !finished_) {
    for (const Ref<Task>& task : tasks_) {
      task->hard_kill_ = true;
      if (group_exit_) task->Poke();  // it may be in the ptrace-stop of its exit
    }
  }
  if (group_exit_ || finished_) return;
  group_exit_ = true;
  status_ = status;
  stop_state_ = StopState::kRunning;
  stop_count_ = 0;
  stop_report_ = 0;
  notify_code_ = 0;
  for (const Ref<Task>& task : tasks_) {
    task->kill_ = true;
    task->must_stop_ = false;
    task->stopped_ = false;
    task->PokeToEnd();
  }
}

void ThreadGroup::NotifyParentOfStop(int code, int status) {
  Ref<ThreadGroup> parent;
  {
    MutexLock lock(kernel_.tree_mutex());
    if (parent_ == nullptr) return;
    parent = Ref<ThreadGroup>(parent_);
    signal::SigAction action = parent->handlers()->Get(SIGCHLD);
    if (!action.is_ignore() && (action.flags & SA_NOCLDSTOP) == 0) {
      SigInfo info;
      info.signo = SIGCHLD;
      info.code = code;
      info.child.pid = TgidIn(*parent->pid_ns_).value;
      creds::CredRef creds = tasks_.front()->credentials();
      info.child.uid = creds->user_ns->FromKUid(creds->ruid);
      info.child.status = status;
      (void)parent->SendSignal(info);  // a standard signal always has room
    }
  }
  parent->child_queue_.Notify(EPOLLIN);
}

}  // namespace sandboxd::task
