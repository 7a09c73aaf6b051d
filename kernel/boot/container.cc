#include "kernel/boot/container.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/stat.h>

#include <algorithm>

#include "kernel/boot/container_terminal.h"
#include "kernel/boot/filesystem_factory.h"
#include "kernel/boot/mount_plan.h"
#include "kernel/fs/pipe/pipe.h"
#include "kernel/task/pid_namespace.h"
#include "kernel/task/task.h"
#include "platform/base/format.h"
#include "platform/base/log.h"

namespace sandboxd::boot {
namespace {

control::Status::Reason ReasonForStart(Errno error) {
  switch (error) {
    case Errno::kENOENT:
    case Errno::kENOTDIR:
    case Errno::kELOOP:
      return control::Status::PROGRAM_NOT_FOUND;
    case Errno::kEACCES:
    case Errno::kEPERM:
    case Errno::kEISDIR:
      return control::Status::NOT_EXECUTABLE;
    case Errno::kENOEXEC:
    case Errno::kELIBBAD:
    case Errno::kEINVAL:
      return control::Status::WRONG_FORMAT;
    case Errno::kENOMEM:
    case Errno::kEAGAIN:
    case Errno::kEMFILE:
    case Errno::kENFILE:
      return control::Status::RESOURCE_EXHAUSTED;
    default:
      return control::Status::INTERNAL;
  }
}

// A plain thread of ours waiting for a process to become a zombie.
class ExitWaiter final : public wait::WaitEntry {
 public:
  ~ExitWaiter() override { Leave(); }
  void Wait(task::ThreadGroup& group) {
    group.exit_queue().Add(*this, EPOLLIN);
    // The status is asked for without our lock, which ranks above those behind it.
    while (!group.exit_status().has_value()) {
      MutexLock lock(mutex_);
      while (!woken_) condition_.Wait(mutex_);
      woken_ = false;
    }
  }

 protected:
  bool OnEvent(wait::EventMask) override {
    MutexLock lock(mutex_);
    woken_ = true;
    condition_.NotifyAll();
    return true;
  }

 private:
  Mutex mutex_{LockRank::kLeaf};
  CondVar condition_;
  bool woken_ GUARDED_BY(mutex_) = false;
};

UniqueFd TakeFd(ControlServer::Fds& fds, bool given, uint32_t index) {
  if (!given || index >= fds.size()) return UniqueFd();
  return std::move(fds[index]);
}

}  // namespace

std::string ProcessKey(const std::string& container_id, const std::string& process_id) {
  return container_id + "/" + (process_id.empty() ? container_id : process_id);
}

Container::Container(const Environment& environment, std::string id)
    : env_(environment), id_(std::move(id)) {}

Container::~Container() {
  init_.reset();
  KillAll();
  for (const auto& [process_id, process] : processes_)
    env_.relay.Remove(ProcessKey(id_, process_id));
}

std::unique_ptr<Container> Container::Create(const Environment& environment,
                                             const control::CreateContainer& spec,
                                             ControlServer::Fds& fds, Failure* failure) {
  std::unique_ptr<Container> c(new Container(environment, spec.container_id()));
  task::Kernel& kernel = environment.kernel;
  c->uts_ = MakeRef<task::UtsNamespace>(spec.hostname().empty() ? c->id_ : spec.hostname(),
                                        spec.domainname().empty() ? "(none)" : spec.domainname(),
                                        kernel.init_user_ns());
  c->pid_ns_ = MakeRef<task::PidNamespace>(kernel.init_pid_ns(), kernel.init_user_ns());
  if (!ReadSeccomp(spec.seccomp_program(), spec.seccomp_log(), &c->seccomp_, failure)) {
    return nullptr;
  }
  if (!c->MountAll(spec, fds, failure)) return nullptr;
  auto prepared = c->Prepare(c->id_, spec.process(), spec.stdio(), fds, failure);
  if (!prepared) return nullptr;
  c->init_ = std::move(prepared->started);
  c->processes_.emplace(c->id_, std::move(prepared->process));
  return c;
}

bool Container::MountAll(const control::CreateContainer& spec, ControlServer::Fds& fds,
                         Failure* failure) {
  auto failed = [&](const std::string& what, Errno error) {
    *failure = {control::Status::MOUNT_FAILED, error,
                StrFormat("%s: %s", what.c_str(), ErrnoMessage(error))};
    return false;
  };
  std::vector<PlannedMount> plan;
  if (!PlanMounts(spec, &plan, failure)) return false;
  vfs::Vfs& vfs = env_.kernel.vfs();
  auto root =
      env_.filesystems.Gofer(TakeFd(fds, true, spec.root_gofer_fd()), spec.exclusive_root());
  if (!root.ok()) return failed("the root file system", root.error());
  auto root_mount = vfs.NewMount(std::move(root).value(), 0, "root");
  if (!root_mount.ok()) return failed("the root file system", root_mount.error());
  mounts_ = MakeRef<vfs::MountNamespace>(*root_mount);
  caller_.emplace(env_.kernel.init_user_ns(), mounts_);
  for (const PlannedMount& m : plan) {
    std::string what = StrFormat("mount of %s on %s", m.type.c_str(), m.destination.c_str());
    auto superblock =
        m.type == "gofer"
            ? env_.filesystems.Gofer(TakeFd(fds, m.gofer_fd >= 0, m.gofer_fd), /*exclusive=*/false)
            : env_.filesystems.Make(*caller_, m, pid_ns_);
    if (!superblock.ok()) return failed(what, superblock.error());
    bool directory = (*superblock)->RootInode()->IsDirectory();
    auto where = EnsureMountpoint(vfs, *caller_, m.destination, directory);
    if (!where.ok()) return failed(what + ": no place to mount on", where.error());
    auto mount = vfs.NewMount(std::move(superblock).value(), m.flags, m.source);
    if (!mount.ok()) return failed(what, mount.error());
    auto attached = mounts_->Attach(std::move(mount).value(), *where);
    if (!attached.ok()) return failed(what, attached.error());
  }
  for (const std::string& path : spec.masked_paths()) {
    auto masked = MaskPath(vfs, *caller_, path);
    if (!masked.ok()) return failed("maskedPaths: " + path, masked.error());
  }
  for (const std::string& path : spec.readonly_paths()) {
    auto done = MakeReadOnly(vfs, *caller_, path);
    if (!done.ok()) return failed("readonlyPaths: " + path, done.error());
  }
  // Last, so that the places for mounts could be made.
  if (spec.root_readonly()) (*root_mount)->set_flags((*root_mount)->flags() | vfs::kMountReadOnly);
  return true;
}

std::string Container::ReadSmallFile(const std::string& path) {
  auto file = env_.kernel.vfs().Open(*caller_, path, {}, {O_RDONLY, 0});
  std::string out;
  if (!file.ok()) return out;
  std::vector<std::byte> buffer(64 << 10);
  while (out.size() < (4 << 20)) {
    mm::BufferSink sink(buffer);
    auto n = (*file)->Read(*caller_, sink);
    if (!n.ok() || *n == 0) break;
    out.append(reinterpret_cast<const char*>(buffer.data()), *n);
  }
  return out;
}

std::optional<Container::Prepared> Container::Prepare(const std::string& process_id,
                                                      const control::ProcessSpec& spec,
                                                      const control::Stdio& stdio,
                                                      ControlServer::Fds& fds, Failure* failure) {
  UserIds user{spec.uid(), spec.gid(), {}, ""};
  if (!spec.user_name().empty()) {
    std::string message;
    auto found = LookUpUser(spec.user_name(), ReadSmallFile("/etc/passwd"),
                            ReadSmallFile("/etc/group"), &message);
    if (!found.ok()) {
      *failure = {control::Status::NO_SUCH_USER_OR_DIR, found.error(), message};
      return std::nullopt;
    }
    user = std::move(found).value();
  }
  task::ProcessRequest request;
  if (!FillProcessRequest(spec, user, env_.kernel.init_user_ns(), &request, failure))
    return std::nullopt;
  request.container_id = id_;
  request.process_id = process_id;
  request.mounts = mounts_;
  request.root = mounts_->root();
  request.uts = uts_;
  request.pid_ns = pid_ns_;
  request.seccomp = seccomp_;
  request.files = MakeRef<vfs::FdTable>();
  Prepared prepared;
  creds::KUid uid = request.credentials->euid;
  if (!SetUpStdio(process_id, spec, uid, stdio, fds, *request.files, &prepared.process.terminal,
                  failure)) {
    return std::nullopt;
  }
  request.terminal = prepared.process.terminal;
  task::StartError error;
  prepared.started = task::CreateProcess(env_.kernel, std::move(request), &error);
  if (prepared.started == nullptr) {
    env_.relay.Remove(ProcessKey(id_, process_id));
    *failure = {ReasonForStart(error.error), error.error, error.message};
    return std::nullopt;
  }
  prepared.process.group = Ref<task::ThreadGroup>(&prepared.started->group());
  return prepared;
}

bool Container::SetUpStdio(const std::string& process_id, const control::ProcessSpec& spec,
                           creds::KUid user, const control::Stdio& stdio, ControlServer::Fds& fds,
                           vfs::FdTable& files, Ref<RefCounted>* terminal, Failure* failure) {
  std::string key = ProcessKey(id_, process_id);
  auto failed = [&](const char* what, Errno error) {
    env_.relay.Remove(key);
    *failure = {control::Status::INTERNAL, error, StrFormat("%s: %s", what, ErrnoMessage(error))};
    return false;
  };
  vfs::Vfs& vfs = env_.kernel.vfs();
  auto install = [&](Ref<vfs::File> file) {
    return files.Install(std::move(file), /*cloexec=*/false, 3).ok();
  };
  if (spec.terminal()) {
    auto made =
        MakeContainerTerminal(vfs, *caller_, user, spec.terminal_rows(), spec.terminal_cols());
    if (!made.ok()) return failed("making a terminal in /dev/pts", made.error());
    for (int i = 0; i < 3; i++) CHECK(install(made->slave));
    *terminal = made->terminal;
    UniqueFd host = TakeFd(fds, stdio.has_terminal_fd(), stdio.terminal_fd());
    UniqueFd second;
    if (host.valid()) {
      auto dup = host.Dup();
      if (!dup.ok()) return failed("the terminal's descriptor", dup.error());
      second = std::move(dup).value();
    }
    env_.relay.Add(key, std::move(made->input), std::move(second),
                   StdioRelay::Direction::kIntoSandbox, 0, stdio.resumable());
    env_.relay.Add(key, std::move(made->output), std::move(host),
                   StdioRelay::Direction::kOutOfSandbox, 1, stdio.resumable());
    return true;
  }
  if (stdio.has_stdin_fd()) {
    auto ends = pipe::CreatePipe(vfs, *caller_, 0);
    if (!ends.ok()) return failed("making a pipe", ends.error());
    CHECK(install(ends->read));
    env_.relay.Add(key, MakeFileEnd(ends->write), TakeFd(fds, true, stdio.stdin_fd()),
                   StdioRelay::Direction::kIntoSandbox, 0, stdio.resumable());
  } else {
    auto null = vfs.Open(*caller_, "/dev/null", {}, {O_RDONLY, 0});
    if (!null.ok()) return failed("opening the container's /dev/null", null.error());
    CHECK(install(*null));
  }
  for (int stream : {1, 2}) {
    bool given = stream == 1 ? stdio.has_stdout_fd() : stdio.has_stderr_fd();
    auto ends = pipe::CreatePipe(vfs, *caller_, 0);
    if (!ends.ok()) return failed("making a pipe", ends.error());
    CHECK(install(ends->write));
    env_.relay.Add(key, MakeFileEnd(ends->read),
                   TakeFd(fds, given, stream == 1 ? stdio.stdout_fd() : stdio.stderr_fd()),
                   StdioRelay::Direction::kOutOfSandbox, stream, stdio.resumable());
  }
  return true;
}

std::optional<int32_t> Container::Start(Failure* failure) {
  if (started_) {
    *failure = {control::Status::WRONG_STATE, Errno::kEBUSY,
                StrFormat("container \"%s\" was started before", id_.c_str())};
    return std::nullopt;
  }
  started_ = true;
  init_->Run();
  init_.reset();
  return processes_.at(id_).group->tgid().value;
}

bool Container::stopped() const {
  auto it = processes_.find(id_);
  return it == processes_.end() || it->second.group->exit_status().has_value();
}

std::optional<int32_t> Container::Exec(const control::ExecProcess& request, ControlServer::Fds& fds,
                                       Failure* failure) {
  if (!started_ || stopped()) {
    *failure = {control::Status::WRONG_STATE, Errno::kESRCH,
                StrFormat("container \"%s\" is not running", id_.c_str())};
    return std::nullopt;
  }
  if (request.process_id().empty() || processes_.contains(request.process_id())) {
    *failure = {control::Status::ALREADY_EXISTS, Errno::kEEXIST,
                StrFormat("container \"%s\" has a process \"%s\" already", id_.c_str(),
                          request.process_id().c_str())};
    return std::nullopt;
  }
  auto prepared = Prepare(request.process_id(), request.process(), request.stdio(), fds, failure);
  if (!prepared) return std::nullopt;
  int32_t pid = prepared->process.group->tgid().value;
  processes_.emplace(request.process_id(), std::move(prepared->process));
  prepared->started->Run();
  return pid;
}

Container::Process* Container::Find(const std::string& process_id, Failure* failure) {
  auto it = processes_.find(process_id.empty() ? id_ : process_id);
  if (it != processes_.end()) return &it->second;
  *failure = {control::Status::NOT_FOUND, Errno::kESRCH,
              StrFormat("container \"%s\" has no process \"%s\"", id_.c_str(), process_id.c_str())};
  return nullptr;
}

bool Container::Signal(const control::SignalProcess& request, Failure* failure) {
  if (request.signo() < 0 || request.signo() > signal::kSignalCount) {
    *failure = {control::Status::INVALID_ARGUMENT, Errno::kEINVAL,
                StrFormat("there is no signal %d", request.signo())};
    return false;
  }
  auto info = signal::SigInfo::User(request.signo(), SI_USER, 0, 0);
  std::vector<Ref<task::ThreadGroup>> targets;
  if (request.all() || request.pid() > 0) {
    for (const Ref<task::ThreadGroup>& group : env_.kernel.ThreadGroups()) {
      MutexLock lock(env_.kernel.tree_mutex());
      int32_t pid = group->TgidIn(*pid_ns_).value;
      if (pid != 0 && (request.all() || pid == request.pid())) targets.push_back(group);
    }
  } else {
    Process* process = Find(request.process_id(), failure);
    if (process == nullptr) return false;
    if (!process->group->exit_status()) targets.push_back(process->group);
  }
  if (targets.empty()) {
    *failure = {control::Status::NOT_FOUND, Errno::kESRCH, "that process has ended"};
    return false;
  }
  for (const auto& group : targets) {
    if (request.signo() == 0) continue;
    auto sent = request.signo() == SIGKILL ? (group->Kill({0, SIGKILL, false}), Ok())
                                           : group->SendSignal(info);
    if (!sent.ok())
      LOG_WARNING("signal %d to a process of %s: %s", request.signo(), id_.c_str(),
                  ErrnoName(sent.error()));
  }
  return true;
}

bool Container::Resize(const std::string& process_id, uint32_t rows, uint32_t cols,
                       Failure* failure) {
  Process* process = Find(process_id, failure);
  if (process == nullptr) return false;
  if (!process->terminal) {
    *failure = {control::Status::WRONG_STATE, Errno::kENOTTY, "that process has no terminal"};
    return false;
  }
  ResizeContainerTerminal(*process->terminal, rows, cols);
  return true;
}

bool Container::AttachStdio(const std::string& process_id, const control::Stdio& stdio,
                            ControlServer::Fds& fds, Failure* failure) {
  Process* process = Find(process_id, failure);
  if (process == nullptr) return false;
  std::string key = ProcessKey(id_, process_id);
  using Direction = StdioRelay::Direction;
  if (process->terminal) {
    UniqueFd host = TakeFd(fds, stdio.has_terminal_fd(), stdio.terminal_fd());
    auto second = host.Dup();
    if (!second.ok()) {
      *failure = {control::Status::INVALID_ARGUMENT, second.error(),
                  "no descriptor for the terminal was given"};
      return false;
    }
    env_.relay.Resume(key, std::move(second).value(), Direction::kIntoSandbox, 0);
    env_.relay.Resume(key, std::move(host), Direction::kOutOfSandbox, 1);
    return true;
  }
  if (stdio.has_stdin_fd())
    env_.relay.Resume(key, TakeFd(fds, true, stdio.stdin_fd()), Direction::kIntoSandbox, 0);
  if (stdio.has_stdout_fd())
    env_.relay.Resume(key, TakeFd(fds, true, stdio.stdout_fd()), Direction::kOutOfSandbox, 1);
  if (stdio.has_stderr_fd())
    env_.relay.Resume(key, TakeFd(fds, true, stdio.stderr_fd()), Direction::kOutOfSandbox, 2);
  return true;
}

bool Container::CloseStdin(const std::string& process_id, Failure* failure) {
  if (Find(process_id, failure) == nullptr) return false;
  env_.relay.CloseInput(ProcessKey(id_, process_id));
  return true;
}

void Container::List(control::ListProcessesResult* out) {
  for (const Ref<task::ThreadGroup>& group : env_.kernel.ThreadGroups()) {
    Ref<task::Task> leader = group->Leader();
    control::ProcessInfo info;
    {
      MutexLock lock(env_.kernel.tree_mutex());
      int32_t pid = group->TgidIn(*pid_ns_).value;
      if (pid == 0 || !leader) continue;
      info.set_pid(pid);
      if (group->parent() != nullptr) info.set_ppid(group->parent()->TgidIn(*pid_ns_).value);
    }
    info.set_container_id(id_);
    info.set_process_id(group->process_id);
    info.set_uid(leader->credentials()->euid.value);
    info.set_state(std::string(1, leader->state_letter()));
    info.set_command(leader->comm());
    info.set_threads(group->thread_count());
    auto usage = group->SelfUsage();
    info.set_cpu_time_us(
        std::chrono::duration_cast<std::chrono::microseconds>(usage.user + usage.system).count());
    *out->add_processes() = std::move(info);
  }
}

void Container::Forget(const std::string& process_id) {
  if (process_id.empty() || process_id == id_) return;
  processes_.erase(process_id);
  env_.relay.Remove(ProcessKey(id_, process_id));
}

void Container::KillAll() {
  // Their pid namespace's init takes the others with it.
  std::vector<Ref<task::ThreadGroup>> left;
  for (const Ref<task::ThreadGroup>& group : env_.kernel.ThreadGroups()) {
    MutexLock lock(env_.kernel.tree_mutex());
    if (group->TgidIn(*pid_ns_).value != 0) left.push_back(group);
  }
  for (const auto& group : left) group->Kill({0, SIGKILL, false});
  for (const auto& group : left) ExitWaiter().Wait(*group);
}

}  // namespace sandboxd::boot
