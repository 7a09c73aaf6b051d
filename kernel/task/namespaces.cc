#include "kernel/task/namespaces.h"

#include <linux/capability.h>
#include <sched.h>

#include "kernel/ipc/sysv.h"

namespace sandboxd::task {
namespace {

constexpr int kMaxPidLevels = 32;

// path_resolution(7): is the root directory another one than the namespace's?
bool IsChrooted(Task& task) {
  vfs::Path root = task.root();
  Ref<vfs::MountNamespace> mounts = task.mount_namespace();
  return mounts != nullptr && root && !(mounts->root() == root);
}

// What setns(2) is about to do: gathered first, so that nothing is half done.
struct Joined {
  creds::CredRef creds;
  Ref<vfs::MountNamespace> mounts;
  Ref<UtsNamespace> uts;
  Ref<IpcNamespace> ipc;
  Ref<NetNamespace> net;
  Ref<CgroupNamespace> cgroup;
  Ref<TimeNamespace> time;
  Ref<PidNamespace> pid;
};

template <typename T>
Ref<T> As(creds::Namespace& ns) {
  return Ref<T>(static_cast<T*>(&ns));
}

Result<void> JoinUser(Task& task, creds::UserNamespace& ns, Joined& joined) {
  creds::CredRef old = joined.creds;
  // setns(2): "it is not permitted to reenter the caller's current user namespace".
  if (&ns == old->user_ns.get()) return Errno::kEINVAL;
  if (task.group().thread_count() != 1) return Errno::kEINVAL;
  if (!old->Capable(CAP_SYS_ADMIN, ns)) return Errno::kEPERM;
  Ref<creds::Credentials> n = old->Clone();
  n->user_ns = Ref<creds::UserNamespace>(&ns);
  n->permitted = n->effective = n->bounding = creds::CapSet::All();
  n->inheritable = n->ambient = {};
  n->securebits = 0;
  joined.creds = std::move(n);
  return Ok();
}

Result<void> Prepare(Task& task, creds::Namespace& ns, Joined& joined) {
  if (ns.kind() == CLONE_NEWUSER) {
    return JoinUser(task, static_cast<creds::UserNamespace&>(ns), joined);
  }
  const creds::UserNamespace* owner =
      ns.owner_ns() != nullptr ? ns.owner_ns() : task.kernel().init_user_ns().get();
  const creds::Credentials& c = *joined.creds;
  if (!c.Capable(CAP_SYS_ADMIN, *owner) || !c.CapableOwn(CAP_SYS_ADMIN)) return Errno::kEPERM;
  switch (ns.kind()) {
    case CLONE_NEWNS:
      if (!c.CapableOwn(CAP_SYS_CHROOT)) return Errno::kEPERM;
      joined.mounts = As<vfs::MountNamespace>(ns);
      return Ok();
    case CLONE_NEWUTS:
      joined.uts = As<UtsNamespace>(ns);
      return Ok();
    case CLONE_NEWIPC:
      joined.ipc = As<IpcNamespace>(ns);
      return Ok();
    case CLONE_NEWNET:
      joined.net = As<NetNamespace>(ns);
      return Ok();
    case CLONE_NEWCGROUP:
      joined.cgroup = As<CgroupNamespace>(ns);
      return Ok();
    case CLONE_NEWTIME:
      if (task.group().thread_count() != 1) return Errno::kEUSERS;
      joined.time = As<TimeNamespace>(ns);
      return Ok();
    case CLONE_NEWPID:
      // Only one's own and those below may be entered.
      joined.pid = As<PidNamespace>(ns);
      return task.pid_ns()->IsAncestorOfOrSame(*joined.pid) ? Ok() : Result<void>(Errno::kEINVAL);
    default:
      return Errno::kEINVAL;
  }
}

void LeaveIpc(Task& task) {
  // semop(2): undo lists belong to a namespace.
  if (task.group().thread_count() == 1) task.ipc_ns()->sysv().OnProcessExit(task.process_id());
}

void Commit(Task& task, Joined joined) {
  if (joined.mounts != nullptr) {
    task.UnshareFs();
    vfs::Path root = joined.mounts->root();
    task.set_mount_namespace(std::move(joined.mounts));
    task.fs()->set_root(root);
    task.fs()->set_cwd(std::move(root));
  }
  if (joined.uts != nullptr) task.set_uts_ns(std::move(joined.uts));
  if (joined.ipc != nullptr) {
    LeaveIpc(task);
    task.set_ipc_ns(std::move(joined.ipc));
  }
  if (joined.net != nullptr) task.set_net_ns(std::move(joined.net));
  if (joined.cgroup != nullptr) task.set_cgroup_ns(std::move(joined.cgroup));
  if (joined.time != nullptr) {
    joined.time->Freeze();
    task.set_time_ns(joined.time);
    task.set_time_ns_for_children(std::move(joined.time));
  }
  if (joined.pid != nullptr) task.set_pid_ns_for_children(std::move(joined.pid));
  task.set_credentials(std::move(joined.creds));
}

}  // namespace

Result<creds::CredRef> CredentialsForNewUserNamespace(Task& task) {
  creds::CredRef old = task.credentials();
  // user_namespaces(7): the ids must be mapped where it is made; its maker has every capability in
  // it.
  if (!old->user_ns->IsMapped(old->euid) || !old->user_ns->IsMapped(old->egid)) {
    return Errno::kEPERM;
  }
  // unshare(2): "EPERM CLONE_NEWUSER was specified and the caller is in a chroot environment".
  if (IsChrooted(task)) return Errno::kEPERM;
  auto ns = TRY(creds::UserNamespace::CreateChild(old->user_ns, old->euid, old->egid));
  Ref<creds::Credentials> created = old->Clone();
  created->user_ns = std::move(ns);
  created->permitted = created->effective = created->bounding = creds::CapSet::All();
  created->inheritable = created->ambient = {};
  created->securebits = 0;
  return creds::CredRef(std::move(created));
}

Ref<vfs::MountNamespace> CopyMounts(const vfs::MountNamespace& mounts, FsContext& fs,
                                    Ref<creds::UserNamespace> owner) {
  vfs::Path root = fs.root();
  vfs::Path cwd = fs.cwd();
  vfs::Path new_root = root, new_cwd = cwd;
  auto copy = mounts.Copy(
      [&](const Ref<vfs::Mount>& from, const Ref<vfs::Mount>& to) {
        if (root.mount == from.get()) new_root = vfs::Path(to, root.dentry);
        if (cwd.mount == from.get()) new_cwd = vfs::Path(to, cwd.dentry);
      },
      std::move(owner));
  fs.set_root(std::move(new_root));
  fs.set_cwd(std::move(new_cwd));
  return copy;
}

Result<Ref<PidNamespace>> NewPidNamespace(Task& maker, const creds::Credentials& creds) {
  Ref<PidNamespace> parent = maker.pid_ns_for_children();
  if (!parent->user_ns()->IsAncestorOfOrSame(*creds.user_ns)) return Errno::kEINVAL;
  if (parent->level() >= kMaxPidLevels) return Errno::kENOSPC;
  return MakeRef<PidNamespace>(parent, creds.user_ns);
}

Result<void> Unshare(Task& task, uint64_t flags) {
  const bool alone = task.group().thread_count() == 1;
  if ((flags & (CLONE_THREAD | CLONE_VM | CLONE_SIGHAND | CLONE_NEWUSER)) != 0 && !alone) {
    return Errno::kEINVAL;
  }
  creds::CredRef creds = task.credentials();
  if ((flags & CLONE_NEWUSER) != 0) creds = TRY(CredentialsForNewUserNamespace(task));
  if ((flags & kNamespaceFlags & ~uint64_t{CLONE_NEWUSER}) != 0 &&
      !creds->CapableOwn(CAP_SYS_ADMIN)) {
    return Errno::kEPERM;
  }
  Ref<PidNamespace> pid;
  if ((flags & CLONE_NEWPID) != 0) {
    // pid_namespaces(7): the first one must have an init before a second can be unshared.
    if (task.pid_ns_for_children() != task.pid_ns()) return Errno::kEINVAL;
    pid = TRY(NewPidNamespace(task, *creds));
  }
  if ((flags & (CLONE_FS | CLONE_NEWNS | CLONE_NEWUSER)) != 0) task.UnshareFs();
  if ((flags & CLONE_FILES) != 0) task.UnshareFiles();
  if ((flags & CLONE_NEWUTS) != 0) task.set_uts_ns(task.uts_ns()->Clone(creds->user_ns));
  if ((flags & CLONE_NEWNS) != 0) {
    task.set_mount_namespace(CopyMounts(*task.mount_namespace(), *task.fs(), creds->user_ns));
  }
  if ((flags & CLONE_NEWIPC) != 0) {
    LeaveIpc(task);
    task.set_ipc_ns(MakeRef<IpcNamespace>(creds->user_ns));
  }
  if ((flags & CLONE_NEWNET) != 0) {
    Kernel& kernel = task.kernel();
    task.set_net_ns(MakeRef<NetNamespace>(kernel.vfs(), kernel.network(), creds->user_ns));
  }
  if ((flags & CLONE_NEWCGROUP) != 0) task.set_cgroup_ns(MakeRef<CgroupNamespace>(creds->user_ns));
  if ((flags & CLONE_NEWTIME) != 0) {
    task.set_time_ns_for_children(task.time_ns()->Clone(creds->user_ns));
  }
  if (pid != nullptr) task.set_pid_ns_for_children(std::move(pid));
  task.set_credentials(std::move(creds));
  return Ok();
}

Result<void> EnterNamespace(Task& task, creds::Namespace& ns) {
  Joined joined;
  joined.creds = task.credentials();
  TRY(Prepare(task, ns, joined));
  Commit(task, std::move(joined));
  return Ok();
}

Result<void> EnterNamespacesOf(Task& task, Task& target, uint64_t flags) {
  Joined joined;
  joined.creds = task.credentials();
  Ref<creds::UserNamespace> user = target.credentials()->user_ns;
  const std::pair<uint64_t, Ref<creds::Namespace>> all[] = {
      {CLONE_NEWUSER, user},           {CLONE_NEWNS, target.mount_namespace()},
      {CLONE_NEWUTS, target.uts_ns()}, {CLONE_NEWIPC, target.ipc_ns()},
      {CLONE_NEWPID, target.pid_ns()}, {CLONE_NEWCGROUP, target.cgroup_ns()},
      {CLONE_NEWNET, target.net_ns()}, {CLONE_NEWTIME, target.time_ns()},
  };
  for (const auto& [kind, ns] : all) {
    if ((flags & kind) != 0) TRY(Prepare(task, *ns, joined));
  }
  Commit(task, std::move(joined));
  return Ok();
}

}  // namespace sandboxd::task
