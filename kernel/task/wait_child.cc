#include "kernel/task/wait_child.h"

#include <signal.h>
#include <sys/epoll.h>
#include <sys/wait.h>

#include "kernel/task/ptrace.h"
#include "kernel/task/tree.h"

namespace sandboxd::task {

// Everything here is called with the tree mutex held.
struct WaitOps {
  Task& task;
  const WaitRequest& request;
  Debris& debris;

  bool Has(int option) const { return (request.options & option) != 0; }

  bool Matches(const ThreadGroup& child) const {
    switch (request.kind) {
      case WaitRequest::Kind::kPid:
        if (child.TgidIn(*task.pid_ns()) != request.id) return false;
        break;
      case WaitRequest::Kind::kProcessGroup:
        if (child.process_group_->IdIn(*task.pid_ns()) != request.id) return false;
        break;
      case WaitRequest::Kind::kGroup:
        if (&child != request.group.get()) return false;
        break;
      case WaitRequest::Kind::kAny:
        break;
    }
    // wait(2): tracees are waited for whatever their exit signal.
    if (TracedHere(*child.tasks_.front())) return true;
    if (Has(__WNOTHREAD) && child.creator_serial_ != task.serial()) return false;
    // wait(2): a "clone" child is one that tells its end with another signal than SIGCHLD, or none.
    bool is_clone = child.exit_signal_ != SIGCHLD;
    return Has(__WALL) || is_clone == Has(__WCLONE);
  }

  WaitResult Describe(const ThreadGroup& child, int code, int status, int wait_status) const {
    WaitResult r;
    r.pid = child.TgidIn(*task.pid_ns());
    r.code = code;
    r.status = status;
    r.wait_status = wait_status;
    creds::CredRef creds = child.tasks_.front()->credentials();
    r.uid = task.credentials()->user_ns->FromKUid(creds->ruid);
    r.usage = child.SelfUsage();
    r.usage.Add(child.ChildrenUsage());
    return r;
  }

  std::optional<WaitResult> TakeZombie(ThreadGroup& child) {
    if (!child.zombie_ || !Has(WEXITED)) return std::nullopt;
    ExitStatus s = *child.exit_status();
    int code = s.signo == 0 ? CLD_EXITED : (s.core ? CLD_DUMPED : CLD_KILLED);
    WaitResult r = Describe(child, code, s.signo == 0 ? s.code & 0xff : s.signo, s.ToWaitStatus());
    if (Has(WNOWAIT)) return r;
    if (child.parent_ == &task.group()) {
      TreeOps::Reap(child, TreeOps::Waited::kYes, debris);
    } else {
      // We traced it: its parent may wait now.
      debris.tasks.push_back(child.tasks_.front());
      PtraceForget(*child.tasks_.front());
      TreeOps::TellParent(child, debris);
    }
    return r;
  }

  // --- those that we trace ---

  // By the caller, or by another thread of its process unless __WNOTHREAD.
  bool TracedHere(const Task& tracee) const {
    const Task* tracer = tracee.trace_.tracer;
    if (tracer == nullptr) return false;
    return Has(__WNOTHREAD) ? tracer == &task : tracer->group_ == task.group_;
  }

  bool MatchesTracee(const Task& tracee) const {
    switch (request.kind) {
      case WaitRequest::Kind::kPid:
        return tracee.TidIn(*task.pid_ns()) == request.id;
      case WaitRequest::Kind::kProcessGroup: {
        const Ref<ProcessGroup>& pg = tracee.group_->process_group_;
        return pg != nullptr && pg->IdIn(*task.pid_ns()) == request.id;
      }
      case WaitRequest::Kind::kGroup:
        return tracee.is_leader() && tracee.group_.get() == request.group.get();
      case WaitRequest::Kind::kAny:
        return true;
    }
    return false;
  }

  WaitResult DescribeTracee(const Task& tracee, int code, int status, int wait_status) const {
    WaitResult r;
    r.pid = tracee.TidIn(*task.pid_ns());
    r.code = code;
    r.status = status;
    r.wait_status = wait_status;
    creds::CredRef creds = tracee.credentials();
    r.uid = task.credentials()->user_ns->FromKUid(creds->ruid);
    r.usage = tracee.group_->SelfUsage();
    return r;
  }

  // A ptrace-stop. Reported whatever the options say.
  std::optional<WaitResult> TakeTraceStop(Task& tracee) {
    int code;
    {
      MutexLock lock(tracee.group_->signal_mutex_);
      if (!tracee.trace_.stopped || tracee.trace_.listening || tracee.trace_.code == 0) {
        return std::nullopt;
      }
      code = tracee.trace_.code;
      if (!Has(WNOWAIT)) tracee.trace_.code = 0;
    }
    return DescribeTracee(tracee, CLD_TRAPPED, code, (code << 8) | 0x7f);
  }

  std::optional<WaitResult> TakeDeadThread(Task& tracee) {
    if (!Has(WEXITED)) return std::nullopt;
    const int status = tracee.trace_.exit_wait_status;
    const bool killed = WIFSIGNALED(status);
    WaitResult r = DescribeTracee(tracee, killed ? CLD_KILLED : CLD_EXITED,
                                  killed ? WTERMSIG(status) : WEXITSTATUS(status), status);
    if (Has(WNOWAIT)) return r;
    TreeOps::ReleaseIds(tracee);
    debris.tasks.push_back(Ref<Task>(&tracee));
    PtraceForget(tracee);
    return r;
  }

  std::optional<WaitResult> TakeTracee(Task& tracee) {
    if (tracee.trace_.unreaped) return TakeDeadThread(tracee);
    if (tracee.is_leader() && tracee.group_->zombie_) return TakeZombie(*tracee.group_);
    return TakeTraceStop(tracee);
  }

  // The tracees of one thread that are no children of its process.
  std::optional<WaitResult> ScanTracees(Task& tracer, bool* any) {
    std::vector<Ref<Task>> tracees(tracer.tracees_.begin(), tracer.tracees_.end());
    std::optional<WaitResult> found;
    for (Ref<Task>& tracee : tracees) {
      const bool child = tracee->is_leader() && tracee->group_->parent_ == task.group_.get();
      if (found || child || !MatchesTracee(*tracee)) continue;
      *any = true;
      found = TakeTracee(*tracee);
    }
    for (Ref<Task>& tracee : tracees) debris.tasks.push_back(std::move(tracee));
    return found;
  }

  std::optional<WaitResult> ScanAllTracees(bool* any) {
    if (Has(__WNOTHREAD)) return ScanTracees(task, any);
    for (const Ref<Task>& tracer : task.group().tasks_) {
      if (auto r = ScanTracees(*tracer, any)) return r;
    }
    return std::nullopt;
  }

  std::optional<WaitResult> TakeChild(ThreadGroup& child) {
    Task& leader = *child.tasks_.front();
    const bool here = TracedHere(leader);
    const bool elsewhere =
        leader.trace_.tracer != nullptr && leader.trace_.tracer->group_ != task.group_;
    // A zombie is found, stops and all, only as one; and by its tracer first.
    if (child.zombie_) return elsewhere ? std::nullopt : TakeZombie(child);
    if (here) {
      if (auto r = TakeTraceStop(leader)) return r;
    }
    return TakeStop(child, /*stops=*/!here);
  }

  std::optional<WaitResult> TakeStop(ThreadGroup& child, bool stops) {
    int signo = 0;
    bool continued = false;
    {
      MutexLock lock(child.signal_mutex_);
      if (stops && Has(WSTOPPED) && child.stop_report_ != 0) {
        signo = child.stop_report_;
        if (!Has(WNOWAIT)) child.stop_report_ = 0;
      } else if (Has(WCONTINUED) && child.continue_report_) {
        continued = true;
        if (!Has(WNOWAIT)) child.continue_report_ = false;
      }
    }
    if (signo != 0) return Describe(child, CLD_STOPPED, signo, (signo << 8) | 0x7f);
    if (continued) return Describe(child, CLD_CONTINUED, SIGCONT, 0xffff);
    return std::nullopt;
  }

  // A result, nullopt if nothing has happened yet, or ECHILD.
  Result<std::optional<WaitResult>> Scan() {
    bool any = false;
    for (const Ref<ThreadGroup>& borrowed : task.group().children_) {
      Ref<ThreadGroup> child = borrowed;
      if (!Matches(*child)) continue;
      // To a call that does not ask for ends, a zombie is nobody.
      if (child->zombie_ && !Has(WEXITED)) continue;
      any = true;
      if (auto r = TakeChild(*child)) return r;
    }
    if (auto r = ScanAllTracees(&any)) return r;
    if (!any) return Errno::kECHILD;
    return std::optional<WaitResult>();
  }
};

Result<WaitResult> WaitForChild(Task& task, const WaitRequest& request) {
  wait::BlockerEntry entry(task);
  task.group().child_queue().Add(entry, EPOLLIN);
  for (;;) {
    {
      Debris debris;
      MutexLock lock(task.kernel().tree_mutex());
      auto found = TRY(WaitOps({task, request, debris}).Scan());
      if (found) return *found;
    }
    if ((request.options & WNOHANG) != 0) return WaitResult{};
    if (request.nonblocking_pidfd) return Errno::kEAGAIN;
    TRY(task.Block(std::nullopt));
  }
}

}  // namespace sandboxd::task
