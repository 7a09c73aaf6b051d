// clone(2): new threads and processes.
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <sys/resource.h>

#include "kernel/task/clone.h"
#include "kernel/task/namespaces.h"
#include "kernel/task/pidfd.h"
#include "kernel/task/ptrace.h"
#include "kernel/task/tree.h"
#include "platform/base/check.h"

#ifndef CLONE_CLEAR_SIGHAND
#define CLONE_CLEAR_SIGHAND 0x100000000ULL
#endif
#ifndef CLONE_INTO_CGROUP
#define CLONE_INTO_CGROUP 0x200000000ULL
#endif
#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x00000080
#endif

namespace sandboxd::task {
struct CloneOps {
  Task& parent;
  const CloneArgs& args;
  Ref<Task> child;
  int trace_event = 0;  // PTRACE_EVENT_* that the tracer wants to see

  bool Has(uint64_t flag) const { return (args.flags & flag) != 0; }
  bool IsThread() const { return Has(CLONE_THREAD); }

  Result<void> CheckFlags() const {
    if (Has(CLONE_NEWNS) && Has(CLONE_FS)) return Errno::kEINVAL;
    if (Has(CLONE_NEWUSER) && Has(CLONE_FS)) return Errno::kEINVAL;
    if (IsThread() && !Has(CLONE_SIGHAND)) return Errno::kEINVAL;
    if (Has(CLONE_SIGHAND) && !Has(CLONE_VM)) return Errno::kEINVAL;
    if (Has(CLONE_CLEAR_SIGHAND) && Has(CLONE_SIGHAND)) return Errno::kEINVAL;
    if (Has(CLONE_PARENT) && parent.group().is_init()) return Errno::kEINVAL;
    if (IsThread() && (Has(CLONE_NEWUSER) || Has(CLONE_NEWPID) ||
                       parent.pid_ns_for_children() != parent.pid_ns())) {
      return Errno::kEINVAL;
    }
    if (Has(CLONE_PIDFD) && (IsThread() || Has(CLONE_DETACHED))) return Errno::kEINVAL;
    if (Has(CLONE_NEWIPC) && Has(CLONE_SYSVSEM)) return Errno::kEINVAL;
    if (Has(CLONE_INTO_CGROUP)) return Errno::kEINVAL;
    // time_namespaces(7): memory that is shared would share the clock pages too.
    if (Has(CLONE_VM) && !Has(CLONE_VFORK) && !IsThread() &&
        parent.time_ns_for_children() != parent.time_ns()) {
      return Errno::kEINVAL;
    }
    if (parent.SignalPending()) return Errno::kERESTARTNOINTR;
    return Ok();
  }

  // credentials, and the rights to make what `flags` asks for.
  Result<creds::CredRef> MakeCredentials() const {
    creds::CredRef creds = parent.credentials();
    bool privileged = creds->CapableInit(CAP_SYS_RESOURCE) || creds->CapableInit(CAP_SYS_ADMIN);
    uint64_t limit = parent.group().GetRlimit(RLIMIT_NPROC).rlim_cur;
    if (creds->ruid != creds::kRootUid && !privileged &&
        static_cast<uint64_t>(parent.kernel().UserTasks(creds->ruid)) >= limit) {
      return Errno::kEAGAIN;
    }
    // clone(2): EAGAIN also where "the maximum number of processes [of] the cgroup" is reached.
    uint64_t all = parent.kernel().task_limit.load(std::memory_order_relaxed);
    if (all != 0 && static_cast<uint64_t>(parent.kernel().task_count.load()) >= all) {
      return Errno::kEAGAIN;
    }
    if (Has(CLONE_NEWUSER)) creds = TRY(CredentialsForNewUserNamespace(parent));
    if (Has(kNamespaceFlags & ~uint64_t{CLONE_NEWUSER}) && !creds->CapableOwn(CAP_SYS_ADMIN)) {
      return Errno::kEPERM;
    }
    if (!args.set_tid.empty() && !creds->Capable(CAP_SYS_ADMIN, *parent.pid_ns()->user_ns()) &&
        !creds->Capable(CAP_CHECKPOINT_RESTORE, *parent.pid_ns()->user_ns())) {
      return Errno::kEPERM;
    }
    return creds;
  }

  Ref<ThreadGroup> MakeGroup(Ref<PidNamespace> ns) {
    ThreadGroup& old = parent.group();
    Ref<SignalHandlers> handlers = old.handlers();
    if (!Has(CLONE_SIGHAND)) handlers = handlers->Fork();
    if (Has(CLONE_CLEAR_SIGHAND)) handlers->ResetForExec();
    auto group = MakeRef<ThreadGroup>(parent.kernel(), std::move(ns), std::move(handlers));
    for (int i = 0; i < RLIM_NLIMITS; i++) group->SetRlimit(i, old.GetRlimit(i));
    group->oom_score_adj = old.oom_score_adj.load();
    group->nice = old.nice.load();
    return group;
  }

  void CopyNamespaces(const creds::Credentials& creds) {
    Kernel& kernel = parent.kernel();
    child->ipc_ns_ = Has(CLONE_NEWIPC) ? MakeRef<IpcNamespace>(creds.user_ns) : parent.ipc_ns_;
    child->net_ns_ = Has(CLONE_NEWNET)
                         ? MakeRef<NetNamespace>(kernel.vfs(), kernel.network(), creds.user_ns)
                         : parent.net_ns_;
    child->cgroup_ns_ =
        Has(CLONE_NEWCGROUP) ? MakeRef<CgroupNamespace>(creds.user_ns) : parent.cgroup_ns_;
    child->time_ns_ = IsThread() ? parent.time_ns_ : parent.time_ns_for_children();
    if (Has(CLONE_NEWTIME)) child->time_ns_ = child->time_ns_->Clone(creds.user_ns);
    if (child->time_ns_ != parent.time_ns_) child->time_ns_->Freeze();
    if (IsThread()) child->child_time_ns_ = parent.time_ns_for_children();
  }

  void CopyFs(creds::CredRef creds) {
    Ref<FsContext> fs = Has(CLONE_FS) ? parent.fs_ : parent.fs_->Fork();
    Ref<vfs::MountNamespace> mounts = parent.mount_ns_;
    if (Has(CLONE_NEWNS)) mounts = CopyMounts(*mounts, *fs, creds->user_ns);
    Ref<UtsNamespace> uts = parent.uts_ns_;
    if (Has(CLONE_NEWUTS)) uts = uts->Clone(creds->user_ns);
    child->fs_ = std::move(fs);
    child->mount_ns_ = std::move(mounts);
    child->uts_ns_ = std::move(uts);
    CopyNamespaces(*creds);
    if (Has(CLONE_FILES)) {
      parent.files_->users.fetch_add(1, std::memory_order_relaxed);
      child->files_ = parent.files_;
    } else {
      child->files_ = MakeRef<Task::Files>(parent.files_->table->Fork());
    }
    child->creds_ = std::move(creds);
  }

  void CopyState() {
    child->registers_ = parent.registers_;
    child->registers_.set_return_value(0);
    if (!args.stack.null()) child->registers_.set_sp(args.stack.value + args.stack_size);
    if (Has(CLONE_SETTLS)) child->registers_.set_tls(args.tls);
    if (!Has(CLONE_VM) || Has(CLONE_VFORK)) child->altstack = parent.altstack;
    if (Has(CLONE_CHILD_CLEARTID)) child->clear_child_tid = args.child_tid;
    child->comm_ = parent.comm();
    child->no_new_privs = parent.no_new_privs.load();
    child->personality = parent.personality.load();
    child->timer_slack_ns = parent.timer_slack_ns.load();
    {
      MutexLock lock(parent.kernel().tree_mutex());
      child->scheduling = parent.scheduling;
    }
    // sched(7), "Resetting scheduling policy for child processes".
    if (child->scheduling.reset_on_fork) {
      child->scheduling.policy = child->scheduling.priority = 0;
      child->scheduling.reset_on_fork = false;
    }
    child->mask_ = child->real_mask_ = parent.signal_mask();
    if (Has(CLONE_VFORK)) child->vfork_gate_ = MakeRef<Task::VforkGate>(parent);
  }

  Result<void> CopyMemory() {
    if (Has(CLONE_VM)) {
      TRY(parent.mm_->address_space().PrepareThread(*parent.context_));
      child->mm_ = parent.mm_;
      if (!IsThread()) {
        MutexLock lock(child->group_->usage_mutex_);
        child->group_->stub_time_base_ = StubTime(child->mm_.get());
      }
      return Ok();
    }
    child->mm_ = TRY(parent.mm_->Fork(*parent.context_));
    return Ok();
  }

  // The signal mutex is held: TSYNC changes filters under it.
  void InheritSeccomp() {
    child->seccomp_filter_ = parent.seccomp_filter();
    if (child->seccomp_filter_ != nullptr) child->seccomp_filter_->AddUser();
    child->seccomp_mode_ = parent.seccomp_mode();
    child->no_new_privs = parent.no_new_privs.load();
    if (child->seccomp_mode_ != 0) child->syscall_work_ = Task::kWorkSeccomp;
  }

  // Into the tree, unless the parent has been killed meanwhile.
  Result<void> Publish() {
    Kernel& kernel = parent.kernel();
    MutexLock lock(kernel.tree_mutex());
    {
      MutexLock signal_lock(parent.group_->signal_mutex_);
      if (parent.kill_ || parent.group_->group_exit_) return Errno::kEINTR;
      // A thread that another one's exec has condemned must not add one that survives it.
      if (IsThread() && parent.group_->exec_task_ != nullptr) return Errno::kEAGAIN;
      InheritSeccomp();
    }
    trace_event = PtraceInherit(parent, *child, args.flags, args.exit_signal);
    kernel.CountUserTask(child->creds_->ruid, 1);
    if (IsThread()) {
      TreeOps::AddThread(*parent.group_, *child);
      return Ok();
    }
    ThreadGroup& group = *child->group_;
    ThreadGroup* owner = parent.group_.get();
    group.exit_signal_ = args.exit_signal;
    group.creator_serial_ = parent.serial();
    if (Has(CLONE_PARENT)) {
      owner = parent.group_->parent_;
      group.exit_signal_ = parent.group_->exit_signal_;
      group.creator_serial_ = parent.group_->creator_serial_;
    }
    TreeOps::AddProcess(group, *child, owner, parent.group_->process_group_);
    return Ok();
  }

  // Undoes a child that was never published.
  void Discard(FdNum pidfd) {
    {
      MutexLock lock(parent.kernel().tree_mutex());
      TreeOps::ReleaseIds(*child);
    }
    child->DropFiles();
    if (pidfd.value >= 0) (void)parent.files().Close(parent, pidfd);
  }

  Result<FdNum> InstallPidfd() {
    if (!Has(CLONE_PIDFD)) return FdNum(-1);
    auto file = MakePidFd(parent.kernel(), child->group_ref(), 0);
    FdNum fd = TRY(parent.files().Install(std::move(file), true, parent.fd_limit()));
    auto written = parent.memory().Write(args.pidfd, fd.value);
    if (!written.ok()) {
      (void)parent.files().Close(parent, fd);
      return written.error();
    }
    return fd;
  }

  Result<void> StartChild() {
    auto set_tid = Has(CLONE_CHILD_SETTID) ? args.child_tid : UserAddr(0);
    return child->StartThread([set_tid](Task& t) {
      if (!t.BindContext()) return false;
      // As Linux: a bad address here is the child's own business.
      if (!set_tid.null()) (void)t.memory().Write(set_tid, t.tid().value);
      return true;
    });
  }

  Result<Tid> Run() {
    TRY(CheckFlags());
    creds::CredRef creds = TRY(MakeCredentials());
    Ref<PidNamespace> ns = parent.pid_ns_for_children();
    if (Has(CLONE_NEWPID)) ns = TRY(NewPidNamespace(parent, *creds));
    Ref<ThreadGroup> group = IsThread() ? parent.group_ : MakeGroup(ns);
    child = MakeRef<Task>(parent.kernel(), group, ns);
    CopyFs(std::move(creds));
    CopyState();
    Ref<Task::VforkGate> gate = child->vfork_gate_;
    FdNum pidfd(-1);
    auto made = [&]() -> Result<void> {
      {
        MutexLock lock(parent.kernel().tree_mutex());
        TRY(TreeOps::AllocateIds(*child, args.set_tid));
      }
      pidfd = TRY(InstallPidfd());
      TRY(CopyMemory());
      return Publish();
    }();
    if (!made.ok()) {
      Discard(pidfd);
      return made.error();
    }
    Tid tid = child->TidIn(*parent.pid_ns());
    if (Has(CLONE_PARENT_SETTID)) (void)parent.memory().Write(args.parent_tid, tid.value);
    if (auto started = StartChild(); !started.ok()) {
      // It is in the tree, so it leaves as every task does; nobody saw it run.
      child->Exit();
      return started.error();
    }
    if (trace_event != 0) PtraceCloneEvent(parent, trace_event, *child);
    Ref<Task> made_child = gate != nullptr ? child : Ref<Task>();
    child.Reset();
    // vfork(2): only a signal that ends the parent ends its waiting.
    if (gate != nullptr) {
      (void)parent.BlockKillable([&] { return gate->open.load(std::memory_order_acquire); });
      PtraceVforkDone(parent, *made_child);
    }
    return tid;
  }
};

Result<Tid> Clone(Task& parent, const CloneArgs& args) {
  return CloneOps{parent, args, {}, 0}.Run();
}

}  // namespace sandboxd::task
