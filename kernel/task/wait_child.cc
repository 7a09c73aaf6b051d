#include "kernel/task/wait_child.h"

#include <signal.h>
#include <sys/epoll.h>
#include <sys/wait.h>

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
    if (!Has(WNOWAIT)) TreeOps::Reap(child, TreeOps::Waited::kYes, debris);
    return r;
  }

  std::optional<WaitResult> TakeStop(ThreadGroup& child) {
    int signo = 0;
    bool continued = false;
    {
      MutexLock lock(child.signal_mutex_);
      if (Has(WSTOPPED) && child.stop_report_ != 0) {
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
      // A zombie is found, stops and all, only as one.
      if (auto r = child->zombie_ ? TakeZombie(*child) : TakeStop(*child)) return r;
    }
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
