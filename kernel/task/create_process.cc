// Processes that the control channel starts.
#include <linux/futex.h>
#include <sys/stat.h>

#include "kernel/loader/loader.h"
#include "kernel/task/clone.h"
#include "kernel/task/exec.h"
#include "kernel/task/seccomp.h"
#include "kernel/task/tree.h"
#include "kernel/vfs/mount.h"
#include "platform/base/check.h"
#include "platform/base/format.h"

namespace sandboxd::task {
namespace {

constexpr char kDefaultPath[] = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

// How the starting thread and the new task's thread tell each other how far they are.
class StartGate : public RefCounted {
 public:
  enum class Verdict : uint8_t { kNone, kRun, kAbandon };
  void Report(StartError error, bool ok) {
    MutexLock lock(mutex_);
    error_ = std::move(error);
    ok_ = ok;
    reported_ = true;
    changed_.NotifyAll();
  }
  bool WaitForReport(StartError* error) {
    MutexLock lock(mutex_);
    while (!reported_) changed_.Wait(mutex_);
    if (!ok_) *error = error_;
    return ok_;
  }
  void Decide(Verdict verdict) {
    MutexLock lock(mutex_);
    if (verdict_ == Verdict::kNone) verdict_ = verdict;
    changed_.NotifyAll();
  }
  Verdict WaitForVerdict() {
    MutexLock lock(mutex_);
    while (verdict_ == Verdict::kNone) changed_.Wait(mutex_);
    return verdict_;
  }

 private:
  Mutex mutex_{LockRank::kLeaf};
  CondVar changed_;
  StartError error_ GUARDED_BY(mutex_);
  bool ok_ GUARDED_BY(mutex_) = false;
  bool reported_ GUARDED_BY(mutex_) = false;
  Verdict verdict_ GUARDED_BY(mutex_) = Verdict::kNone;
};

class Process final : public StartedProcess {
 public:
  Process(Ref<ThreadGroup> group, Ref<StartGate> gate)
      : group_(std::move(group)), gate_(std::move(gate)) {}
  ~Process() override { gate_->Decide(StartGate::Verdict::kAbandon); }
  ThreadGroup& group() override { return *group_; }
  void Run() override { gate_->Decide(StartGate::Verdict::kRun); }

 private:
  const Ref<ThreadGroup> group_;
  const Ref<StartGate> gate_;
};

std::string PathVariable(const std::vector<std::string>& envp) {
  for (const std::string& variable : envp) {
    if (variable.starts_with("PATH=")) return variable.substr(5);
  }
  return kDefaultPath;
}

// The places where a program of that name may be, in order (execvp(3)).
std::vector<std::string> Candidates(const ProcessRequest& request) {
  if (request.filename.find('/') != std::string::npos) return {request.filename};
  std::vector<std::string> places;
  std::string path = PathVariable(request.envp);
  for (size_t at = 0; at <= path.size();) {
    size_t end = std::min(path.find(':', at), path.size());
    std::string dir = path.substr(at, end - at);
    places.push_back(dir.empty() ? request.filename : dir + "/" + request.filename);
    at = end + 1;
  }
  return places;
}

std::string Explain(const ProcessRequest& request, Errno e) {
  const char* name = request.filename.c_str();
  switch (e) {
    case Errno::kENOENT:
      return request.filename.find('/') == std::string::npos
                 ? StrFormat("no such program in the root file system: %s (looked in PATH: %s)",
                             name, PathVariable(request.envp).c_str())
                 : StrFormat(
                       "no such program in the root file system: %s, or the interpreter it "
                       "names is missing",
                       name);
    case Errno::kEACCES:
      return StrFormat("%s is not an executable file, or this user may not run it", name);
    case Errno::kENOEXEC:
      return StrFormat("%s is neither a script that starts with #! nor an x86-64 ELF program",
                       name);
    case Errno::kELIBBAD:
      return StrFormat("the ELF interpreter of %s is corrupt or of another architecture", name);
    case Errno::kE2BIG:
      return StrFormat("the arguments and environment of %s are too long", name);
    case Errno::kENOMEM:
      return StrFormat("not enough memory to load %s", name);
    default:
      return StrFormat("cannot run %s: %s", name, ErrnoMessage(e));
  }
}

}  // namespace

struct ProcessOps {
  // On the task's own thread: cwd, program. Nothing of the request is used up.
  static Result<void> LoadProgram(Task& task, const ProcessRequest& request, StartError* error) {
    vfs::At directory;
    directory.require_directory = true;
    auto cwd = task.kernel_.vfs().Resolve(task, request.cwd.empty() ? "/" : request.cwd, directory);
    if (!cwd.ok()) {
      *error = {cwd.error(), StrFormat("cannot use %s as the working directory: %s",
                                       request.cwd.c_str(), ErrnoMessage(cwd.error()))};
      return cwd.error();
    }
    task.fs_->set_cwd(*cwd);
    Errno worst = Errno::kENOENT;
    for (const std::string& place : Candidates(request)) {
      ExecArgs args;
      args.filename = place;
      args.argv = request.argv;
      args.envp = request.envp;
      auto loaded = LoadAndEnter(task, args);
      if (loaded.ok()) return Ok();
      // As execvp(3): look on, but remember that something was there.
      if (loaded.error() != Errno::kENOENT && loaded.error() != Errno::kENOTDIR) {
        worst = loaded.error();
        if (worst != Errno::kEACCES) break;
      }
    }
    *error = {worst, Explain(request, worst)};
    return worst;
  }

  static Ref<Task> MakeTask(Kernel& kernel, const ProcessRequest& request) {
    auto group = MakeRef<ThreadGroup>(kernel, request.pid_ns, MakeRef<SignalHandlers>());
    for (const auto& [resource, limit] : request.rlimits) group->SetRlimit(resource, limit);
    group->oom_score_adj = request.oom_score_adj;
    group->container_id = request.container_id;
    group->process_id = request.process_id;
    auto task = MakeRef<Task>(kernel, std::move(group), request.pid_ns);
    task->creds_ = request.credentials;
    task->files_ = MakeRef<Task::Files>(request.files);
    task->fs_ = MakeRef<FsContext>(request.root, request.root, request.umask);
    task->mount_ns_ = request.mounts;
    task->uts_ns_ = request.uts;
    task->no_new_privs = request.no_new_privs;
    task->set_comm(request.filename);
    if (request.seccomp != nullptr) StartWithSeccompFilter(*task, request.seccomp);
    return task;
  }

  static Result<void> Publish(Task& task, const ProcessRequest& request) {
    Kernel& kernel = task.kernel_;
    ThreadGroup& group = *task.group_;
    group.announced_ = false;
    MutexLock lock(kernel.tree_mutex());
    TRY(TreeOps::AllocateIds(task, {}));
    kernel.CountUserTask(task.creds_->ruid, 1);
    TreeOps::AddProcess(group, task, nullptr, nullptr);
    Debris debris;
    Ref<Session> session = TreeOps::NewSession(group);
    Ref<ProcessGroup> own = TreeOps::NewProcessGroup(group, session);
    if (request.terminal != nullptr) {
      session->terminal = request.terminal;
      session->foreground = own.get();
      kernel.SetSessionOfTerminal(request.terminal.get(), session.get());
    }
    TreeOps::JoinProcessGroup(group, std::move(own), debris);
    return Ok();
  }

  static std::unique_ptr<StartedProcess> Create(Kernel& kernel, ProcessRequest request,
                                                StartError* error) {
    Ref<Task> task = MakeTask(kernel, request);
    Ref<ThreadGroup> group = task->group_ref();
    if (auto published = Publish(*task, request); !published.ok()) {
      task->DropFiles();
      *error = {published.error(),
                published.error() == Errno::kENOMEM
                    ? "the container's first process has ended: nothing can be started in it"
                    : "no process id is free"};
      return nullptr;
    }
    auto gate = MakeRef<StartGate>();
    auto started = task->StartThread([gate, request = std::move(request)](Task& t) {
      StartError problem;
      bool ok = LoadProgram(t, request, &problem).ok();
      gate->Report(std::move(problem), ok);
      if (!ok || gate->WaitForVerdict() != StartGate::Verdict::kRun) return false;
      t.group_->announced_ = true;
      return true;
    });
    if (!started.ok()) {
      task->Exit();
      *error = {started.error(), "no thread for the process"};
      return nullptr;
    }
    if (!gate->WaitForReport(error)) return nullptr;
    return std::make_unique<Process>(std::move(group), std::move(gate));
  }
};

std::unique_ptr<StartedProcess> CreateProcess(Kernel& kernel, ProcessRequest request,
                                              StartError* error) {
  return ProcessOps::Create(kernel, std::move(request), error);
}

}  // namespace sandboxd::task
