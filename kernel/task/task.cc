#include "kernel/task/task.h"

#include <linux/capability.h>
#include <signal.h>
#include <sys/resource.h>

#include <algorithm>

#include "kernel/task/process_timers.h"
#include "kernel/time/clock.h"
#include "platform/base/check.h"

namespace sandboxd::task {
namespace {

constexpr size_t kMaxComm = 15;
std::atomic<uint64_t> next_serial{1};

}  // namespace

FsContext::FsContext(vfs::Path root, vfs::Path cwd, uint32_t umask)
    : root_(std::move(root)), cwd_(std::move(cwd)), umask_(umask & 0777) {}

Ref<FsContext> FsContext::Fork() const {
  MutexLock lock(mutex_);
  return MakeRef<FsContext>(root_, cwd_, umask_);
}
vfs::Path FsContext::root() const {
  MutexLock lock(mutex_);
  return root_;
}
vfs::Path FsContext::cwd() const {
  MutexLock lock(mutex_);
  return cwd_;
}
uint32_t FsContext::umask() const {
  MutexLock lock(mutex_);
  return umask_;
}
// The old path is dropped after the lock: a dentry's destructor takes locks.
void FsContext::set_root(vfs::Path root) {
  MutexLock lock(mutex_);
  std::swap(root_, root);
}
void FsContext::set_cwd(vfs::Path cwd) {
  MutexLock lock(mutex_);
  std::swap(cwd_, cwd);
}
uint32_t FsContext::exchange_umask(uint32_t umask) {
  MutexLock lock(mutex_);
  return std::exchange(umask_, umask & 0777);
}

Task::Task(Kernel& kernel, Ref<ThreadGroup> group, Ref<PidNamespace> pid_ns)
    : kernel_(kernel),
      group_(std::move(group)),
      pid_ns_(std::move(pid_ns)),
      start_time_(time::BoottimeNow()),
      serial_(next_serial.fetch_add(1, std::memory_order_relaxed)),
      ids_(static_cast<size_t>(pid_ns_->level()) + 1),
      ipc_ns_(kernel.init_ipc_ns()),
      net_ns_(kernel.init_net_ns()),
      cgroup_ns_(kernel.init_cgroup_ns()),
      time_ns_(kernel.init_time_ns()) {}

Task::~Task() { CHECK(context_ == nullptr); }

Tid Task::tid() const { return Tid(ids_.back().load(std::memory_order_relaxed)); }
Tid Task::tgid() const { return group_->tgid(); }

Tid Task::TidIn(const PidNamespace& ns) const {
  if (!ns.IsAncestorOfOrSame(*pid_ns_)) return Tid(0);
  return Tid(ids_[static_cast<size_t>(ns.level())].load(std::memory_order_relaxed));
}

bool Task::is_leader() const { return leader_.load(std::memory_order_relaxed); }

creds::CredRef Task::credentials() const {
  MutexLock lock(task_mutex_);
  return creds_;
}

vfs::Path Task::root() const {
  Ref<FsContext> f = fs();
  return f ? f->root() : vfs::Path();
}
vfs::Path Task::cwd() const {
  Ref<FsContext> f = fs();
  return f ? f->cwd() : vfs::Path();
}
uint32_t Task::umask() const {
  Ref<FsContext> f = fs();
  return f ? f->umask() : 0;
}

Ref<vfs::MountNamespace> Task::mount_namespace() const {
  MutexLock lock(task_mutex_);
  return mount_ns_;
}

vfs::FdTable& Task::files() { return *files_->table; }

mm::UserMemory Task::memory() const {
  CHECK(context_ != nullptr);
  return mm::UserMemory(*context_);
}

uint64_t Task::file_size_limit() const { return group_->GetRlimit(RLIMIT_FSIZE).rlim_cur; }
uint64_t Task::fd_limit() const { return group_->GetRlimit(RLIMIT_NOFILE).rlim_cur; }

mm::MemoryLimits Task::memory_limits() const {
  return {.address_space = group_->GetRlimit(RLIMIT_AS).rlim_cur,
          .data = group_->GetRlimit(RLIMIT_DATA).rlim_cur,
          .stack = group_->GetRlimit(RLIMIT_STACK).rlim_cur,
          .locked = creds_->CapableInit(CAP_IPC_LOCK) ? UINT64_MAX
                                                      : group_->GetRlimit(RLIMIT_MEMLOCK).rlim_cur};
}

int32_t Task::process_id() const { return group_->TgidIn(*kernel_.init_pid_ns()).value; }

Ref<mm::MemoryManager> Task::mm() const {
  MutexLock lock(task_mutex_);
  return mm_;
}
Ref<vfs::FdTable> Task::files_ref() const {
  MutexLock lock(task_mutex_);
  return files_ ? files_->table : Ref<vfs::FdTable>();
}
Ref<FsContext> Task::fs() const {
  MutexLock lock(task_mutex_);
  return fs_;
}
Ref<UtsNamespace> Task::uts_ns() const {
  MutexLock lock(task_mutex_);
  return uts_ns_;
}

Ref<seccomp::Filter> Task::seccomp_filter() const {
  MutexLock lock(task_mutex_);
  return seccomp_filter_;
}
Ref<IpcNamespace> Task::ipc_ns() const {
  MutexLock lock(task_mutex_);
  return ipc_ns_;
}
Ref<NetNamespace> Task::net_ns() const {
  MutexLock lock(task_mutex_);
  return net_ns_;
}
Ref<CgroupNamespace> Task::cgroup_ns() const {
  MutexLock lock(task_mutex_);
  return cgroup_ns_;
}
Ref<TimeNamespace> Task::time_ns() const {
  MutexLock lock(task_mutex_);
  return time_ns_;
}
Ref<PidNamespace> Task::pid_ns_for_children() const {
  MutexLock lock(task_mutex_);
  return child_pid_ns_ ? child_pid_ns_ : pid_ns_;
}
Ref<TimeNamespace> Task::time_ns_for_children() const {
  MutexLock lock(task_mutex_);
  return child_time_ns_ ? child_time_ns_ : time_ns_;
}

// Each setter drops the old object after the lock.
void Task::set_ipc_ns(Ref<IpcNamespace> ns) {
  MutexLock lock(task_mutex_);
  std::swap(ipc_ns_, ns);
}
void Task::set_net_ns(Ref<NetNamespace> ns) {
  MutexLock lock(task_mutex_);
  std::swap(net_ns_, ns);
}
void Task::set_cgroup_ns(Ref<CgroupNamespace> ns) {
  MutexLock lock(task_mutex_);
  std::swap(cgroup_ns_, ns);
}
void Task::set_time_ns(Ref<TimeNamespace> ns) {
  MutexLock lock(task_mutex_);
  std::swap(time_ns_, ns);
}
void Task::set_pid_ns_for_children(Ref<PidNamespace> ns) {
  MutexLock lock(task_mutex_);
  std::swap(child_pid_ns_, ns);
}
void Task::set_time_ns_for_children(Ref<TimeNamespace> ns) {
  MutexLock lock(task_mutex_);
  std::swap(child_time_ns_, ns);
}
void Task::set_credentials(creds::CredRef creds) {
  {
    MutexLock lock(task_mutex_);
    if (creds_) {
      kernel_.CountUserTask(creds_->ruid, -1);
      kernel_.CountUserTask(creds->ruid, 1);
    }
    std::swap(creds_, creds);
  }
}
void Task::set_mount_namespace(Ref<vfs::MountNamespace> ns) {
  MutexLock lock(task_mutex_);
  std::swap(mount_ns_, ns);
}
void Task::set_uts_ns(Ref<UtsNamespace> ns) {
  MutexLock lock(task_mutex_);
  std::swap(uts_ns_, ns);
}
void Task::set_fs(Ref<FsContext> fs) {
  MutexLock lock(task_mutex_);
  std::swap(fs_, fs);
}
void Task::set_files(Ref<vfs::FdTable> files) {
  DropFiles();
  MutexLock lock(task_mutex_);
  files_ = MakeRef<Files>(std::move(files));
}

void Task::UnshareFiles() {
  if (files_->users.load(std::memory_order_acquire) == 1) return;
  set_files(files_->table->Fork());
}

void Task::UnshareFs() { set_fs(fs_->Fork()); }

std::string Task::comm() const {
  MutexLock lock(task_mutex_);
  return comm_;
}
void Task::set_comm(std::string_view name) {
  MutexLock lock(task_mutex_);
  comm_ = std::string(name.substr(0, kMaxComm));
}

char Task::state_letter() const {
  if (dead_.load(std::memory_order_acquire)) return 'Z';
  {
    MutexLock lock(group_->signal_mutex_);
    if (trace_.stopped) return 't';
    if (stopped_) return 'T';
  }
  return (word_.load(std::memory_order_relaxed) & kSleeping) != 0 ? 'S' : 'R';
}

}  // namespace sandboxd::task
