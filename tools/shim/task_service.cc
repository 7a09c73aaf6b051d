// The methods that ask and wait; task_life.cc has those that change a container's life.
#include "tools/shim/task_service.h"

#include <google/protobuf/util/time_util.h>
#include <unistd.h>

#include "daemon/oci/spec.h"
#include "tools/shim/metrics.h"

namespace sandboxd::shim {
namespace {

using google::protobuf::util::TimeUtil;

constexpr char kService[] = "containerd.task.v2.Task";
constexpr size_t kMaxId = 128;

// A method as the server wants it.
template <typename Request, typename Response>
TtrpcServer::Method Bind(TaskService* self,
                         Outcome<Response> (TaskService::*method)(const Request&)) {
  return [self, method](const std::string& payload) -> Outcome<std::string> {
    Request request;
    if (!request.ParseFromString(payload)) {
      return Error(v1::ERROR_REASON_INVALID_FIELD, "the request can't be parsed");
    }
    return TRY((self->*method)(request)).SerializeAsString();
  };
}

Outcome<void> Checked(const client::Error& error) {
  if (error) return oci::FromClient(error);
  return {};
}

}  // namespace

Outcome<std::string> SandboxIdOf(const std::string& name_space, const std::string& id) {
  const std::string name = name_space + "." + id;
  if (name.size() > kMaxId) {
    return Error(v1::ERROR_REASON_INVALID_FIELD,
                 "namespace and id are longer than 127 bytes together");
  }
  return name;
}

bool TaskProcess::SetStopped(uint32_t with_status) {
  MutexLock lock(mutex);
  if (status == task::STOPPED) return false;
  status = task::STOPPED;
  exit_status = with_status;
  exited_at = TimeUtil::GetCurrentTime();
  changed.NotifyAll();
  return true;
}

TaskService::TaskService(ShimOptions options, Publisher& publisher, std::function<void()> shut_down)
    : options_(std::move(options)), publisher_(publisher), shut_down_(std::move(shut_down)) {}

void TaskService::RegisterWith(TtrpcServer& server) {
  const auto add = [&](const char* name, auto method) {
    server.Register(kService, name, Bind(this, method));
  };
  add("State", &TaskService::State);
  add("Create", &TaskService::Create);
  add("Start", &TaskService::Start);
  add("Delete", &TaskService::Delete);
  add("Pids", &TaskService::Pids);
  add("Pause", &TaskService::Pause);
  add("Resume", &TaskService::Resume);
  add("Kill", &TaskService::Kill);
  add("Exec", &TaskService::Exec);
  add("ResizePty", &TaskService::ResizePty);
  add("CloseIO", &TaskService::CloseIO);
  add("Update", &TaskService::Update);
  add("Wait", &TaskService::Wait);
  add("Stats", &TaskService::Stats);
  add("Connect", &TaskService::Connect);
  add("Shutdown", &TaskService::Shutdown);
  server.Register(kService, "Checkpoint", [](const std::string&) -> Outcome<std::string> {
    return Error(v1::ERROR_REASON_NOT_IMPLEMENTED, "checkpoints are not implemented");
  });
}

Outcome<Ref<TaskProcess>> TaskService::Find(const std::string& exec_id) {
  MutexLock lock(mutex_);
  auto it = processes_.find(exec_id);
  if (it != processes_.end()) return it->second;
  return Error(v1::ERROR_REASON_PROCESS_NOT_FOUND,
               exec_id.empty() ? "there is no container: not found"
                               : "there is no process " + exec_id + ": not found");
}

// The daemon, which may have been restarted.
Outcome<client::Client*> TaskService::Daemon() {
  if (!client_)
    return Error(v1::ERROR_REASON_SANDBOX_NOT_FOUND, "there is no container: not found");
  TRY(oci::EnsureDaemon(options_.daemon, address_));
  return client_.get();
}

Outcome<task::StateResponse> TaskService::State(const task::StateRequest& request) {
  Ref<TaskProcess> process = TRY(Find(request.exec_id()));
  task::StateResponse response;
  response.set_id(options_.id);
  response.set_exec_id(request.exec_id());
  response.set_bundle(bundle_.path);
  response.set_stdin(process->stdio.in);
  response.set_stdout(process->stdio.out);
  response.set_stderr(process->stdio.err);
  response.set_terminal(process->stdio.terminal);
  MutexLock lock(process->mutex);
  response.set_pid(process->pid);
  response.set_status(process->status);
  response.set_exit_status(process->exit_status);
  *response.mutable_exited_at() = process->exited_at;
  return response;
}

Outcome<task::PidsResponse> TaskService::Pids(const task::PidsRequest&) {
  task::PidsResponse response;
  MutexLock lock(mutex_);
  for (const auto& [name, process] : processes_) {
    MutexLock process_lock(process->mutex);
    if (process->status == task::RUNNING || process->status == task::PAUSED) {
      response.add_processes()->set_pid(process->pid);
    }
  }
  return response;
}

Outcome<task::Empty> TaskService::ResizePty(const task::ResizePtyRequest& request) {
  Ref<TaskProcess> process = TRY(Find(request.exec_id()));
  if (!process->stdio.terminal) {
    return Error(v1::ERROR_REASON_STDIO_MODE, "the process has no terminal");
  }
  if (auto relay = process->Relay()) relay->Resize(request.height(), request.width());
  return task::Empty();
}

Outcome<task::Empty> TaskService::CloseIO(const task::CloseIORequest& request) {
  Ref<TaskProcess> process = TRY(Find(request.exec_id()));
  if (!request.stdin()) return task::Empty();
  if (auto relay = process->Relay()) relay->CloseStdin();
  return task::Empty();
}

Outcome<task::Empty> TaskService::Update(const task::UpdateTaskRequest& request) {
  v1::UpdateSandboxRequest update;
  update.set_id(sandbox_id_);
  if (request.has_resources()) {
    const std::string& text = request.resources().value();
    *update.mutable_resources() = TRY(daemon::oci::ParseResources(text, nullptr));
    for (const std::string& field : daemon::oci::FieldsOfResources(text)) {
      update.mutable_update_mask()->add_paths("resources." + field);
    }
  }
  if (update.update_mask().paths().empty()) return task::Empty();
  client::Client* client = TRY(Daemon());
  v1::Sandbox sandbox;
  TRY(Checked(client->Update(update, &sandbox)));
  return task::Empty();
}

Outcome<task::WaitResponse> TaskService::Wait(const task::WaitRequest& request) {
  Ref<TaskProcess> process = TRY(Find(request.exec_id()));
  process->WaitStopped();
  task::WaitResponse response;
  MutexLock lock(process->mutex);
  response.set_exit_status(process->exit_status);
  *response.mutable_exited_at() = process->exited_at;
  return response;
}

Outcome<task::StatsResponse> TaskService::Stats(const task::StatsRequest&) {
  client::Client* client = TRY(Daemon());
  v1::SandboxStats stats;
  TRY(Checked(client->Stats(sandbox_id_, &stats)));
  task::StatsResponse response;
  *response.mutable_stats() = MetricsOf(stats, HostHasCgroupV1());
  return response;
}

Outcome<task::ConnectResponse> TaskService::Connect(const task::ConnectRequest&) {
  task::ConnectResponse response;
  response.set_shim_pid(static_cast<uint32_t>(::getpid()));
  if (auto init = Find(""); init.ok()) {
    MutexLock lock((*init)->mutex);
    response.set_task_pid((*init)->pid);
  }
  return response;
}

Outcome<task::Empty> TaskService::Shutdown(const task::ShutdownRequest&) {
  {
    MutexLock lock(mutex_);
    if (!processes_.empty()) return task::Empty();
  }
  shut_down_();
  return task::Empty();
}

}  // namespace sandboxd::shim
