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

namespace sandboxd::task {

class Kernel;
class Task;
class ThreadGroup;

class Session : public RefCounted {
 public:
  Session(Tid id, Ref<PidNamespace> ns, ThreadGroup* leader);
  Tid id() const { return id_; }  // in the namespace of its leader
  Tid IdIn(const PidNamespace& ns) const;

  // Tree mutex:
  ThreadGroup* leader = nullptr;
  Ref<RefCounted> terminal;                  // a pts::Terminal, opaque here; null: none
  class ProcessGroup* foreground = nullptr;  // of the terminal

 private:
  ~Session() override;
  const Tid id_;
  const Ref<PidNamespace> ns_;
};

class ProcessGroup : public RefCounted {
 public:
  ProcessGroup(Tid id, Ref<PidNamespace> ns, Ref<Session> session);
  Tid id() const { return id_; }
  Tid IdIn(const PidNamespace& ns) const;
  const Ref<Session>& session() const { return session_; }

  // Tree mutex:
  std::list<ThreadGroup*> members;
  bool IsOrphaned() const;  // setpgid(2), "orphaned process group"

 private:
  ~ProcessGroup() override;
  const Tid id_;
  const Ref<PidNamespace> ns_;
  const Ref<Session> session_;
};

// Signal dispositions, shared with CLONE_SIGHAND. Guarded by its own mutex (rank kTaskSignals),
// which is also the signal mutex of every group that shares it.
class SignalHandlers : public RefCounted {
 public:
  Ref<SignalHandlers> Fork();
  Mutex& mutex() RETURN_CAPABILITY(mutex_) { return mutex_; }
  signal::SigAction& action(int signo) REQUIRES(mutex_) { return actions_[signo - 1]; }
  // exec(2): handlers become SIG_DFL, ignored stay.
  void ResetForExec();

 private:
  Mutex mutex_{LockRank::kTaskSignals};
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
  Tid tgid() const { return tgid_; }  // in pid_ns()
  Tid TgidIn(const PidNamespace& ns) const;
  // Its tasks that have not been released; the leader stays until the group is reaped. Snapshot.
  std::vector<Ref<Task>> Tasks() const;
  Ref<Task> Leader() const;
  int thread_count() const { return live_threads_.load(std::memory_order_relaxed); }

  // To the process: any thread that does not block it takes it. EAGAIN for a full queue. Any
  // thread, no tree mutex needed.
  Result<void> SendSignal(const signal::SigInfo& info);
  SignalHandlers& handlers() const;

  // Ends all threads with this status (exit_group(2), or a fatal signal). First caller wins.
  void Kill(const ExitStatus& status);
  bool exiting() const;
  // Set once every thread is gone.
  std::optional<ExitStatus> exit_status() const;
  // Woken (EPOLLIN) when the group has become a zombie: pidfds.
  wait::WaitQueue& exit_queue() { return exit_queue_; }
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
  };
  Usage SelfUsage() const;
  Usage ChildrenUsage() const;

  std::atomic<int> oom_score_adj{0};
  std::atomic<bool> did_exec{false};
  std::atomic<bool> child_subreaper{false};
  // What the container layer calls the process that the control channel started; "" for forked
  // ones. Set before it starts.
  std::string container_id, process_id;

 private:
  friend class Task;
  friend class Kernel;
  template <typename T, typename... Args>
  friend Ref<T> sandboxd::MakeRef(Args&&...);
  ThreadGroup(Kernel& kernel, Ref<PidNamespace> ns);
  ~ThreadGroup() override;

  Kernel& kernel_;
  const Ref<PidNamespace> pid_ns_;
  Tid tgid_;
  std::atomic<int> live_threads_{0};
  wait::WaitQueue exit_queue_;
  wait::WaitQueue child_queue_;
  ThreadGroup* parent_ = nullptr;
  // The rest of the private part belongs to kernel/task.
};

}  // namespace sandboxd::task
