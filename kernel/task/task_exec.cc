// execve(2): a task becomes another program.
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <signal.h>
#include <sys/stat.h>

#include <algorithm>

#include "kernel/loader/loader.h"
#include "kernel/task/clone.h"
#include "kernel/task/exec.h"
#include "kernel/task/process_timers.h"
#include "kernel/task/ptrace.h"
#include "kernel/task/tree.h"
#include "kernel/vfs/inode.h"
#include "kernel/vfs/mount.h"
#include "kernel/vfs/vfs.h"
#include "platform/base/check.h"

namespace sandboxd::task {
namespace {

constexpr uint32_t kAddrNoRandomize = 0x0040000;  // personality(2)
constexpr uint32_t kPerClearOnSetid =
    kAddrNoRandomize | 0x0400000 /* READ_IMPLIES_EXEC */ | 0x0100000 /* MMAP_PAGE_ZERO */;

struct IdChange {
  std::optional<creds::KUid> uid;
  std::optional<creds::KGid> gid;
};

// What the file's set-user-id and set-group-id bits ask for, where they count.
Result<IdChange> SetIdBits(Task& task, vfs::File& program, const creds::Credentials& creds) {
  IdChange change;
  if (task.no_new_privs.load(std::memory_order_relaxed)) return change;
  if ((program.path().mount->flags() & vfs::kMountNoSuid) != 0) return change;
  // ptrace(2): a tracer without CAP_SYS_PTRACE would get more than it has.
  if (!PtracerMayKeepPrivileges(task)) return change;
  vfs::Attr attr = TRY(program.GetAttr());
  if ((attr.mode & (S_ISUID | S_ISGID)) == 0) return change;
  if (!creds.user_ns->IsMapped(attr.uid) || !creds.user_ns->IsMapped(attr.gid)) return change;
  if ((attr.mode & S_ISUID) != 0) change.uid = attr.uid;
  // Without group execute permission the bit means mandatory locking.
  if ((attr.mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP)) change.gid = attr.gid;
  return change;
}

// capabilities(7), "Transformation of capabilities during execve()". File capabilities are not
// looked at: as with the xattrs absent.
void TransformCapabilities(creds::Credentials& n, const creds::Credentials& old, bool set_id) {
  const bool root_is_special = (n.securebits & SECBIT_NOROOT) == 0;
  auto root = n.user_ns->ToKUid(0);
  const bool real_root = root && n.ruid == *root;
  const bool effective_root = root && n.euid == *root;
  creds::CapSet file_permitted, file_inheritable;
  bool file_effective = false;
  if (root_is_special && (real_root || effective_root)) {
    file_permitted = file_inheritable = creds::CapSet::All();
    file_effective = effective_root;
  }
  // A set-user-ID program that nobody root started and that makes nobody root keeps no ambient
  // ones.
  if (set_id) n.ambient = {};
  n.permitted = (old.inheritable & file_inheritable) | (file_permitted & old.bounding) | n.ambient;
  n.effective = file_effective ? n.permitted : n.ambient;
  n.securebits &= ~static_cast<uint32_t>(SECBIT_KEEP_CAPS);
}

Result<loader::ProgramRights> RightsOf(Task& task, vfs::File& program) {
  creds::CredRef old = task.credentials();
  IdChange change = TRY(SetIdBits(task, program, *old));
  Ref<creds::Credentials> n = old->Clone();
  if (change.uid) n->euid = *change.uid;
  if (change.gid) n->egid = *change.gid;
  n->suid = n->fsuid = n->euid;
  n->sgid = n->fsgid = n->egid;
  const bool set_id = n->euid != old->euid || n->egid != old->egid;
  TransformCapabilities(*n, *old, set_id);
  loader::ProgramRights rights;
  const bool gained = !n->permitted.SubsetOf(old->permitted) || n->euid != n->ruid;
  rights.secure =
      n->euid != n->ruid || n->egid != n->rgid || (gained && !(n->user_ns->ToKUid(0) == n->ruid));
  rights.credentials = std::move(n);
  return rights;
}

// execve(2) opens a file that is executable and regular on a mount without noexec.
Result<Ref<vfs::File>> OpenProgram(Task& task, const std::string& name, const vfs::At& at) {
  vfs::Vfs& vfs = task.kernel().vfs();
  vfs::Path path = TRY(vfs.Resolve(task, name, at));
  vfs::Attr attr = TRY(vfs.Stat(task, path));
  if (S_ISLNK(attr.mode)) return Errno::kELOOP;
  if (!S_ISREG(attr.mode)) return Errno::kEACCES;
  if ((path.mount->flags() & vfs::kMountNoExec) != 0) return Errno::kEACCES;
  // Execute permission is enough: a program need not be readable by who runs it.
  vfs::Inode& inode = *path.dentry->inode();
  TRY(inode.CheckPermission(*task.credentials(), vfs::kMayExec));
  return inode.Open(task, path, O_RDONLY);
}

}  // namespace

struct ExecOps {
  static Result<loader::LoadedImage> Load(Task& task, const ExecArgs& args) {
    vfs::At at;
    at.start = args.start;
    at.follow_last = (args.flags & AT_SYMLINK_NOFOLLOW) == 0;
    at.allow_empty = (args.flags & AT_EMPTY_PATH) != 0;
    loader::LoadRequest request;
    request.file = TRY(OpenProgram(task, args.filename, at));
    request.filename = args.exec_name.empty() ? args.filename : args.exec_name;
    request.argv = args.argv;
    request.envp = args.envp;
    request.limits = task.memory_limits();
    request.open_interpreter = [&task](const std::string& path) {
      return OpenProgram(task, path, {});
    };
    request.rights = [&task](vfs::File& program) { return RightsOf(task, program); };
    request.randomize = (task.personality.load() & kAddrNoRandomize) == 0;
    return loader::Load(task.kernel().platform(), task, std::move(request));
  }

  // Ends the other threads and takes over the leader's identity. EAGAIN if another exec or an exit
  // is under way; EINTR if this process is killed meanwhile.
  static Result<void> BecomeOnlyThread(Task& task) {
    ThreadGroup& group = *task.group_;
    {
      MutexLock lock(group.signal_mutex_);
      if (group.group_exit_ || group.exec_task_ != nullptr || task.kill_) return Errno::kEAGAIN;
      group.exec_task_ = &task;
      for (const Ref<Task>& other : group.tasks_) {
        if (other.get() == &task) continue;
        other->kill_ = true;
        if (std::exchange(other->must_stop_, false)) group.CountStoppedLocked();
        other->stopped_ = false;
        other->PokeToEnd();
      }
    }
    Result<void> alone = task.BlockKillable(
        [&group] { return group.live_threads_.load(std::memory_order_acquire) == 1; });
    if (alone.ok() && !task.is_leader()) ReplaceLeader(task);
    MutexLock lock(group.signal_mutex_);
    group.exec_task_ = nullptr;
    return alone;
  }

  // The thread group's id is the new program's id, whichever thread called exec.
  static void ReplaceLeader(Task& task) {
    ThreadGroup& group = *task.group_;
    Ref<Task> old;
    MutexLock lock(task.kernel_.tree_mutex());
    {
      MutexLock signal_lock(group.signal_mutex_);
      old = group.tasks_.front();
      auto self = std::find(group.tasks_.begin(), group.tasks_.end(), Ref<Task>(&task));
      group.tasks_.front() = *self;
      group.tasks_.erase(self);
      CHECK(group.tasks_.size() == 1);
    }
    TreeOps::ReleaseIds(task);
    size_t level = task.ids_.size();
    for (PidNamespace* ns = task.pid_ns_.get(); ns != nullptr; ns = ns->parent()) {
      level--;
      int id = old->ids_[level].load(std::memory_order_relaxed);
      task.ids_[level].store(id, std::memory_order_relaxed);
      ns->Rename(Tid(id), task);
    }
    task.parent_death_signal = old->parent_death_signal;
    task.leader_.store(true, std::memory_order_relaxed);
    old->leader_.store(false, std::memory_order_relaxed);
    PtraceForget(*old);
  }

  static void ResetSignals(Task& task) {
    ThreadGroup& group = *task.group_;
    Ref<SignalHandlers> fresh = group.handlers()->Fork();
    fresh->ResetForExec();
    {
      MutexLock lock(group.signal_mutex_);
      std::swap(group.handlers_, fresh);
    }
    task.altstack = {};
  }

  // Takes the new program's memory and context; the old ones go.
  static void SwitchMemory(Task& task, loader::LoadedImage& image) {
    Ref<mm::MemoryManager> old = task.mm_;
    task.ReleaseMemory();
    if (old != nullptr) task.group_->AccountStub(*old);
    {
      MutexLock lock(task.task_mutex_);
      task.interruptible_ = image.context.get();
      task.mm_ = image.mm;
    }
    task.context_ = std::move(image.context);
    task.shows_calls_ = false;
    task.registers_ = arch::InitialRegisters(image.entry.value, image.stack_pointer.value);
    task.restart_ = nullptr;
    task.restart_code_.reset();
  }

  static void TakeRights(Task& task, const loader::LoadedImage& image) {
    creds::CredRef old = task.credentials();
    const creds::Credentials& n = *image.rights.credentials;
    const bool changed =
        n.euid != old->euid || n.egid != old->egid || !n.permitted.SubsetOf(old->permitted);
    if (changed || image.rights.secure) {
      // prctl(2): PR_SET_DUMPABLE and PR_SET_PDEATHSIG of the old program don't hold for this one.
      image.mm->set_dumpable(0);
      task.personality.fetch_and(~kPerClearOnSetid);
      MutexLock lock(task.kernel_.tree_mutex());
      task.parent_death_signal = 0;
    }
    task.set_credentials(image.rights.credentials);
  }

  static void Commit(Task& task, loader::LoadedImage image) {
    ResetSignals(task);
    task.group_->timers().OnExec();
    TakeRights(task, image);
    task.set_comm(image.comm);
    SwitchMemory(task, image);
    task.UnshareFiles();
    task.files_->table->CloseOnExec(task);
    task.group_->did_exec = true;
    MutexLock lock(task.kernel_.tree_mutex());
    task.group_->exit_signal_ = SIGCHLD;
  }
};

Result<void> LoadAndEnter(Task& task, const ExecArgs& args) {
  ExecOps::Commit(task, TRY(ExecOps::Load(task, args)));
  return Ok();
}

Result<void> Exec(Task& task, const ExecArgs& args) {
  loader::LoadedImage image = TRY(ExecOps::Load(task, args));
  const Tid old_tid = task.tid();
  TRY(ExecOps::BecomeOnlyThread(task));
  const uint64_t number = task.registers().orig_rax;
  ExecOps::Commit(task, std::move(image));
  task.registers().orig_rax = number;  // as tracers see it
  PtraceExecEvent(task, old_tid);
  return Ok();
}

}  // namespace sandboxd::task
