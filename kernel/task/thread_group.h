// ThreadGroup: a process (struct signal_struct and its relatives); ProcessGroup and Session: job
// control (credentials(7), setsid(2)).
#pragma once

#include <sys/resource.h>

#include <array>
#include <atomic>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "kernel/signal/signal.h"
#include "kernel/task/pid_namespace.h"
#include "kernel/wait/wait_queue.h"
#include "platform/base/mutex.h"
#include "platform/base/ref.h"
#include "platform/base/result.h"
#include "platform/base/types.h"

namespace sandboxd::mm {
class MemoryManager;
}

namespace sandboxd::task {

class Kernel;
class ProcessTimers;
class Task;
class ThreadGroup;

class Session : public RefCounted {
 public:
  Session(PidIds ids, ThreadGroup* leader);  // tree mutex held
  Tid id() const { return ids_.own(); }      // in the namespace of its leader
  Tid IdIn(const PidNamespace& ns) const { return ids_.In(ns); }
  const PidIds& ids() const { return ids_; }

  // Tree mutex:
  ThreadGroup* leader = nullptr;
  Ref<RefCounted> terminal;                  // a pts::Terminal, opaque here; null: none
  class ProcessGroup* foreground = nullptr;  // of the terminal

 private:
  friend class ProcessGroup;
  ~Session() override = default;
  const PidIds ids_;
  int groups_ = 0;  // tree mutex; without one its id is free again
};

class ProcessGroup : public RefCounted {
 public:
  ProcessGroup(PidIds ids, Ref<Session> session);  // tree mutex held
  Tid id() const { return ids_.own(); }
  Tid IdIn(const PidNamespace& ns) const { return ids_.In(ns); }
  const Ref<Session>& session() const { return session_; }

  // Tree mutex:
  std::list<ThreadGroup*> members;
  // setpgid(2), "orphaned process group".
  bool IsOrphaned() const;
  bool HasStoppedMember() const;
  // To every member, from the kernel.
  void SendSignal(int signo);

 private:
  friend struct TreeOps;
  ~ProcessGroup() override = default;
  // Its last member has left: its id is free again.
  void Unregister();
  const PidIds ids_;
  const Ref<Session> session_;
};

// Signal dispositions, shared with CLONE_SIGHAND. Its mutex is taken inside a group's signal mutex
// where both are needed.
class SignalHandlers : public RefCounted {
 public:
  Ref<SignalHandlers> Fork();
  signal::SigAction Get(int signo) const;
  // The old action.
  signal::SigAction Exchange(int signo, const signal::SigAction& action);
  // What delivery uses: as Get, and SA_RESETHAND takes effect.
  signal::SigAction TakeForDelivery(int signo);
  // exec(2): handlers become SIG_DFL, ignored stay.
  void ResetForExec();

 private:
  mutable Mutex mutex_{LockRank::kSignalHandlers};
  std::array<signal::SigAction, signal::kSignalCount> actions_ GUARDED_BY(mutex_){};
};

// How a process ended, or last changed (wait(2)).
struct ExitStatus {
  int code = 0;  // if signo is 0
  int signo = 0;
  bool core = false;
  int ToWaitStatus() const {
    return signo != 0 ? (signo | (core ? 0x80 : 0)) : ((code & 0xff) << 8);
  }
};

class ThreadGroup : public RefCounted {
 public:
  Kernel& kernel() const { return kernel_; }
  const Ref<PidNamespace>& pid_ns() const { return pid_ns_; }
  Tid tgid() const { return ids_.own(); }    // in pid_ns()
  bool is_init() const { return is_init_; }  // of its pid namespace
  Tid TgidIn(const PidNamespace& ns) const;
  // Its tasks that have not been released; the leader stays until the group is reaped. Snapshot.
  std::vector<Ref<Task>> Tasks() const;
  Ref<Task> Leader() const;
  int thread_count() const { return live_threads_.load(std::memory_order_relaxed); }

  // To the process: any thread that does not block it takes it. EAGAIN for a full queue. Any
  // thread, no tree mutex needed.
  // SIGKILL and SIGSTOP reach the init of a pid namespace only from outside it: from the kernel
  // (SI_KERNEL), or with si_pid 0, which is how an ancestor namespace's process looks from inside.
  Result<void> SendSignal(const signal::SigInfo& info);
  // A POSIX timer's signal, to the process or to `only`. False if the one before is still pending.
  bool SendTimerSignal(const signal::SigInfo& info, Task* only);
  Ref<SignalHandlers> handlers() const;
  signal::SigSet pending_signals() const;  // of the process, not of its threads

  // Ends all threads with this status (exit_group(2), or a fatal signal). First caller wins.
  void Kill(const ExitStatus& status);
  bool exiting() const;
  // Set once every thread is gone.
  std::optional<ExitStatus> exit_status() const;
  // Woken (EPOLLIN) when the group has become a zombie: pidfds.
  wait::WaitQueue& exit_queue() { return exit_queue_; }
  // Woken (EPOLLIN) when a signal becomes pending, for the process or one of its threads: signalfd.
  wait::WaitQueue& signal_queue() { return signal_queue_; }
  // Woken when a child changes state.
  wait::WaitQueue& child_queue() { return child_queue_; }

  rlimit64 GetRlimit(int resource) const;
  // EPERM and EINVAL are the caller's to check.
  void SetRlimit(int resource, const rlimit64& limit);

  Ref<ProcessGroup> process_group() const;  // takes the tree mutex
  Ref<Session> session() const;
  ThreadGroup* parent() const { return parent_; }  // tree mutex

  // Resource use of this process (dead threads included), and of reaped children (getrusage(2)).
  struct Usage {
    Nanos user{0}, system{0};
    uint64_t max_rss_kib = 0, minor_faults = 0, major_faults = 0, voluntary_switches = 0,
             involuntary_switches = 0;
    uint64_t in_blocks = 0, out_blocks = 0;
    void Add(const Usage& other);
  };
  Usage SelfUsage() const;
  Usage ChildrenUsage() const;

  ProcessTimers& timers() { return *timers_; }

  std::atomic<int> oom_score_adj{0};
  std::atomic<int> nice{0};
  std::atomic<bool> did_exec{false};
  std::atomic<bool> child_subreaper{false};
  // What the container layer calls the process that the control channel started; "" for forked
  // ones. Set before it starts.
  std::string container_id, process_id;

 private:
  friend class Task;
  friend class Kernel;
  friend class PidNamespace;
  friend class ProcessGroup;
  friend struct TreeOps;
  friend struct WaitOps;
  friend struct CloneOps;
  friend struct ExecOps;
  friend struct ProcessOps;
  friend struct TaskTestPeer;
  friend struct SeccompOps;
  friend struct PtraceOps;
  friend struct PtraceControl;
  friend struct PtraceAccess;
  friend struct SessionOps;
  friend class TerminalJobs;
  template <typename T, typename... Args>
  friend Ref<T> sandboxd::MakeRef(Args&&...);
  ThreadGroup(Kernel& kernel, Ref<PidNamespace> ns, Ref<SignalHandlers> handlers);
  ~ThreadGroup() override;

  enum class StopState : uint8_t { kRunning, kStopping, kStopped };

  // --- signal mutex held (thread_group_signal.cc) ---
  Result<void> SendLocked(const signal::SigInfo& info, Task* only) REQUIRES(signal_mutex_);
  bool IsIgnoredLocked(const signal::SigInfo& info, const Task& target) const
      REQUIRES(signal_mutex_);
  // Would a thread that may take the signal die of it? Then the process ends at once, even if that
  // thread waits for something that only a kill ends (vfork).
  bool EndsProcessLocked(int signo, Task* only) const REQUIRES(signal_mutex_);
  void ContinueLocked() REQUIRES(signal_mutex_);
  void BeginStopLocked(int signo) REQUIRES(signal_mutex_);
  // One thread that should stop has stopped or gone. True if it was the last: the parent is to be
  // told.
  bool CountStoppedLocked() REQUIRES(signal_mutex_);
  void KillLocked(const ExitStatus& status) REQUIRES(signal_mutex_);
  void DiscardLocked(signal::SigSet which) REQUIRES(signal_mutex_);
  // Pokes a thread for each pending signal of the group in `which`; not `except`.
  void RetargetLocked(signal::SigSet which, const Task* except) REQUIRES(signal_mutex_);

  // A thread ends; the stub stops being this process's.
  void AccountThread(const Task& task);
  void AccountStub(const mm::MemoryManager& mm);

  // SIGCHLD with CLD_STOPPED or CLD_CONTINUED to the parent. No lock held.
  void NotifyParentOfStop(int code, int status);

  Kernel& kernel_;
  const Ref<PidNamespace> pid_ns_;
  PidIds ids_;            // constant once it is in the tree
  bool is_init_ = false;  // of pid_ns_; likewise
  std::atomic<int> live_threads_{0};
  wait::WaitQueue signal_queue_;
  wait::WaitQueue exit_queue_;
  wait::WaitQueue child_queue_;

  // Tree mutex.
  ThreadGroup* parent_ = nullptr;  // outlives its children: it hands them over when it ends
  std::list<Ref<ThreadGroup>> children_;
  Ref<ProcessGroup> process_group_;
  int exit_signal_ = 0;
  uint64_t creator_serial_ = 0;  // of the parent's thread that made it (__WNOTHREAD)
  bool zombie_ = false;
  bool reaped_ = false;
  // False for a process that was made but not yet run: nobody hears of its end.
  std::atomic<bool> announced_{true};
  bool reaps_all_ = false;  // a dying init: children are reaped as they end

  // Written under the tree mutex and the signal mutex, read under either. The leader comes first.
  std::vector<Ref<Task>> tasks_;

  mutable Mutex signal_mutex_{LockRank::kTaskSignals};
  Ref<SignalHandlers> handlers_ GUARDED_BY(signal_mutex_);
  signal::PendingSignals pending_ GUARDED_BY(signal_mutex_);
  bool group_exit_ GUARDED_BY(signal_mutex_) = false;
  ExitStatus status_ GUARDED_BY(signal_mutex_);  // if group_exit_
  bool finished_ GUARDED_BY(signal_mutex_) = false;
  ExitStatus final_status_ GUARDED_BY(signal_mutex_);  // if finished_
  Task* exec_task_ GUARDED_BY(signal_mutex_) = nullptr;
  StopState stop_state_ GUARDED_BY(signal_mutex_) = StopState::kRunning;
  int stop_signo_ GUARDED_BY(signal_mutex_) = 0;
  int stop_count_ GUARDED_BY(signal_mutex_) = 0;   // threads that have yet to stop
  int notify_code_ GUARDED_BY(signal_mutex_) = 0;  // CLD_* that a thread must tell the parent
  int notify_status_ GUARDED_BY(signal_mutex_) = 0;
  int stop_report_ GUARDED_BY(signal_mutex_) = 0;  // WUNTRACED has this signal to report
  bool continue_report_ GUARDED_BY(signal_mutex_) = false;

  mutable Mutex limits_mutex_{LockRank::kLeaf};
  std::array<rlimit64, RLIM_NLIMITS> limits_ GUARDED_BY(limits_mutex_);

  mutable Mutex usage_mutex_{LockRank::kLeaf};
  Usage dead_threads_ GUARDED_BY(usage_mutex_);
  Usage children_usage_ GUARDED_BY(usage_mutex_);
  Nanos stub_time_base_ GUARDED_BY(usage_mutex_){0};  // of the stub before it was this process's

  std::unique_ptr<ProcessTimers> timers_;
};

}  // namespace sandboxd::task
