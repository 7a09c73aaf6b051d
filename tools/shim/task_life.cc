// The methods of TaskService that change a container's life.
#include <google/protobuf/util/time_util.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "client/cli/output.h"
#include "daemon/log/log.h"
#include "daemon/oci/spec.h"
#include "tools/oci/hooks.h"
#include "tools/shim/mounts.h"
#include "tools/shim/proto/events.pb.h"
#include "tools/shim/task_service.h"

namespace sandboxd::shim {
namespace {

namespace events = containerd::events;
using google::protobuf::util::TimeUtil;

constexpr uint32_t kKilledStatus = 128 + SIGKILL;

Outcome<void> Checked(const client::Error& error) {
  if (error) return oci::FromClient(error);
  return {};
}

Error Finished() {
  // containerd and its clients know these words.
  return Error(v1::ERROR_REASON_PROCESS_NOT_FOUND, "process already finished: not found");
}

// Exec ids of containerd may have what ours have not.
bool IsValidExecId(const std::string& id) {
  return !id.empty() && id.size() <= 128 && isalnum(static_cast<unsigned char>(id[0])) &&
         id.find_first_not_of(
             "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-") ==
             std::string::npos;
}

}  // namespace

std::string TaskService::HookState(const std::string& status) {
  uint32_t pid = 0;
  if (auto init = Find(""); init.ok() && status != "stopped") {
    MutexLock lock((*init)->mutex);
    pid = (*init)->pid;
  }
  nlohmann::ordered_json state = {{"ociVersion", bundle_.oci_version},
                                  {"id", options_.id},
                                  {"status", status},
                                  {"pid", pid},
                                  {"bundle", bundle_.path},
                                  {"annotations", bundle_.annotations}};
  return state.dump();
}

Outcome<task::CreateTaskResponse> TaskService::Create(const task::CreateTaskRequest& request) {
  MutexLock operation(operation_);
  if (request.id() != options_.id) {
    return Error(v1::ERROR_REASON_INVALID_FIELD, "this shim is for " + options_.id);
  }
  if (!request.checkpoint().empty()) {
    return Error(v1::ERROR_REASON_NOT_IMPLEMENTED, "checkpoints are not implemented");
  }
  if (Find("").ok()) {
    return Error(v1::ERROR_REASON_SANDBOX_ALREADY_EXISTS, "container " + request.id() + " exists");
  }
  bundle_ = TRY(oci::LoadBundle(request.bundle()));
  sandbox_id_ = TRY(SandboxIdOf(options_.name_space, options_.id));
  auto init = MakeRef<TaskProcess>();
  init->stdio = {request.stdin(), request.stdout(), request.stderr(), request.terminal()};
  {
    MutexLock lock(mutex_);
    processes_[""] = init;
  }
  const auto steps = [&]() -> Outcome<void> {
    TRY(CreateSandbox(request, *init));
    return AttachTo(init, "");
  };
  if (auto created = steps(); !created.ok()) {
    CleanUp();
    Abandon(init);
    return created.error();
  }
  task::CreateTaskResponse response;
  {
    MutexLock lock(init->mutex);
    response.set_pid(init->pid);
  }
  events::TaskCreate event;
  event.set_container_id(options_.id);
  event.set_bundle(bundle_.path);
  *event.mutable_rootfs() = request.rootfs();
  event.mutable_io()->set_stdin(request.stdin());
  event.mutable_io()->set_stdout(request.stdout());
  event.mutable_io()->set_stderr(request.stderr());
  event.mutable_io()->set_terminal(request.terminal());
  event.set_pid(response.pid());
  publisher_.Publish("/tasks/create", event);
  return response;
}

Outcome<void> TaskService::CreateSandbox(const task::CreateTaskRequest& request,
                                         TaskProcess& init) {
  if (oci::HasHooks(bundle_.hooks, "startContainer")) {
    return Error(v1::ERROR_REASON_FEATURE_UNSUPPORTED,
                 "hooks.startContainer: programs can't be run inside before the container's own");
  }
  if (request.rootfs_size() > 0) {
    rootfs_ = bundle_.path + "/rootfs";
    ::mkdir(rootfs_.c_str(), 0711);
    TRY(MountAll(request.rootfs(), rootfs_));
  }
  init.SetRelay(TRY(StdioRelay::Open(init.stdio)));
  address_ = TRY(oci::FindOrStartDaemon(options_.daemon));
  client_ = std::make_unique<client::Client>(address_);
  v1::CreateSandboxRequest create;
  create.set_id(sandbox_id_);
  create.mutable_spec()->set_platform(options_.platform);
  (*create.mutable_labels())["containerd.namespace"] = options_.name_space;
  v1::ContainerSpec& container = *create.mutable_spec()->add_containers();
  container.set_bundle_path(bundle_.path);
  container.set_hooks_by_caller(true);
  container.mutable_stdio()->set_output(v1::StdioSpec::OUTPUT_STREAM);
  container.mutable_stdio()->set_stdin(!init.stdio.in.empty());
  v1::Sandbox sandbox;
  TRY(Checked(client_->Create(create, &sandbox)));
  for (const std::string& warning : sandbox.warnings()) DAEMON_LOG(kWarning) << warning;
  {
    MutexLock lock(init.mutex);
    init.pid = static_cast<uint32_t>(sandbox.host_pid());
  }
  for (const char* kind : {"prestart", "createRuntime", "createContainer"}) {
    TRY(oci::RunHooks(bundle_.hooks, kind, HookState("creating")));
  }
  return {};
}

Outcome<void> TaskService::AttachTo(const Ref<TaskProcess>& process,
                                    const std::string& process_id) {
  v1::ProcessRef ref;
  ref.set_sandbox_id(sandbox_id_);
  ref.set_process_id(process_id);
  return process->Relay()->Attach(
      options_.daemon, address_, ref,
      [this, process](const std::optional<v1::ExitStatus>& exit) { OnExit(process, exit); });
}

// All its output is written. On the relay's thread.
void TaskService::OnExit(const Ref<TaskProcess>& process,
                         const std::optional<v1::ExitStatus>& exit) {
  process->WaitAnnounced();
  const uint32_t status = exit ? static_cast<uint32_t>(cli::ExitCodeOf(*exit)) : kKilledStatus;
  if (exit && exit->oom_killed() && process->exec_id.empty()) {
    events::TaskOOM oom;
    oom.set_container_id(options_.id);
    publisher_.Publish("/tasks/oom", oom);
  }
  if (!process->SetStopped(status)) return;
  events::TaskExit event;
  event.set_container_id(options_.id);
  event.set_id(process->exec_id.empty() ? options_.id : process->exec_id);
  event.set_exit_status(status);
  {
    MutexLock lock(process->mutex);
    event.set_pid(process->pid);
    *event.mutable_exited_at() = process->exited_at;
  }
  publisher_.Publish("/tasks/exit", event);
}

Outcome<task::StartResponse> TaskService::Start(const task::StartRequest& request) {
  MutexLock operation(operation_);
  Ref<TaskProcess> process = TRY(Find(request.exec_id()));
  client::Client* client = TRY(Daemon());
  if (process->Status() != task::CREATED) {
    return Error(v1::ERROR_REASON_WRONG_STATE, "the process was started before");
  }
  task::StartResponse response;
  if (request.exec_id().empty()) {
    v1::Sandbox sandbox;
    TRY(Checked(client->Start(sandbox_id_, &sandbox)));
    process->SetStatus(task::RUNNING);
    auto hooks = oci::RunHooks(bundle_.hooks, "poststart", HookState("running"));
    if (!hooks.ok()) DAEMON_LOG(kWarning) << hooks.error().message();
    events::TaskStart event;
    event.set_container_id(options_.id);
    {
      MutexLock lock(process->mutex);
      event.set_pid(process->pid);
    }
    response.set_pid(event.pid());
    publisher_.Publish("/tasks/start", event);
    process->SetAnnounced();
    return response;
  }
  v1::ExecRequest exec;
  exec.set_sandbox_id(sandbox_id_);
  exec.set_process_id(request.exec_id());
  *exec.mutable_process() = process->spec;
  exec.set_exact(true);
  exec.mutable_stdio()->set_output(v1::StdioSpec::OUTPUT_STREAM);
  exec.mutable_stdio()->set_stdin(!process->stdio.in.empty());
  v1::Process started;
  TRY(Checked(client->Exec(exec, &started)));
  {
    // The program has no pid on the host: it is told by its sandbox's.
    Ref<TaskProcess> init = TRY(Find(""));
    uint32_t pid;
    {
      MutexLock lock(init->mutex);
      pid = init->pid;
    }
    MutexLock lock(process->mutex);
    process->pid = pid;
    process->status = task::RUNNING;
    response.set_pid(pid);
  }
  auto attached = AttachTo(process, request.exec_id());
  events::TaskExecStarted event;
  event.set_container_id(options_.id);
  event.set_exec_id(request.exec_id());
  event.set_pid(response.pid());
  publisher_.Publish("/tasks/exec-started", event);
  process->SetAnnounced();
  if (!attached.ok()) {
    OnExit(process, std::nullopt);
    return attached.error();
  }
  return response;
}

Outcome<task::Empty> TaskService::Exec(const task::ExecProcessRequest& request) {
  MutexLock operation(operation_);
  Ref<TaskProcess> init = TRY(Find(""));
  if (init->Status() == task::STOPPED) return Finished();
  if (!IsValidExecId(request.exec_id())) {
    return Error(v1::ERROR_REASON_INVALID_FIELD, "\"" + request.exec_id() + "\" is no exec id");
  }
  if (Find(request.exec_id()).ok()) {
    return Error(v1::ERROR_REASON_PROCESS_ALREADY_EXISTS,
                 "there is a process " + request.exec_id() + " already");
  }
  auto process = MakeRef<TaskProcess>();
  process->exec_id = request.exec_id();
  process->stdio = {request.stdin(), request.stdout(), request.stderr(), request.terminal()};
  process->spec = TRY(daemon::oci::ParseProcess(request.spec().value(), nullptr));
  process->spec.set_terminal(request.terminal());
  process->SetRelay(TRY(StdioRelay::Open(process->stdio)));
  {
    MutexLock lock(mutex_);
    processes_[request.exec_id()] = process;
  }
  events::TaskExecAdded event;
  event.set_container_id(options_.id);
  event.set_exec_id(request.exec_id());
  publisher_.Publish("/tasks/exec-added", event);
  return task::Empty();
}

Outcome<task::Empty> TaskService::Pause(const task::PauseRequest&) {
  MutexLock operation(operation_);
  Ref<TaskProcess> init = TRY(Find(""));
  client::Client* client = TRY(Daemon());
  v1::Sandbox sandbox;
  TRY(Checked(client->Pause(sandbox_id_, &sandbox)));
  if (init->Status() == task::RUNNING) init->SetStatus(task::PAUSED);
  events::TaskPaused event;
  event.set_container_id(options_.id);
  publisher_.Publish("/tasks/paused", event);
  return task::Empty();
}

Outcome<task::Empty> TaskService::Resume(const task::ResumeRequest&) {
  MutexLock operation(operation_);
  Ref<TaskProcess> init = TRY(Find(""));
  client::Client* client = TRY(Daemon());
  v1::Sandbox sandbox;
  TRY(Checked(client->Resume(sandbox_id_, &sandbox)));
  if (init->Status() == task::PAUSED) init->SetStatus(task::RUNNING);
  events::TaskResumed event;
  event.set_container_id(options_.id);
  publisher_.Publish("/tasks/resumed", event);
  return task::Empty();
}

Outcome<task::Empty> TaskService::Kill(const task::KillRequest& request) {
  Ref<TaskProcess> process = TRY(Find(request.exec_id()));
  client::Client* client = TRY(Daemon());
  const task::Status status = process->Status();
  if (status == task::STOPPED) return Finished();
  if (status == task::CREATED) {
    // Nothing runs yet that could take a signal: it ends here.
    if (request.exec_id().empty()) TRY(Checked(client->Delete(sandbox_id_, /*force=*/true)));
    process->SetAnnounced();
    if (!request.exec_id().empty()) OnExit(process, std::nullopt);
    return task::Empty();
  }
  client::Error error;
  if (request.exec_id().empty()) {
    error = client->Signal(sandbox_id_, static_cast<int>(request.signal()), request.all());
  } else {
    v1::SignalProcessRequest signal;
    signal.mutable_process()->set_sandbox_id(sandbox_id_);
    signal.mutable_process()->set_process_id(request.exec_id());
    signal.set_signal(static_cast<int>(request.signal()));
    error = client->SignalProcess(signal);
  }
  if (error.reason() == "WRONG_STATE" || error.reason() == "PROCESS_NOT_FOUND" ||
      error.reason() == "SANDBOX_NOT_FOUND") {
    return Finished();
  }
  TRY(Checked(error));
  return task::Empty();
}

Outcome<task::DeleteResponse> TaskService::Delete(const task::DeleteRequest& request) {
  MutexLock operation(operation_);
  Ref<TaskProcess> process = TRY(Find(request.exec_id()));
  const task::Status status = process->Status();
  if (status == task::RUNNING || status == task::PAUSED) {
    return Error(v1::ERROR_REASON_WRONG_STATE, "the process is running");
  }
  if (request.exec_id().empty()) {
    CleanUp();
  } else if (client_ && status == task::STOPPED) {
    v1::ProcessRef ref;
    ref.set_sandbox_id(sandbox_id_);
    ref.set_process_id(request.exec_id());
    client_->DeleteProcess(ref);
  }
  Abandon(process);
  task::DeleteResponse response;
  {
    MutexLock lock(process->mutex);
    response.set_pid(process->pid);
    response.set_exit_status(process->exit_status);
    *response.mutable_exited_at() = process->exited_at;
  }
  events::TaskDelete event;
  event.set_container_id(options_.id);
  event.set_id(request.exec_id());
  event.set_pid(response.pid());
  event.set_exit_status(response.exit_status());
  *event.mutable_exited_at() = response.exited_at();
  publisher_.Publish("/tasks/delete", event);
  return response;
}

void TaskService::Abandon(const Ref<TaskProcess>& process) {
  // One that never ran has no exit to tell of.
  process->SetStopped(kKilledStatus);
  process->SetAnnounced();
  std::vector<Ref<TaskProcess>> gone = {process};
  {
    MutexLock lock(mutex_);
    processes_.erase(process->exec_id);
    // With the container its other processes are gone too.
    if (process->exec_id.empty()) {
      for (auto& [name, other] : processes_) gone.push_back(other);
      processes_.clear();
    }
  }
  for (const Ref<TaskProcess>& one : gone) {
    one->SetAnnounced();
    if (auto relay = one->Relay()) relay->Stop();
    one->SetRelay(nullptr);
  }
}

// The sandbox, its mounts, its last hooks.
void TaskService::CleanUp() {
  if (auto client = Daemon(); client.ok()) {
    auto error = (*client)->Delete(sandbox_id_, /*force=*/true);
    if (error) DAEMON_LOG(kWarning) << "delete of " << sandbox_id_ << ": " << error.message();
  }
  if (!rootfs_.empty()) UnmountAll(rootfs_);
  rootfs_.clear();
  auto hooks = oci::RunHooks(bundle_.hooks, "poststop", HookState("stopped"));
  if (!hooks.ok()) DAEMON_LOG(kWarning) << hooks.error().message();
}

task::DeleteResponse DeleteLeftovers(const ShimOptions& options, const std::string& bundle) {
  task::DeleteResponse response;
  response.set_exit_status(kKilledStatus);
  *response.mutable_exited_at() = TimeUtil::GetCurrentTime();
  auto id = SandboxIdOf(options.name_space, options.id);
  auto address = oci::FindOrStartDaemon(options.daemon);
  if (id.ok() && address.ok()) {
    client::Client client(*address);
    v1::Sandbox sandbox;
    if (!client.Get(*id, &sandbox)) response.set_pid(static_cast<uint32_t>(sandbox.host_pid()));
    client.Delete(*id, /*force=*/true);
  }
  if (!bundle.empty()) UnmountAll(bundle + "/rootfs");
  return response;
}

}  // namespace sandboxd::shim
