// Create: from nothing to a sandbox whose processes run and know their files.
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <fstream>

#include "daemon/error/fault_point.h"
#include "daemon/log/log.h"
#include "daemon/sandbox/sandbox_internal.h"
#include "daemon/spawn/kernel_process.h"

namespace sandboxd::daemon {
namespace {

struct SocketPair {
  UniqueFd ours, theirs;
};

Outcome<SocketPair> MakeGoferSocket() {
  int fds[2];
  if (int e = FaultPoint("create.socketpair")) {
    return Error::Internal(ErrnoText("cannot make a socket", e));
  }
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0) {
    return Error::Internal(ErrnoText("cannot make a socket", errno));
  }
  return SocketPair{UniqueFd(fds[0]), UniqueFd(fds[1])};
}

Outcome<UniqueFd> OpenLog(int folder, const char* name) {
  UniqueFd fd(::openat(folder, name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd.valid()) return StorageError(std::string("cannot make ") + name, errno);
  return fd;
}

std::string LastLine(const std::string& path) {
  std::ifstream in(path, std::ios::binary | std::ios::ate);
  if (!in) return "";
  const auto size = static_cast<std::streamoff>(in.tellg());
  in.seekg(std::max<std::streamoff>(0, size - 4096));
  std::string last;
  for (std::string line; std::getline(in, line);) {
    if (!line.empty()) last = line;
  }
  return last.substr(0, 500);
}

// The field comes first, then the annotation of the request or the bundle, then the default.
PlatformRequest PlatformAskedFor(const v1::CreateSandboxRequest& request,
                                 const google::protobuf::Map<std::string, std::string>& annotations,
                                 const std::string& default_platform) {
  if (!request.spec().platform().empty()) {
    return {request.spec().platform(), "spec.platform", "asked for by the caller"};
  }
  const auto annotation = annotations.find(kPlatformAnnotation);
  if (annotation != annotations.end()) {
    const bool given = request.annotations().count(kPlatformAnnotation) != 0;
    return {
        annotation->second,
        std::string(given ? "" : "config.json:") + "annotations[\"" + kPlatformAnnotation + "\"]",
        std::string("asked for by the annotation ") + kPlatformAnnotation};
  }
  return {default_platform, "sandboxd --default-platform", "the daemon's default"};
}

}  // namespace

struct Sandbox::Launch {
  ResolvedContainer container;
  std::string platform;
  bool strace = false;
  UniqueFd folder;
  UniqueFd kernel_log, gofer_log;
  UniqueFd listener;
  // To the kernel process, in the order of their indexes in CreateContainer.
  std::vector<UniqueFd> fds;
  Ref<ProcessStreams> streams;
  ProcessStreams::KernelEnds ends;
};

void FillStdio(ProcessStreams::KernelEnds& ends, control::Stdio& stdio,
               std::vector<UniqueFd>& fds) {
  const auto add = [&fds](UniqueFd& fd) {
    fds.push_back(std::move(fd));
    return static_cast<uint32_t>(fds.size() - 1);
  };
  if (ends.in.valid()) stdio.set_stdin_fd(add(ends.in));
  if (ends.out.valid()) stdio.set_stdout_fd(add(ends.out));
  if (ends.err.valid()) stdio.set_stderr_fd(add(ends.err));
  if (ends.terminal.valid()) stdio.set_terminal_fd(add(ends.terminal));
  stdio.set_resumable(true);
}

Outcome<void> Sandbox::Prepare(CallContext& context, const v1::CreateSandboxRequest& request) {
  Operation operation(*this);  // taken by the constructor
  auto prepared = PrepareSteps(context, request);
  if (prepared.ok()) return {};
  {
    MutexLock lock(mutex_);
    view_.set_state(v1::Sandbox::STATE_DELETING);
    kernel_expected_to_end_ = true;
  }
  KillEverything();
  RemoveCgroup();
  {
    MutexLock save_lock(save_mutex_);  // a Save that began before ends before
    if (auto removed = env_.store.Remove(id_); !removed.ok()) {
      DAEMON_LOG(kError) << "sandbox " << id_ << ": " << removed.error().message();
    }
  }
  MutexLock lock(mutex_);
  gone_ = true;
  return prepared.error();
}

Outcome<void> Sandbox::PrepareSteps(CallContext& context, const v1::CreateSandboxRequest& request) {
  Launch launch;
  launch.container = TRY(ResolveContainer(request, id_, caller_));
  TRY(context.Check());
  PlatformAnswer platform = TRY(env_.platforms.Choose(PlatformAskedFor(
      request, launch.container.create.annotations(), env_.settings.default_platform)));
  launch.platform = platform.name;
  launch.folder = TRY(env_.store.CreateFolder(id_));
  launch.strace = request.spec().strace();
  {
    MutexLock lock(mutex_);
    container_ = launch.container.name;
    init_spec_ = launch.container.init_spec;
    for (std::string& w : launch.container.warnings) view_.add_warnings(std::move(w));
    view_.mutable_platform()->set_name(launch.platform);
    view_.mutable_platform()->set_reason(platform.reason);
  }
  TRY(Save(Durability::kProcessCrash));
  launch.kernel_log = TRY(OpenLog(launch.folder.get(), "kernel.log"));
  launch.gofer_log = TRY(OpenLog(launch.folder.get(), "gofer.log"));
  launch.listener = TRY(ListenControlSocket(launch.folder.get()));
  const ProcessStreams::Options options{env_.store.FolderPath(id_) + "/io", launch.container.name,
                                        launch.container.stdio,
                                        launch.container.init_spec.terminal()};
  launch.streams = TRY(ProcessStreams::Create(env_.loop, options, false, &launch.ends));
  {
    MutexLock lock(mutex_);
    Entry init;
    init.info.set_sandbox_id(id_);
    init.info.set_container(container_);
    init.info.set_id(container_);
    init.info.set_state(v1::Process::STATE_CREATED);
    init.info.set_terminal(options.terminal);
    *init.info.mutable_stdio() = options.stdio;
    init.streams = launch.streams;
    entries_[container_] = std::move(init);
    entry_order_.push_back(container_);
  }
  TRY(PrepareCgroup(launch.container));
  TRY(StartGofers(launch));
  TRY(context.Check());
  TRY(StartKernel(launch));
  if (auto connected = ConnectKernel(context, launch); !connected.ok()) {
    return ExplainStart(connected.error());
  }
  TRY(SendTaskLimit(context, launch.container.resources));
  if (auto sent = SendContainer(context, launch); !sent.ok()) return ExplainStart(sent.error());
  TRY(context.Check());
  Supervise();
  env_.loop.Post([streams = launch.streams] { streams->Start(); });
  {
    MutexLock lock(mutex_);
    view_.set_state(v1::Sandbox::STATE_CREATED);
  }
  TRY(Save(Durability::kProcessCrash));
  SaveLater();
  MutexLock lock(mutex_);
  // A kernel process that died meanwhile is dealt with by the loop, which may have come first.
  Emit(v1::SandboxEvent::TYPE_CREATED);
  return {};
}

Outcome<void> Sandbox::StartGofers(Launch& launch) {
  GoferProcessRequest request;
  request.binary_fd = env_.settings.gofer_binary.get();
  request.root = launch.container.root.path;
  request.readonly = launch.container.root.readonly;
  request.log_fd = launch.gofer_log.get();
  std::vector<UniqueFd> theirs;
  SocketPair root = TRY(MakeGoferSocket());
  request.socket_fd = root.theirs.get();
  theirs.push_back(std::move(root.theirs));
  launch.container.create.set_root_gofer_fd(static_cast<uint32_t>(launch.fds.size()));
  launch.fds.push_back(std::move(root.ours));
  for (const GoferSource& bind : launch.container.binds) {
    SocketPair pair = TRY(MakeGoferSocket());
    request.mounts.push_back({bind.path, bind.readonly, pair.theirs.get()});
    theirs.push_back(std::move(pair.theirs));
    launch.container.create.mutable_mounts(bind.mount_index)
        ->set_gofer_fd(static_cast<uint32_t>(launch.fds.size()));
    launch.fds.push_back(std::move(pair.ours));
  }
  // Root's files are served by root; anybody else's by a gofer that can do only what they can.
  if (env_.settings.rootless || caller_.uid != 0) request.map = HostId{caller_.uid, caller_.gid};
  request.before_exec = [this](const ProcessIdentity& identity) -> Outcome<void> {
    MutexLock save_lock(save_mutex_);
    state::SandboxRecord record;
    {
      MutexLock lock(mutex_);
      record = RecordLocked();
    }
    state::HostProcess& gofer = *record.add_gofers();
    gofer.set_pid(identity.pid);
    gofer.set_start_ticks(identity.start_ticks);
    TRY(env_.store.Save(id_, record, Durability::kProcessCrash));
    return PutIntoCgroup(identity);
  };
  auto gofer = SpawnGofer(request);
  if (!gofer.ok()) {
    if (gofer.error().reason() != v1::ERROR_REASON_INTERNAL) return gofer.error();
    return Error(v1::ERROR_REASON_GOFER_FAILED,
                 "the gofer could not be started: " + gofer.error().message());
  }
  MutexLock lock(mutex_);
  gofers_.push_back({std::move(*gofer), false});
  return {};
}

Outcome<void> Sandbox::StartKernel(Launch& launch) {
  KernelProcessRequest request;
  request.binary_fd = env_.settings.kernel_binary.get();
  request.control_listen_fd = launch.listener.get();
  request.log_fd = launch.kernel_log.get();
  request.platform = launch.platform;
  request.strace = launch.strace;
  request.host_id = KernelHostId(env_.settings);
  request.before_exec = [this](const ProcessIdentity& identity) -> Outcome<void> {
    MutexLock save_lock(save_mutex_);
    state::SandboxRecord record;
    {
      MutexLock lock(mutex_);
      record = RecordLocked();
    }
    record.mutable_kernel()->set_pid(identity.pid);
    record.mutable_kernel()->set_start_ticks(identity.start_ticks);
    TRY(env_.store.Save(id_, record, Durability::kProcessCrash));
    return PutIntoCgroup(identity);
  };
  auto kernel = SpawnKernel(request);
  if (!kernel.ok()) {
    if (kernel.error().reason() != v1::ERROR_REASON_INTERNAL) return kernel.error();
    return Error(v1::ERROR_REASON_KERNEL_START_FAILED,
                 "the application kernel could not be started: " + kernel.error().message());
  }
  launch.listener.Reset();
  MutexLock lock(mutex_);
  view_.set_host_pid(kernel->identity().pid);
  kernel_ = std::move(*kernel);
  return {};
}

Outcome<void> Sandbox::ConnectKernel(CallContext& context, Launch& launch) {
  UniqueFd socket = TRY(ConnectControlSocket(launch.folder.get()));
  Ref<ControlChannel> channel = StartChannel(std::move(socket));
  control::Request hello;
  hello.mutable_hello()->set_version(1);
  const auto response = TRY(channel->Call(context, std::move(hello)));
  MutexLock lock(mutex_);
  if (!response.hello().platform().empty()) {
    view_.mutable_platform()->set_name(response.hello().platform());
  }
  return {};
}

Outcome<void> Sandbox::SendContainer(CallContext& context, Launch& launch) {
  control::Request request;
  *request.mutable_create_container() = std::move(launch.container.create);
  FillStdio(launch.ends, *request.mutable_create_container()->mutable_stdio(), launch.fds);
  TRY(TRY(Channel())->Call(context, std::move(request), std::move(launch.fds)));
  return {};
}

// A kernel process that ends before it is ready has said why in its log.
Error Sandbox::ExplainStart(const Error& error) {
  if (error.reason() != v1::ERROR_REASON_KERNEL_LOST &&
      error.reason() != v1::ERROR_REASON_INTERNAL) {
    return error;
  }
  ProcessHandle kernel;
  {
    MutexLock lock(mutex_);
    kernel = std::move(kernel_);
  }
  if (!kernel.WaitEnded(std::chrono::seconds(2))) {
    kernel.KillAndReap();
    return Error(v1::ERROR_REASON_KERNEL_START_FAILED,
                 "the application kernel did not get ready: " + error.message());
  }
  std::string message = "the application kernel " + kernel.Reap() + " before it was ready";
  const std::string last = LastLine(env_.store.FolderPath(id_) + "/kernel.log");
  if (!last.empty()) message += ": " + last;
  return Error(v1::ERROR_REASON_KERNEL_START_FAILED, std::move(message));
}

// From here on the ends of the host processes are noticed.
void Sandbox::Supervise() {
  env_.loop.PostAndWait([this] {
    Ref<Sandbox> self(this);
    MutexLock lock(mutex_);
    if (kernel_.valid() && !kernel_watched_) {
      kernel_watched_ = true;
      env_.loop.Watch(kernel_.pidfd(), EPOLLIN, [self](uint32_t) { self->OnKernelEnded(); });
    }
    for (size_t i = 0; i < gofers_.size(); ++i) {
      if (!gofers_[i].process.valid() || gofers_[i].watched) continue;
      gofers_[i].watched = true;
      env_.loop.Watch(gofers_[i].process.pidfd(), EPOLLIN,
                      [self, i](uint32_t) { self->OnGoferEnded(i); });
    }
  });
}

}  // namespace sandboxd::daemon
