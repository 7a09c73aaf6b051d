// create, run, start, delete, kill: the life of a container.
#include <google/protobuf/util/time_util.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <optional>

#include "client/cli/output.h"
#include "client/cpp/client.h"
#include "daemon/spawn/cgroup_files.h"
#include "daemon/spawn/process_handle.h"
#include "tools/oci/bundle.h"
#include "tools/oci/commands.h"
#include "tools/oci/console.h"
#include "tools/oci/hooks.h"
#include "tools/oci/monitor.h"

namespace sandboxd::oci {
namespace {

using google::protobuf::util::TimeUtil;

constexpr auto kMonitorPatience = std::chrono::seconds(5);

v1::CreateSandboxRequest CreateRequest(const ContainerRecord& record, const Bundle& bundle) {
  v1::CreateSandboxRequest request;
  request.set_id(record.id);
  request.mutable_spec()->set_platform(GlobalOptions().platform);
  v1::ContainerSpec& container = *request.mutable_spec()->add_containers();
  container.set_bundle_path(bundle.path);
  container.set_hooks_by_caller(true);
  container.mutable_stdio()->set_output(v1::StdioSpec::OUTPUT_STREAM);
  container.mutable_stdio()->set_stdin(true);
  return request;
}

// Engines read a container's figures from the cgroup of the pid that they know.
Outcome<void> JoinCgroups(const v1::Sandbox& sandbox, pid_t pid) {
  for (const std::string& folder : sandbox.cgroup_folders()) {
    const std::string path = folder + "/cgroup.procs";
    if (const int error = daemon::WriteCgroupFile(path, std::to_string(pid))) {
      return Error::Internal(daemon::ErrnoText("cannot write " + path, error));
    }
  }
  return {};
}

Outcome<UniqueFd> TerminalFor(const Args& args, const Bundle& bundle) {
  const std::string socket = args.Get("console-socket");
  if (!bundle.terminal) {
    if (socket.empty()) return UniqueFd();
    return Error::Internal("--console-socket is given, but process.terminal is false");
  }
  if (!socket.empty()) return MakeConsole(socket, bundle.rows, bundle.cols);
  if (::isatty(0) == 0) {
    return Error::Internal("process.terminal is true: --console-socket is missing");
  }
  return UniqueFd();  // ours
}

struct Created {
  ContainerRecord record;
  Monitor monitor;
};

// Everything of `create` but for the lock. On failure nothing is left.
Outcome<Created> Create(const Args& args, const ContainerStore& store, const std::string& id) {
  const Globals& globals = GlobalOptions();
  if (args.Get("preserve-fds", "0") != "0") {
    return Error::Internal("--preserve-fds: descriptors of the host can't be given to a sandbox");
  }
  TRY(CheckContainerId(id));
  if (store.Exists(id)) return Error::Internal("container with id exists: " + id);
  const Bundle bundle = TRY(LoadBundle(args.Get("bundle", ".")));
  if (HasHooks(bundle.hooks, "startContainer")) {
    return Error::Internal(
        "config.json: hooks.startContainer: programs can't be run inside before the container's "
        "own");
  }
  UniqueFd terminal = TRY(TerminalFor(args, bundle));
  ContainerRecord record;
  record.id = id;
  record.oci_version = bundle.oci_version;
  record.bundle = bundle.path;
  record.annotations = bundle.annotations;
  record.hooks = bundle.hooks;
  record.created = TimeUtil::ToString(TimeUtil::GetCurrentTime());
  record.address = TRY(FindOrStartDaemon(globals.daemon));

  MonitorOptions options;
  options.network = bundle.network;
  options.network_path = bundle.network_path;
  options.terminal_fd = terminal.get();
  Monitor monitor = TRY(Monitor::Start(options));
  terminal.Reset();
  record.monitor_pid = monitor.pid();
  record.monitor_start = daemon::StartTicks(monitor.pid()).value_or(0);

  client::Client client(record.address);
  auto steps = [&]() -> Outcome<void> {
    TRY(store.Save(record));
    v1::Sandbox sandbox;
    if (auto error = client.Create(CreateRequest(record, bundle), &sandbox))
      return FromClient(error);
    for (const std::string& warning : sandbox.warnings()) Warn(warning);
    TRY(JoinCgroups(sandbox, record.monitor_pid));
    for (const char* kind : {"prestart", "createRuntime", "createContainer"}) {
      TRY(RunHooks(record.hooks, kind, StateJson(record, "creating", record.monitor_pid)));
    }
    TRY(monitor.Go(record.address, id, ""));
    return WritePidFile(args.Get("pid-file"), record.monitor_pid);
  };
  auto done = steps();
  if (done.ok()) return Created{std::move(record), std::move(monitor)};
  monitor.Kill();
  (void)client.Delete(id, /*force=*/true);
  store.Remove(id);
  return done.error();
}

Outcome<void> Start(const ContainerRecord& record) {
  client::Client client(record.address);
  v1::Sandbox sandbox;
  if (auto error = client.Start(record.id, &sandbox)) return FromClient(error);
  auto hooks =
      RunHooks(record.hooks, "poststart", StateJson(record, "running", record.monitor_pid));
  // The runtime specification: a failure is reported, and the container runs on.
  if (!hooks.ok()) Warn(hooks.error().message());
  return {};
}

}  // namespace

Outcome<void> Destroy(const ContainerStore& store, const ContainerRecord& record) {
  TRY(EnsureDaemon(GlobalOptions().daemon, record.address));
  client::Client client(record.address);
  if (auto error = client.Delete(record.id, /*force=*/true)) return FromClient(error);
  // The monitor ends by itself now; one that doesn't has lost its daemon.
  if (auto monitor = daemon::ProcessHandle::Adopt({record.monitor_pid, record.monitor_start})) {
    if (!monitor->WaitEnded(kMonitorPatience)) monitor->Signal(SIGKILL);
  }
  store.Remove(record.id);
  auto hooks = RunHooks(record.hooks, "poststop", StateJson(record, "stopped", 0));
  if (!hooks.ok()) Warn(hooks.error().message());
  return {};
}

int CreateCommand(const Args& args) {
  const ContainerStore store(GlobalOptions().root);
  auto lock = store.Lock();
  if (!lock.ok()) return Fail(lock.error());
  auto created = Create(args, store, args.positional()[0]);
  return created.ok() ? 0 : Fail(created.error());
}

int RunCommand(const Args& args) {
  const ContainerStore store(GlobalOptions().root);
  auto create = [&]() -> Outcome<Created> {
    UniqueFd lock = TRY(store.Lock());
    return Create(args, store, args.positional()[0]);
  };
  auto created = create();
  if (!created.ok()) return Fail(created.error());
  auto started = Start(created->record);
  if (!started.ok()) {
    (void)Destroy(store, created->record);
    return Fail(started.error());
  }
  if (args.Has("detach")) return 0;
  const int status = created->monitor.Wait();
  if (args.Has("keep")) return status;
  auto destroyed = Destroy(store, created->record);
  return destroyed.ok() ? status : Fail(destroyed.error());
}

int StartCommand(const Args& args) {
  const ContainerStore store(GlobalOptions().root);
  auto record = store.Load(args.positional()[0]);
  if (!record.ok()) return Fail(record.error());
  auto started = Start(*record);
  return started.ok() ? 0 : Fail(started.error());
}

int DeleteCommand(const Args& args) {
  const ContainerStore store(GlobalOptions().root);
  const std::string& id = args.positional()[0];
  auto remove = [&]() -> Outcome<void> {
    UniqueFd lock = TRY(store.Lock());
    auto record = store.Load(id);
    if (!record.ok()) {
      const bool gone = record.error().reason() == v1::ERROR_REASON_SANDBOX_NOT_FOUND;
      if (gone && args.Has("force")) return {};
      return record.error();
    }
    const std::string status = TRY(StatusOf(*record));
    if (status != "stopped" && !args.Has("force")) {
      return Error::Internal("cannot delete container " + id + " that is not stopped: " + status);
    }
    return Destroy(store, *record);
  };
  auto removed = remove();
  return removed.ok() ? 0 : Fail(removed.error());
}

int KillCommand(const Args& args) {
  const ContainerStore store(GlobalOptions().root);
  auto record = store.Load(args.positional()[0]);
  if (!record.ok()) return Fail(record.error());
  const std::string name = args.positional().size() > 1 ? args.positional()[1] : "SIGTERM";
  const int signo = cli::ParseSignal(name);
  if (signo == 0) return Fail("there is no signal \"" + name + "\"");
  auto status = StatusOf(*record);
  if (!status.ok()) return Fail(status.error());
  // Container engines know these words.
  if (*status == "stopped") return Fail("container not running");
  client::Client client(record->address);
  if (*status == "created") {
    // Nothing runs yet that could take a signal: what would end the program ends the container.
    if (signo != SIGKILL && signo != SIGTERM) return 0;
    auto error = client.Delete(record->id, /*force=*/true);
    return error ? Fail(FromClient(error)) : 0;
  }
  auto error = client.Signal(record->id, signo, args.Has("all"));
  if (!error) return 0;
  if (error.reason() == "WRONG_STATE" || error.reason() == "PROCESS_NOT_FOUND") {
    return Fail("container not running");
  }
  return Fail(FromClient(error));
}

}  // namespace sandboxd::oci
