// One sandbox: its life cycle, its host processes and the processes inside it.
//
// Operations (Prepare to Delete) run on workers, one at a time, and block; each takes the call's
// context. What the kernel process reports comes in on the event loop's thread. `mutex_` guards
// what both see and is never held while anything blocks.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "daemon/loop/call_context.h"
#include "daemon/sandbox/caller.h"
#include "daemon/sandbox/control_channel.h"
#include "daemon/sandbox/environment.h"
#include "daemon/sandbox/process_streams.h"
#include "daemon/sandbox/resolve.h"
#include "daemon/spawn/cgroup.h"
#include "platform/base/ref.h"
#include "proto/sandboxd/v1/process.pb.h"
#include "proto/sandboxd/v1/sandbox.pb.h"
#include "proto/state/state.pb.h"

namespace sandboxd::daemon {

class Sandbox : public RefCounted {
 public:
  using ExitCallback = std::function<void(const Outcome<v1::WaitProcessResponse>&)>;
  using WaiterId = uint64_t;

  // In CREATING, with its operation lock taken until Prepare has returned.
  Sandbox(Environment& env, const v1::CreateSandboxRequest& request, std::string id,
          const Caller& caller);
  // One that an earlier daemon made; Adopt is to be called.
  Sandbox(Environment& env, const state::SandboxRecord& record);
  ~Sandbox() override;

  const std::string& id() const { return id_; }

  // Create's work. On error nothing is left of it but this object.
  Outcome<void> Prepare(CallContext& context, const v1::CreateSandboxRequest& request);
  // At the daemon's start. False: nothing is worth keeping, and its processes are gone.
  bool Adopt();

  Outcome<void> Start(CallContext& context);
  Outcome<void> Signal(CallContext& context, control::SignalProcess request);
  Outcome<v1::Process> Exec(CallContext& context, const v1::ExecRequest& request);
  Outcome<std::vector<v1::Process>> ListProcesses(CallContext& context);
  Outcome<void> DeleteProcess(CallContext& context, const v1::ProcessRef& ref, bool* existed);
  Outcome<void> Pause(CallContext& context);
  Outcome<void> Resume(CallContext& context);
  Outcome<void> Update(CallContext& context, const v1::UpdateSandboxRequest& request);
  Outcome<v1::SandboxStats> Stats(CallContext& context);
  // After success the sandbox is gone but for this object.
  Outcome<void> Delete(CallContext& context, bool force);
  // Waits until a Create that is at work is done.
  Outcome<void> WaitPrepared(CallContext& context);

  v1::Sandbox Snapshot() const;
  // Null pointer if equal; otherwise the name of the first field in which a Create differs.
  std::string DifferenceFrom(const v1::CreateSandboxRequest& request) const;

  // `callback` is called once: when the process has exited (perhaps at once, on this thread), or
  // when the sandbox is deleted. The id is for RemoveWaiter; 0 if it was called.
  WaiterId WaitExit(const v1::ProcessRef& ref, ExitCallback callback);
  // False if the callback has been called or is about to be.
  bool RemoveWaiter(WaiterId id);

  struct Target {
    v1::Process process;
    Ref<ProcessStreams> streams;
  };
  Outcome<Target> Find(const v1::ProcessRef& ref) const;

  // For an attached client; loop thread.
  void CloseStdin(const v1::Process& process);
  void Resize(const v1::Process& process, const v1::TerminalSize& size);
  void SignalSoon(const v1::Process& process, int signo);
  // `exit_seen`: it got the exit frame. `kill`: ON_DISCONNECT_KILL applies.
  void AttachEnded(const v1::Process& process, bool exit_seen, bool kill);

 private:
  // A process that has an id.
  struct Entry {
    v1::Process info;
    Ref<ProcessStreams> streams;
    bool logged = false;  // its output is where it belongs: the kernel process may forget it
    bool stored = false;  // its exit is on disk
    bool acknowledged = false;
    bool waited = false;
  };
  struct Waiter {
    std::string process_id;
    ExitCallback callback;
  };
  struct Gofer {
    ProcessHandle process;
    bool watched = false;
  };
  // Holds the right to run an operation.
  class Operation;
  struct Launch;

  Outcome<std::unique_ptr<Operation>> Begin(CallContext& context);
  Error WrongState(const std::string& what) const REQUIRES(mutex_);
  Outcome<Ref<ControlChannel>> Channel() const;
  Ref<ControlChannel> StartChannel(UniqueFd socket);
  Outcome<std::string> ResolveRef(const v1::ProcessRef& ref) const REQUIRES(mutex_);

  // sandbox_create.cc
  Outcome<void> PrepareSteps(CallContext& context, const v1::CreateSandboxRequest& request);
  Outcome<void> StartGofers(Launch& launch);
  Outcome<void> StartKernel(Launch& launch);
  Outcome<void> ConnectKernel(CallContext& context, Launch& launch);
  Outcome<void> SendContainer(CallContext& context, Launch& launch);
  Error ExplainStart(const Error& error);
  void Supervise();

  // sandbox_limits.cc
  Outcome<void> PrepareCgroup(const ResolvedContainer& container);
  Outcome<void> PutIntoCgroup(const ProcessIdentity& identity);
  Outcome<void> SendTaskLimit(CallContext& context, const v1::Resources& resources);
  Outcome<void> SetFrozen(CallContext& context, bool frozen);
  void RemoveCgroup();
  void NoteOutOfMemory(v1::ExitStatus* exit) const;

  // sandbox_events.cc: the loop's thread
  void OnEvent(const control::Event& event);
  void OnChannelLost(const std::string& why);
  void OnKernelEnded();
  void OnGoferEnded(size_t index);
  void ProcessExited(const std::string& process_id, const v1::ExitStatus& exit);
  void ProducerDone(const std::string& process_id);
  void Settle();
  void KernelGone(const std::string& how);
  void KillGofers();
  void MaybeAutoDelete();
  std::vector<Waiter> TakeWaiters(const std::string& process_id) REQUIRES(mutex_);
  void PruneExited() REQUIRES(mutex_);

  // sandbox_adopt.cc
  Outcome<void> AdoptKernel();
  void AdoptDead(const std::string& why);
  Outcome<void> ReopenStreams(std::map<std::string, UniqueFd>* terminals);
  void Reconcile(const control::HelloResult& hello, const control::ListProcessesResult& list);
  ProcessStreams::Options StreamOptions(const Entry& entry) const;

  // Ends supervision and kills what runs; not on the loop's thread.
  void KillEverything();

  state::SandboxRecord RecordLocked() const REQUIRES(mutex_);
  Outcome<void> Save(Durability durability);
  void SaveSoon();
  // For what a crash of the host would end anyway: nobody waits for the disk, and a sandbox that is
  // gone within a second is never written to it.
  void SaveLater();
  void Emit(v1::SandboxEvent::Type type, const v1::Process* process = nullptr) REQUIRES(mutex_);
  v1::Sandbox SnapshotLocked() const REQUIRES(mutex_);

  Environment& env_;
  const std::string id_;
  const Caller caller_;

  Mutex save_mutex_{LockRank::kDaemonOperation};  // orders writes of state.pb
  mutable Mutex mutex_{LockRank::kDaemonSandbox};
  CondVar idle_;
  bool busy_ GUARDED_BY(mutex_) = false;
  bool gone_ GUARDED_BY(mutex_) = false;  // deleted, or never made
  v1::Sandbox view_ GUARDED_BY(mutex_);
  v1::ProcessSpec init_spec_ GUARDED_BY(mutex_);
  std::string container_ GUARDED_BY(mutex_);
  std::map<std::string, Entry> entries_ GUARDED_BY(mutex_);
  std::vector<std::string> entry_order_ GUARDED_BY(mutex_);
  std::map<WaiterId, Waiter> waiters_ GUARDED_BY(mutex_);
  WaiterId next_waiter_ GUARDED_BY(mutex_) = 1;
  Ref<ControlChannel> channel_ GUARDED_BY(mutex_);
  ProcessHandle kernel_ GUARDED_BY(mutex_);
  bool kernel_watched_ GUARDED_BY(mutex_) = false;
  bool kernel_expected_to_end_ GUARDED_BY(mutex_) = false;
  std::string kernel_end_cause_ GUARDED_BY(mutex_);  // why we killed it
  std::vector<Gofer> gofers_ GUARDED_BY(mutex_);
  Cgroup cgroup_ GUARDED_BY(mutex_);  // invalid: none was asked for
  bool save_scheduled_ GUARDED_BY(mutex_) = false;
  bool exit_reported_ GUARDED_BY(mutex_) = false;
  bool auto_delete_started_ GUARDED_BY(mutex_) = false;
  uint64_t next_exec_ GUARDED_BY(mutex_) = 1;
};

// What the kernel process says of a process, made safe to show.
v1::Process ToProcess(const control::ProcessInfo& info, const std::string& sandbox_id);
v1::ExitStatus ToExit(const control::Exit& exit);

}  // namespace sandboxd::daemon
