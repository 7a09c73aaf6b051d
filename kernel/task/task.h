// Task: one thread of an application (struct task_struct), run by one host thread of ours.
//
// Fields fall in three classes: those only the task's own host thread touches (registers, context,
// restart state), those guarded by the group's signal mutex, and those guarded by the task's own
// mutex (what others read about it). Other threads act on a task by setting state and calling
// Interrupt().
#pragma once

#include <sys/types.h>

#include <atomic>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "kernel/creds/credentials.h"
#include "kernel/mm/memory_manager.h"
#include "kernel/mm/user_memory.h"
#include "kernel/seccomp/filter.h"
#include "kernel/signal/signal.h"
#include "kernel/task/kernel.h"
#include "kernel/task/namespace_objects.h"
#include "kernel/task/pid_namespace.h"
#include "kernel/task/thread_group.h"
#include "kernel/task/trace_state.h"
#include "kernel/vfs/caller.h"
#include "kernel/vfs/fd_table.h"
#include "kernel/wait/wait_queue.h"
#include "platform/arch/registers.h"
#include "platform/base/mutex.h"
#include "platform/base/ref.h"
#include "platform/base/result.h"
#include "platform/context.h"

namespace sandboxd::task {

// root, cwd and umask, shared with CLONE_FS (struct fs_struct). Thread-safe.
class FsContext : public RefCounted {
 public:
  FsContext(vfs::Path root, vfs::Path cwd, uint32_t umask);
  Ref<FsContext> Fork() const;
  vfs::Path root() const;
  vfs::Path cwd() const;
  uint32_t umask() const;
  void set_root(vfs::Path root);
  void set_cwd(vfs::Path cwd);
  uint32_t exchange_umask(uint32_t umask);

 private:
  mutable Mutex mutex_{LockRank::kFsContext};
  vfs::Path root_ GUARDED_BY(mutex_);
  vfs::Path cwd_ GUARDED_BY(mutex_);
  uint32_t umask_ GUARDED_BY(mutex_);
};

class Task final : public RefCounted, public vfs::Caller, public wait::Blocker {
 public:
  // --- identity (immutable) ---
  Kernel& kernel() const { return kernel_; }
  ThreadGroup& group() const { return *group_; }
  const Ref<ThreadGroup>& group_ref() const { return group_; }
  // In the task's own pid namespace, and in another's (0 if not visible there).
  Tid tid() const;
  Tid tgid() const;
  Tid TidIn(const PidNamespace& ns) const;
  const Ref<PidNamespace>& pid_ns() const { return pid_ns_; }
  bool is_leader() const;

  // --- vfs::Caller ---
  creds::CredRef credentials() const override;
  vfs::Path root() const override;
  vfs::Path cwd() const override;
  Ref<vfs::MountNamespace> mount_namespace() const override;
  uint32_t umask() const override;
  vfs::FdTable& files() override;
  mm::UserMemory memory() const override;
  wait::Blocker& blocker() override { return *this; }
  uint64_t file_size_limit() const override;
  void SendSignalToSelf(int signo) override;
  int32_t process_id() const override;
  void* task() override { return this; }

  // --- wait::Blocker ---
  Result<void> Block(wait::Deadline deadline) override;
  void Wake() override;

  // --- what it owns ---
  // Own thread only.
  platform::Context& context() { return *context_; }
  arch::Registers& registers() { return registers_; }
  // Own thread, or a snapshot for others (null once the task is dead).
  Ref<mm::MemoryManager> mm() const;
  Ref<vfs::FdTable> files_ref() const;
  Ref<FsContext> fs() const;
  Ref<UtsNamespace> uts_ns() const;
  Ref<IpcNamespace> ipc_ns() const;
  Ref<NetNamespace> net_ns() const;
  Ref<CgroupNamespace> cgroup_ns() const;
  Ref<TimeNamespace> time_ns() const;
  void set_credentials(creds::CredRef creds);
  void set_mount_namespace(Ref<vfs::MountNamespace> ns);
  void set_uts_ns(Ref<UtsNamespace> ns);
  void set_ipc_ns(Ref<IpcNamespace> ns);
  void set_net_ns(Ref<NetNamespace> ns);
  void set_cgroup_ns(Ref<CgroupNamespace> ns);
  void set_time_ns(Ref<TimeNamespace> ns);
  void set_fs(Ref<FsContext> fs);
  void set_files(Ref<vfs::FdTable> files);
  std::string comm() const;  // at most 15 bytes
  void set_comm(std::string_view name);
  mm::MemoryLimits memory_limits() const;
  uint64_t fd_limit() const;  // RLIMIT_NOFILE

  // --- signals ---
  // To this task alone (tgkill, faults). EAGAIN as PendingSignals says. Any thread.
  Result<void> SendSignal(const signal::SigInfo& info);
  // A fault of its own: unblocks and resets the action if it is blocked or ignored (force_sig). Own
  // thread.
  void ForceSignal(const signal::SigInfo& info);
  signal::SigSet signal_mask() const;
  void set_signal_mask(signal::SigSet mask);
  // For sigsuspend, ppoll, pselect, epoll_pwait: `mask` holds until the call ends; the old mask
  // comes back after the handler that interrupts it was set up. Own thread.
  void SetTemporarySignalMask(signal::SigSet mask);
  bool SignalPending() const;  // unblocked
  // sigtimedwait(2): takes one of `wanted`. EAGAIN when the deadline passes, EINTR. Own thread.
  Result<signal::SigInfo> WaitForSignal(signal::SigSet wanted, wait::Deadline deadline);
  // sigaction(2) on a valid number; null only asks. The old action. Own thread.
  Result<signal::SigAction> SetSignalAction(int signo, const signal::SigAction* action);
  // rt_sigreturn(2): the result is what the interrupted code had in rax. Own thread.
  Result<uint64_t> ReturnFromSignal();
  bool OnAltStack(uint64_t sp) const;
  signal::SigSet pending_signals() const;  // of this thread
  struct AltStack {
    uint64_t sp = 0;
    int32_t flags = 2;  // SS_DISABLE
    int32_t pad = 0;
    uint64_t size = 0;
  };
  AltStack altstack;  // own thread

  // --- restarting (own thread) ---
  // What restart_syscall(2) shall run after ERESTART_RESTARTBLOCK.
  using RestartFunction = std::function<Result<uint64_t>(Task&)>;
  void set_restart(RestartFunction f) { restart_ = std::move(f); }
  Result<uint64_t> RunRestart();  // restart_syscall(2)

  // --- life ---
  // Starts the host thread. The task is in the tree already.
  Result<void> Start();
  // Sleeps until `done` or until the task must end (EINTR): vfork and exec. `done` is called
  // without a lock. Own thread.
  Result<void> BlockKillable(const std::function<bool()>& done);
  // Makes the task look at its state soon, wherever it is. Any thread.
  void Interrupt();
  // This thread ends at its next chance. Own thread: from exit(2).
  void PrepareExit(int status);
  // Never used for another task of this kernel.
  uint64_t serial() const { return serial_; }
  // The namespaces that children will be in (unshare and setns with CLONE_NEWPID, CLONE_NEWTIME).
  Ref<PidNamespace> pid_ns_for_children() const;
  Ref<TimeNamespace> time_ns_for_children() const;
  void set_pid_ns_for_children(Ref<PidNamespace> ns);
  void set_time_ns_for_children(Ref<TimeNamespace> ns);
  // Makes a private copy of what clone shared (unshare, exec). Own thread.
  void UnshareFiles();
  void UnshareFs();

  // --- seccomp(2): SECCOMP_MODE_*, and the newest filter. Any thread; changed by seccomp.cc ---
  int seccomp_mode() const { return seccomp_mode_.load(std::memory_order_acquire); }
  Ref<seccomp::Filter> seccomp_filter() const;

  // --- words that programs set ---
  UserAddr clear_child_tid;  // set_tid_address; own thread
  UserAddr robust_list;      // get_robust_list may read it from others
  uint64_t robust_list_size = 0;
  std::atomic<bool> no_new_privs{false};
  int parent_death_signal = 0;  // tree mutex
  std::atomic<uint64_t> timer_slack_ns{50'000};
  std::atomic<uint32_t> personality{0};
  // What sched_setscheduler(2) and friends set. The host schedules; we only remember. Own thread
  // writes, or another under the tree mutex.
  struct Scheduling {
    int policy = 0;  // SCHED_OTHER
    int priority = 0;
    bool reset_on_fork = false;
    int ioprio = 0;
    uint64_t affinity = 0;  // bit n: CPU n; 0: all
  };
  Scheduling scheduling;

  // --- figures ---
  struct CpuTime {
    Nanos user{0};
    Nanos system{0};
  };
  CpuTime cpu_time() const;
  Nanos start_time() const { return start_time_; }  // CLOCK_BOOTTIME
  char state_letter() const;                        // as /proc/PID/stat: R S D T t Z X
  // Runs application code right now, or is about to. Pairs with the loop's clearing of the bit.
  bool in_application() const {
    return (word_.load(std::memory_order_seq_cst) & kInApplication) != 0;
  }
  // The system call it is in: -1 in application code.
  int64_t current_syscall() const { return current_syscall_.load(std::memory_order_relaxed); }

 private:
  friend class ThreadGroup;
  friend class Kernel;
  friend class ProcessGroup;
  friend struct TreeOps;
  friend struct WaitOps;
  friend struct ExecOps;
  friend struct CloneOps;
  friend struct ProcessOps;
  friend struct TaskTestPeer;
  friend struct SeccompOps;
  friend struct PtraceOps;
  friend struct PtraceControl;
  friend struct PtraceAccess;
  template <typename T, typename... Args>
  friend Ref<T> sandboxd::MakeRef(Args&&...);
  Task(Kernel& kernel, Ref<ThreadGroup> group, Ref<PidNamespace> pid_ns);
  ~Task() override;

  // An fd table and how many tasks use it: the last one closes the files.
  struct Files : RefCounted {
    explicit Files(Ref<vfs::FdTable> t) : table(std::move(t)) {}
    const Ref<vfs::FdTable> table;
    std::atomic<int> users{1};
  };
  // What a parent in vfork(2) waits for.
  struct VforkGate : RefCounted {
    explicit VforkGate(Task& p) : parent(&p) {}
    const Ref<Task> parent;
    std::atomic<bool> open{false};  // release by the child, acquire by the parent
  };

  // --- bits of word_ ---
  static constexpr uint32_t kWoken = 1;          // Wake() since the last Block()
  static constexpr uint32_t kInterrupted = 2;    // look at the signal state
  static constexpr uint32_t kSleeping = 4;       // own thread: about to sleep on word_
  static constexpr uint32_t kInApplication = 8;  // own thread: in Switch()

  // --- bits of syscall_work_: what a call has to pass besides its handler ---
  static constexpr uint32_t kWorkSeccomp = 1;
  static constexpr uint32_t kWorkTrace = 2;    // PTRACE_SYSCALL: stops at entry and exit
  static constexpr uint32_t kWorkEmulate = 4;  // PTRACE_SYSEMU: stops at entry, and is not run

  // --- the loop (task_run.cc), own thread ---
  using Prologue = std::function<bool(Task&)>;  // false: don't run, end quietly
  Result<void> StartThread(Prologue prologue);
  void ThreadMain(const Prologue& prologue);
  bool BindContext();
  void Run();
  void RunSyscall();
  // The slow way into a call. False: it is not run, and `result` is what it gives, unless `keep`:
  // then the registers stay as they are.
  bool EnterSyscall(Result<uint64_t>* result, bool* keep);
  void LeaveSyscall();
  void HandleFault(const platform::Stop::Fault& fault);
  // True: sleep ended by a word change; false: the deadline passed.
  bool SleepOnWord(uint32_t wake_bits, wait::Deadline deadline);
  bool MustEnd() const;

  // --- signals (task_signal.cc) ---
  // False: the task must end. Own thread.
  bool HandleSignals();
  struct NextStep;
  NextStep TakeNextStep();
  bool HandleSignal(signal::SigInfo info, const signal::SigAction& action);
  bool HandleTracedSignal(const signal::SigInfo& info);
  bool WorkPendingLocked() const REQUIRES(group_->signal_mutex_);
  // The signal mutex is held (by a group that the analysis can't tell to be ours).
  bool PokeIfWants(int signo);
  void StopHere();
  bool DoDefaultAction(const signal::SigInfo& info);  // false: the task must end
  Result<void> RestoreFrame();
  bool DeliverSignal(const signal::SigInfo& info, const signal::SigAction& action);
  void RestartSyscall(const signal::SigAction* action);
  void FlushDeferredSignals();
  void SetMaskLocked(signal::SigSet mask) REQUIRES(group_->signal_mutex_);
  void Poke() { PokeBy(&platform::Context::Interrupt); }
  // Likewise, for a task that is to end and may not want to.
  void PokeToEnd() { PokeBy(&platform::Context::InterruptToEnd); }
  void PokeBy(void (platform::Context::*interrupt)());

  // --- the end (task_exit.cc), own thread ---
  void ReleaseMemory();  // exit and exec: words that say the old program is gone, vfork
  void DropFiles();
  void DropContext();
  void Exit();
  void LeaveTree();

  Kernel& kernel_;
  const Ref<ThreadGroup> group_;
  const Ref<PidNamespace> pid_ns_;
  const Nanos start_time_;
  const uint64_t serial_;  // never used twice
  // By pid namespace level. Changed by exec under the tree mutex; atomic so that anyone may read.
  std::vector<std::atomic<int>> ids_;
  std::atomic<bool> leader_{false};  // likewise

  // Own thread.
  std::unique_ptr<platform::Context> context_;
  arch::Registers registers_;
  RestartFunction restart_;
  std::optional<Errno> restart_code_;         // the call that was interrupted asked for this
  std::optional<signal::SigSet> saved_mask_;  // SetTemporarySignalMask
  std::vector<int> deferred_signals_;         // SendSignalToSelf
  Ref<VforkGate> vfork_gate_;                 // it is somebody's vfork child
  platform::Stop::Fault last_fault_;
  ExitStatus thread_status_;  // of exit(2)
  bool step_ = false;         // PTRACE_SINGLESTEP
  bool shows_calls_ = false;  // what context_ was last told (ShowEveryCall)
  bool exit_called_ = false;

  std::atomic<uint32_t> word_{0};
  std::atomic<int64_t> current_syscall_{-1};     // relaxed: a figure
  std::atomic<uint64_t> switches_{0};            // relaxed: a figure
  std::atomic<int64_t> application_ns_{0};       // time spent in Switch; relaxed: a figure
  std::atomic<int64_t> entered_application_{0};  // CLOCK_MONOTONIC; 0: not there. Relaxed
  std::atomic<pid_t> host_tid_{0};
  std::atomic<bool> dead_{false};          // its thread is past everything but leaving the tree
  std::atomic<uint32_t> syscall_work_{0};  // written by the own thread, and by seccomp's TSYNC
  std::atomic<int> seccomp_mode_{0};

  // Guarded by the group's signal mutex.
  signal::PendingSignals pending_;
  signal::SigSet mask_;
  signal::SigSet real_mask_;  // while sigtimedwait(2) has unblocked some; else equal to mask_
  bool kill_ = false;         // ends at the next chance
  bool must_stop_ = false;    // takes part in a group stop that has begun
  bool stopped_ = false;
  bool hard_kill_ = false;  // by SIGKILL: not even a ptrace-stop at the exit holds it
  bool exiting_ = false;    // takes no signals any more
  TraceState trace_;        // its tracer, if it has one (trace_state.h)
  int forced_ = 0;          // ForceSignal: this one kills even an init

  std::list<Ref<Task>> tracees_;  // tree mutex
  bool no_more_tracees_ = false;  // tree mutex: it is ending
  RemoteCalls remote_calls_;

  // Written by the own thread under task_mutex_; others read under it, the own thread without.
  mutable Mutex task_mutex_{LockRank::kTask};
  Ref<mm::MemoryManager> mm_;
  Ref<Files> files_;
  Ref<FsContext> fs_;
  Ref<UtsNamespace> uts_ns_;
  Ref<vfs::MountNamespace> mount_ns_;
  Ref<IpcNamespace> ipc_ns_;
  Ref<NetNamespace> net_ns_;
  Ref<CgroupNamespace> cgroup_ns_;
  Ref<TimeNamespace> time_ns_;
  Ref<PidNamespace> child_pid_ns_;    // unshare(CLONE_NEWPID); null: pid_ns_
  Ref<TimeNamespace> child_time_ns_;  // likewise
  creds::CredRef creds_;
  Ref<seccomp::Filter> seccomp_filter_;  // TSYNC writes it too, under the signal mutex as well
  std::string comm_;
  platform::Context* interruptible_ = nullptr;  // context_, for Poke
};

}  // namespace sandboxd::task
