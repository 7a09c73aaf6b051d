// Kernel: what all tasks of one sandbox share. Made once by kernel/boot; outlives every task.
#pragma once

#include <array>
#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "kernel/creds/credentials.h"
#include "kernel/time/timer.h"
#include "kernel/vfs/vfs.h"
#include "platform/base/mutex.h"
#include "platform/base/ref.h"
#include "platform/base/result.h"
#include "platform/platform.h"

namespace sandboxd::ipc {
class FutexTable;
}  // namespace sandboxd::ipc
namespace sandboxd::net {
class Network;
}

namespace sandboxd::task {

class CgroupNamespace;
class IpcNamespace;
class NetNamespace;
class PidNamespace;
class Session;
class Task;
class ThreadGroup;
class TimeNamespace;

// The system call table as the task loop sees it; kernel/syscalls implements it.
class SyscallDispatcher {
 public:
  virtual ~SyscallDispatcher() = default;
  // Runs the call in the registers' arguments. Restart codes are allowed results.
  virtual Result<uint64_t> Dispatch(Task& task, uint64_t number,
                                    const std::array<uint64_t, 6>& args) = 0;
};

// uname(2) and sethostname(2), per uts namespace.
class UtsNamespace : public creds::Namespace {
 public:
  UtsNamespace(std::string hostname, std::string domainname, Ref<creds::UserNamespace> owner);
  std::string hostname() const;
  std::string domainname() const;
  void set_hostname(std::string name);
  void set_domainname(std::string name);
  const Ref<creds::UserNamespace>& user_ns() const { return owner_; }
  const creds::UserNamespace* owner_ns() const override { return owner_.get(); }
  Ref<UtsNamespace> Clone(Ref<creds::UserNamespace> owner) const;

 private:
  mutable Mutex mutex_{LockRank::kLeaf};
  std::string hostname_ GUARDED_BY(mutex_);
  std::string domainname_ GUARDED_BY(mutex_);
  const Ref<creds::UserNamespace> owner_;
};

// Linux 6.1, as uname, /proc and auxv say it.
inline constexpr char kRelease[] = "6.1.0-sandboxd";
inline constexpr char kVersion[] = "#1 SMP PREEMPT_DYNAMIC sandboxd";

class Kernel {
 public:
  struct Parts {
    std::unique_ptr<platform::Platform> platform;
    std::unique_ptr<SyscallDispatcher> syscalls;
    std::unique_ptr<vfs::Vfs> vfs;
  };
  explicit Kernel(Parts parts);
  ~Kernel();

  platform::Platform& platform() { return *parts_.platform; }
  SyscallDispatcher& syscalls() { return *parts_.syscalls; }
  vfs::Vfs& vfs() { return *parts_.vfs; }
  time::TimerService& timers() { return timers_; }
  ipc::FutexTable& futexes() { return *futexes_; }
  net::Network& network() { return *network_; }
  const Ref<creds::UserNamespace>& init_user_ns() const { return init_user_ns_; }
  const Ref<PidNamespace>& init_pid_ns() const { return init_pid_ns_; }
  const Ref<IpcNamespace>& init_ipc_ns() const { return init_ipc_ns_; }
  const Ref<NetNamespace>& init_net_ns() const { return init_net_ns_; }
  const Ref<CgroupNamespace>& init_cgroup_ns() const { return init_cgroup_ns_; }
  const Ref<TimeNamespace>& init_time_ns() const { return init_time_ns_; }
  // The file system of namespaces' files (nsfs.h).
  const Ref<vfs::Mount>& nsfs() const { return nsfs_; }

  // The process tree: parents and children, groups, sessions, pid tables. Taken before any signal
  // mutex.
  Mutex& tree_mutex() RETURN_CAPABILITY(tree_mutex_) { return tree_mutex_; }

  // CPUs that the sandbox may use.
  unsigned cpu_count() const { return cpu_count_; }
  Nanos boot_time_realtime() const { return boot_realtime_; }

  // Something that lives as long as the kernel: what higher floors inject.
  class Attachment {
   public:
    virtual ~Attachment() = default;
  };
  template <typename T>
  T* Attach(std::unique_ptr<T> attachment) {
    T* borrowed = attachment.get();
    attachments_.push_back(std::move(attachment));
    return borrowed;
  }

  // Kills everything and waits until no task's thread is left. For tests and the end of the
  // sandbox.
  void Shutdown();

  // Tasks of one real user id, for RLIMIT_NPROC.
  void CountUserTask(creds::KUid uid, int delta);
  int UserTasks(creds::KUid uid) const;

  // The session whose controlling terminal this is; tree mutex.
  Session* SessionOfTerminal(const RefCounted* terminal) const;
  void SetSessionOfTerminal(const RefCounted* terminal, Session* session);  // null: none

  // Stops every task before its next instruction of application code; returns when none runs any.
  // Waits in the kernel go on, and a task that is killed ends.
  void Freeze();
  void Thaw();
  bool frozen() const { return frozen_.load(std::memory_order_seq_cst); }

  // Every thread group of the sandbox, for /proc and the control channel; a snapshot.
  std::vector<Ref<ThreadGroup>> ThreadGroups();
  // Living tasks right now.
  std::atomic<int> task_count{0};
  // How many there may be (cgroups' pids.max); 0: any number.
  std::atomic<uint64_t> task_limit{0};
  // Tasks that are running application code or kernel code rather than sleeping: /proc/loadavg,
  // spin budgets.
  std::atomic<int> runnable_count{0};
  std::atomic<uint64_t> forks{0};
  std::atomic<uint64_t> context_switches{0};

  // Called (any thread) when a thread group that has no parent left to reap it, or that was
  // watched, exits. Set by boot.
  using ExitListener = std::function<void(ThreadGroup&)>;
  void set_exit_listener(ExitListener listener) { exit_listener_ = std::move(listener); }
  const ExitListener& exit_listener() const { return exit_listener_; }

 private:
  friend class Task;
  // How many host threads run tasks. A thread holds it itself: it may still be leaving the mutex
  // when the kernel is gone.
  struct HostThreads : RefCounted {
    Mutex mutex{LockRank::kLeaf};
    CondVar changed;
    int count GUARDED_BY(mutex) = 0;
    void Add(int delta);
  };

  Parts parts_;
  const unsigned cpu_count_;
  const Nanos boot_realtime_;
  Mutex tree_mutex_{LockRank::kTaskTree};
  time::TimerService timers_;
  std::unique_ptr<ipc::FutexTable> futexes_;
  std::unique_ptr<net::Network> network_;
  Ref<creds::UserNamespace> init_user_ns_;
  Ref<PidNamespace> init_pid_ns_;
  Ref<IpcNamespace> init_ipc_ns_;
  Ref<NetNamespace> init_net_ns_;
  Ref<CgroupNamespace> init_cgroup_ns_;
  Ref<TimeNamespace> init_time_ns_;
  Ref<vfs::Mount> nsfs_;
  ExitListener exit_listener_;
  std::vector<std::unique_ptr<Attachment>> attachments_;

  std::map<const RefCounted*, Session*> terminals_;  // tree mutex

  // A task that has left application code while frozen() says so here.
  void NoteLeftApplication();
  bool AnyTaskInApplication();
  std::atomic<bool> frozen_{false};
  Mutex freeze_mutex_{LockRank::kLeaf};
  CondVar freeze_changed_;
  uint64_t left_application_ GUARDED_BY(freeze_mutex_) = 0;

  mutable Mutex users_mutex_{LockRank::kLeaf};
  std::map<uint32_t, int> user_tasks_ GUARDED_BY(users_mutex_);

  const Ref<HostThreads> host_threads_ = MakeRef<HostThreads>();
};

}  // namespace sandboxd::task
