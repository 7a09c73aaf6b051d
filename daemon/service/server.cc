#include "daemon/service/server.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/server_posix.h>

#include "daemon/log/log.h"
#include "daemon/service/daemon_service.h"
#include "daemon/service/process_service.h"
#include "daemon/service/sandbox_service.h"
#include "daemon/spawn/kernel_process.h"

namespace sandboxd::daemon {
namespace {
constexpr size_t kWorkers = 64;
constexpr int kMaxMessageBytes = 16 << 20;

// Now, so that no sandbox has to wait for it. A daemon with which nothing can run yet still serves.
void LogPlatforms(PlatformTable& platforms) {
  const auto choice = platforms.Choose({kAutoPlatform, "", ""});
  if (choice.ok()) {
    DAEMON_LOG(kInfo) << "auto picks platform " << choice->name << ": " << choice->reason;
  } else {
    DAEMON_LOG(kWarning) << choice.error().message();
  }
}

}  // namespace

// In the order in which they depend on each other; destroyed from the end.
struct Server::Parts {
  Parts(std::unique_ptr<StateStore> state, Settings settings)
      : store(std::move(state)),
        env{std::move(settings),    loop, workers, *store, events, platforms, {},
            FindCgroupHierarchies()},
        manager(env),
        context{env, manager, connections},
        sandboxes(context),
        processes(context),
        daemon(context) {
    env.delete_sandbox = [this](const std::string& id) { manager.DeleteQuietly(id); };
  }

  std::unique_ptr<StateStore> store;
  EventLog events;
  EventLoop loop;
  WorkerPool workers{kWorkers};
  PlatformTable platforms{[this] {
    const Settings& settings = env.settings;
    return ProbePlatforms(settings.kernel_binary.get(), KernelHostId(settings));
  }};
  Environment env;
  Manager manager;
  ConnectionTable connections;
  ServiceContext context;
  SandboxServiceImpl sandboxes;
  ProcessServiceImpl processes;
  DaemonServiceImpl daemon;
  FileServiceImpl files;
  NetworkServiceImpl network;
  std::unique_ptr<grpc::Server> server;
  std::vector<std::unique_ptr<Listener>> listeners;
};

Server::Server(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}

Server::~Server() {
  parts_->listeners.clear();
  parts_->server->Shutdown(std::chrono::system_clock::now() + std::chrono::milliseconds(200));
  parts_->server->Wait();
}

void Server::Ping() {
  parts_->loop.PostAndWait([] {});
}

bool Server::HasSandboxes() const { return !parts_->manager.All().empty(); }

Outcome<std::unique_ptr<Server>> Server::Start(ServerOptions options) {
  auto store = TRY(StateStore::Open(options.state_dir));
  auto parts = std::make_unique<Parts>(std::move(store), std::move(options.settings));
  std::vector<std::unique_ptr<Listener>> listeners;
  for (const std::string& address : options.listen) {
    listeners.push_back(TRY(Listener::Create(address, options.group)));
  }
  for (UniqueFd& fd : options.inherited) {
    listeners.push_back(TRY(Listener::Adopt(std::move(fd))));
  }
  parts->manager.AdoptAll();
  LogPlatforms(parts->platforms);

  grpc::EnableDefaultHealthCheckService(true);
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  grpc::ServerBuilder builder;
  builder.SetMaxReceiveMessageSize(kMaxMessageBytes);
  builder.RegisterService(&parts->sandboxes);
  builder.RegisterService(&parts->processes);
  builder.RegisterService(&parts->daemon);
  builder.RegisterService(&parts->files);
  builder.RegisterService(&parts->network);
  parts->server = builder.BuildAndStart();
  if (!parts->server) return Error::Internal("gRPC could not start");
  for (auto& listener : listeners) {
    Parts* raw = parts.get();
    listener->Start(parts->loop, [raw](UniqueFd fd, const Connection& connection) {
      auto added = raw->connections.Add(std::move(fd), connection);
      if (!added.ok()) return;
      grpc::AddInsecureChannelFromFd(raw->server.get(), added->Release());
    });
  }
  parts->listeners = std::move(listeners);
  return std::unique_ptr<Server>(new Server(std::move(parts)));
}

}  // namespace sandboxd::daemon
