#include "kernel/task/session.h"

#include <linux/capability.h>
#include <signal.h>

#include "kernel/task/tree.h"

namespace sandboxd::task {
namespace {

// pid 0 is the caller.
Result<ThreadGroup*> FindLocked(Task& caller, Tid pid) {
  if (pid.value == 0) return &caller.group();
  Task* task = caller.pid_ns()->FindTask(pid);
  if (task == nullptr) return Errno::kESRCH;
  return &task->group();
}

}  // namespace

// A friend of ThreadGroup.
struct SessionOps {
  static Result<void> SetProcessGroup(Task& caller, Tid pid, Tid pgid);
  static Result<Tid> GetProcessGroup(Task& caller, Tid pid);
  static Result<Tid> NewSession(Task& caller);
  static Result<Tid> GetSession(Task& caller, Tid pid);
  static Tid ParentId(Task& caller);
  static Result<void> MaySignal(Task& caller, ThreadGroup& target, int signo);
};

Result<void> SessionOps::SetProcessGroup(Task& caller, Tid pid, Tid pgid) {
  if (pid.value == 0) pid = caller.tgid();
  if (pgid.value == 0) pgid = pid;
  if (pgid.value < 0) return Errno::kEINVAL;
  Debris debris;
  MutexLock lock(caller.kernel().tree_mutex());
  Task* task = caller.pid_ns()->FindTask(pid);
  if (task == nullptr) return Errno::kESRCH;
  if (!task->is_leader()) return Errno::kEINVAL;
  ThreadGroup& own = caller.group();
  ThreadGroup& group = task->group();
  if (group.zombie_ && &group != &own && group.parent_ != &own) return Errno::kESRCH;
  Ref<Session> session = own.process_group_->session();
  if (group.parent_ == &own) {
    if (group.process_group_->session() != session) return Errno::kEPERM;
    if (group.did_exec.load()) return Errno::kEACCES;
  } else if (&group != &own) {
    return Errno::kESRCH;
  }
  if (group.process_group_->session()->leader == &group) return Errno::kEPERM;
  if (group.process_group_->IdIn(*caller.pid_ns()) == pgid) return Ok();
  if (pgid == pid) {
    Ref<ProcessGroup> fresh(caller.pid_ns()->FindProcessGroup(pgid));
    if (fresh == nullptr) fresh = TreeOps::NewProcessGroup(group, session);
    if (fresh->session() != session) return Errno::kEPERM;
    TreeOps::JoinProcessGroup(group, std::move(fresh), debris);
    return Ok();
  }
  ProcessGroup* to = caller.pid_ns()->FindProcessGroup(pgid);
  if (to == nullptr || to->session() != session) return Errno::kEPERM;
  TreeOps::JoinProcessGroup(group, Ref<ProcessGroup>(to), debris);
  return Ok();
}

Result<Tid> SessionOps::GetProcessGroup(Task& caller, Tid pid) {
  MutexLock lock(caller.kernel().tree_mutex());
  ThreadGroup* group = TRY(FindLocked(caller, pid));
  if (group->process_group_ == nullptr) return Errno::kESRCH;
  return group->process_group_->IdIn(*caller.pid_ns());
}

Result<Tid> SessionOps::NewSession(Task& caller) {
  Debris debris;
  MutexLock lock(caller.kernel().tree_mutex());
  ThreadGroup& group = caller.group();
  // setsid(2): "EPERM The process group ID of any process equals the PID of the calling process."
  if (group.process_group_->session()->leader == &group) return Errno::kEPERM;
  if (group.pid_ns()->FindProcessGroup(group.tgid()) != nullptr) return Errno::kEPERM;
  Ref<Session> session = TreeOps::NewSession(group);
  TreeOps::JoinProcessGroup(group, TreeOps::NewProcessGroup(group, session), debris);
  return session->IdIn(*caller.pid_ns());
}

Result<Tid> SessionOps::GetSession(Task& caller, Tid pid) {
  MutexLock lock(caller.kernel().tree_mutex());
  ThreadGroup* group = TRY(FindLocked(caller, pid));
  if (group->process_group_ == nullptr) return Errno::kESRCH;
  return group->process_group_->session()->IdIn(*caller.pid_ns());
}

Tid SessionOps::ParentId(Task& caller) {
  MutexLock lock(caller.kernel().tree_mutex());
  ThreadGroup* parent = caller.group().parent_;
  return parent == nullptr ? Tid(0) : parent->TgidIn(*caller.pid_ns());
}

Result<void> SessionOps::MaySignal(Task& caller, ThreadGroup& target, int signo) {
  if (&caller.group() == &target) return Ok();
  Ref<Task> leader = target.Leader();
  if (leader == nullptr) return Errno::kESRCH;
  creds::CredRef own = caller.credentials();
  creds::CredRef other = leader->credentials();
  if (own->euid == other->suid || own->euid == other->ruid || own->ruid == other->suid ||
      own->ruid == other->ruid) {
    return Ok();
  }
  if (own->Capable(CAP_KILL, *other->user_ns)) return Ok();
  if (signo == SIGCONT && caller.group().session() == target.session()) return Ok();
  return Errno::kEPERM;
}

Result<Ref<ThreadGroup>> FindProcess(Task& caller, Tid pid) {
  MutexLock lock(caller.kernel().tree_mutex());
  Task* task = caller.pid_ns()->FindTask(pid);
  if (task == nullptr) return Errno::kESRCH;
  return task->group_ref();
}

Result<Ref<Task>> FindThread(Task& caller, Tid tid) {
  MutexLock lock(caller.kernel().tree_mutex());
  Task* task = caller.pid_ns()->FindTask(tid);
  if (task == nullptr) return Errno::kESRCH;
  return Ref<Task>(task);
}

signal::SigInfo SignalFrom(Task& caller, const ThreadGroup& target, int signo, int code) {
  creds::CredRef creds = caller.credentials();
  return signal::SigInfo::User(signo, code, caller.group().TgidIn(*target.pid_ns()).value,
                               creds->user_ns->FromKUid(creds->ruid));
}

namespace {

Result<void> SignalOne(Task& caller, ThreadGroup& target, int signo) {
  TRY(MaySignal(caller, target, signo));
  if (signo == 0) return Ok();
  return target.SendSignal(SignalFrom(caller, target, signo, SI_USER));
}

std::vector<Ref<ThreadGroup>> EveryoneElse(Task& caller) {
  std::vector<Ref<ThreadGroup>> targets;
  MutexLock lock(caller.kernel().tree_mutex());
  for (Task* task : caller.pid_ns()->Tasks()) {
    bool is_init = task->TidIn(*caller.pid_ns()) == Tid(1);
    if (task->is_leader() && !is_init && &task->group() != &caller.group()) {
      targets.push_back(task->group_ref());
    }
  }
  return targets;
}

Result<std::vector<Ref<ThreadGroup>>> Members(Task& caller, Tid pgid) {
  MutexLock lock(caller.kernel().tree_mutex());
  ProcessGroup* group = caller.pid_ns()->FindProcessGroup(pgid);
  if (group == nullptr) return Errno::kESRCH;
  std::vector<Ref<ThreadGroup>> targets;
  for (ThreadGroup* member : group->members) targets.push_back(Ref<ThreadGroup>(member));
  return targets;
}

}  // namespace

Result<void> Kill(Task& caller, int32_t pid, int signo) {
  if (signo < 0 || signo > signal::kSignalCount) return Errno::kEINVAL;
  if (pid == INT32_MIN) return Errno::kESRCH;
  if (pid > 0) return SignalOne(caller, *TRY(FindProcess(caller, Tid(pid))), signo);
  if (pid == -1) {
    auto targets = EveryoneElse(caller);
    if (targets.empty()) return Errno::kESRCH;
    Result<void> result;
    for (const Ref<ThreadGroup>& target : targets) {
      auto sent = SignalOne(caller, *target, signo);
      if (!sent.ok() && !sent.Is(Errno::kEPERM)) result = sent;
    }
    return result;
  }
  Tid pgid = pid == 0 ? TRY(GetProcessGroup(caller, Tid(0))) : Tid(-pid);
  Result<void> last = Errno::kESRCH;
  bool any = false;
  for (const Ref<ThreadGroup>& target : TRY(Members(caller, pgid))) {
    auto sent = SignalOne(caller, *target, signo);
    any |= sent.ok();
    last = sent;
  }
  return any ? Ok() : last;
}

Result<void> SetProcessGroup(Task& caller, Tid pid, Tid pgid) {
  return SessionOps::SetProcessGroup(caller, pid, pgid);
}
Result<Tid> GetProcessGroup(Task& caller, Tid pid) {
  return SessionOps::GetProcessGroup(caller, pid);
}
Result<Tid> NewSession(Task& caller) { return SessionOps::NewSession(caller); }
Result<Tid> GetSession(Task& caller, Tid pid) { return SessionOps::GetSession(caller, pid); }
Tid ParentId(Task& caller) { return SessionOps::ParentId(caller); }
Result<void> MaySignal(Task& caller, ThreadGroup& target, int signo) {
  return SessionOps::MaySignal(caller, target, signo);
}

}  // namespace sandboxd::task
