// containerd's Task service for one container, in front of sandboxd.
//
// The container is a sandbox whose id is the namespace and the container's id. Calls arrive on
// threads of their own; `mutex_` guards the table of processes and is held over no call to the
// daemon, `operation_` keeps changes of the container's life apart.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "client/cpp/client.h"
#include "daemon/error/error.h"
#include "platform/base/mutex.h"
#include "tools/oci/bundle.h"
#include "tools/oci/daemon_connection.h"
#include "tools/shim/publisher.h"
#include "tools/shim/task_process.h"
#include "tools/shim/ttrpc_server.h"

namespace sandboxd::shim {

using daemon::Error;
using daemon::Outcome;

struct ShimOptions {
  std::string name_space;
  std::string id;
  std::string platform;  // empty: the daemon's default
  oci::DaemonOptions daemon;
};

// The sandbox of a container. An error if the two names together are too long.
Outcome<std::string> SandboxIdOf(const std::string& name_space, const std::string& id);

class TaskService {
 public:
  // `shut_down` is called when the shim is to end.
  TaskService(ShimOptions options, Publisher& publisher, std::function<void()> shut_down);
  void RegisterWith(TtrpcServer& server);

 private:
  // The methods, in the order of containerd's proto.
  Outcome<task::StateResponse> State(const task::StateRequest& request);
  Outcome<task::CreateTaskResponse> Create(const task::CreateTaskRequest& request);
  Outcome<task::StartResponse> Start(const task::StartRequest& request);
  Outcome<task::DeleteResponse> Delete(const task::DeleteRequest& request);
  Outcome<task::PidsResponse> Pids(const task::PidsRequest& request);
  Outcome<task::Empty> Pause(const task::PauseRequest& request);
  Outcome<task::Empty> Resume(const task::ResumeRequest& request);
  Outcome<task::Empty> Kill(const task::KillRequest& request);
  Outcome<task::Empty> Exec(const task::ExecProcessRequest& request);
  Outcome<task::Empty> ResizePty(const task::ResizePtyRequest& request);
  Outcome<task::Empty> CloseIO(const task::CloseIORequest& request);
  Outcome<task::Empty> Update(const task::UpdateTaskRequest& request);
  Outcome<task::WaitResponse> Wait(const task::WaitRequest& request);
  Outcome<task::StatsResponse> Stats(const task::StatsRequest& request);
  Outcome<task::ConnectResponse> Connect(const task::ConnectRequest& request);
  Outcome<task::Empty> Shutdown(const task::ShutdownRequest& request);

  Outcome<void> CreateSandbox(const task::CreateTaskRequest& request, TaskProcess& init);
  Outcome<void> AttachTo(const Ref<TaskProcess>& process, const std::string& process_id);
  void OnExit(const Ref<TaskProcess>& process, const std::optional<v1::ExitStatus>& exit);
  Outcome<Ref<TaskProcess>> Find(const std::string& exec_id);
  Outcome<client::Client*> Daemon();
  std::string HookState(const std::string& status);
  void CleanUp();
  // Forgets a process that has never run, or has ended, and its streams.
  void Abandon(const Ref<TaskProcess>& process);

  const ShimOptions options_;
  Publisher& publisher_;
  const std::function<void()> shut_down_;
  std::string sandbox_id_;
  std::string rootfs_;  // what containerd's mounts were put on; empty: there were none
  oci::Bundle bundle_;
  std::string address_;
  std::unique_ptr<client::Client> client_;  // set by Create
  Mutex operation_{LockRank::kDaemonOperation};
  Mutex mutex_{LockRank::kDaemonManager};
  std::map<std::string, Ref<TaskProcess>> processes_ GUARDED_BY(mutex_);  // "": init
};

// What is left of a container whose shim has died: `delete` of the command line.
task::DeleteResponse DeleteLeftovers(const ShimOptions& options, const std::string& bundle);

}  // namespace sandboxd::shim
