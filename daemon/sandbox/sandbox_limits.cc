// Pause, limits and figures of a sandbox.
#include <google/protobuf/util/time_util.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>

#include "daemon/sandbox/sandbox_internal.h"
#include "daemon/spawn/process_usage.h"

namespace sandboxd::daemon {
namespace {

using google::protobuf::util::TimeUtil;

constexpr char kResources[] = "resources";

bool HasLimits(const v1::Resources& resources) { return resources.ByteSizeLong() > 0; }

// Copies the fields of `from` that the mask names; with "resources" alone, all of them.
Outcome<v1::Resources> Masked(const v1::Resources& now, const v1::UpdateSandboxRequest& request) {
  v1::Resources next = now;
  const auto* reflection = next.GetReflection();
  const auto* descriptor = next.GetDescriptor();
  std::vector<FieldViolation> unknown;
  for (const std::string& path : request.update_mask().paths()) {
    if (path == kResources) next = request.resources();
    const std::string prefix = std::string(kResources) + ".";
    if (path.rfind(prefix, 0) != 0) continue;
    const auto* field = descriptor->FindFieldByName(path.substr(prefix.size()));
    if (field == nullptr) {
      unknown.push_back({"update_mask", "there is no field " + path});
      continue;
    }
    v1::Resources one = request.resources();
    reflection->ClearField(&next, field);
    for (int i = 0; i < descriptor->field_count(); ++i) {
      if (descriptor->field(i) != field) reflection->ClearField(&one, descriptor->field(i));
    }
    next.MergeFrom(one);
  }
  if (!unknown.empty()) return Error::Fields(std::move(unknown));
  return next;
}

Outcome<void> CheckMask(const google::protobuf::FieldMask& mask) {
  std::vector<FieldViolation> wrong;
  for (const std::string& path : mask.paths()) {
    if (path != "labels" && path != "annotations" && path.rfind(kResources, 0) != 0) {
      wrong.push_back({"update_mask", "\"" + path + "\" can't be changed"});
    }
  }
  if (mask.paths().empty()) wrong.push_back({"update_mask", "must name what is to be changed"});
  if (!wrong.empty()) return Error::Fields(std::move(wrong));
  return {};
}

bool Names(const google::protobuf::FieldMask& mask, const std::string& path) {
  return std::find(mask.paths().begin(), mask.paths().end(), path) != mask.paths().end();
}

}  // namespace

Outcome<void> Sandbox::PrepareCgroup(const ResolvedContainer& container) {
  TRY(ValidateResources(container.resources));
  const bool limits = HasLimits(container.resources);
  std::string path = container.cgroups_path;
  if (path.empty() && limits) path = "/sandboxd/" + id_;
  if (path.empty()) return {};
  if (!container.cgroups_path.empty() && caller_.uid != ::geteuid()) {
    return Error(v1::ERROR_REASON_POLICY_DENIED,
                 "cgroups_path: the place of a cgroup is root's to choose");
  }
  auto made = Cgroup::Create(env_.cgroups, path);
  if (!made.ok()) {
    if (limits) return made.error();
    MutexLock lock(mutex_);
    view_.add_warnings("linux.cgroupsPath: the sandbox is in no cgroup: " + made.error().message());
    return {};
  }
  {
    MutexLock lock(mutex_);
    cgroup_ = *made;
    for (const std::string& folder : made->folders()) view_.add_cgroup_folders(folder);
    *view_.mutable_resources() = container.resources;
  }
  TRY(Save(Durability::kProcessCrash));
  return made->Apply(container.resources);
}

Outcome<void> Sandbox::PutIntoCgroup(const ProcessIdentity& identity) {
  Cgroup cgroup;
  {
    MutexLock lock(mutex_);
    cgroup = cgroup_;
  }
  return cgroup.valid() ? cgroup.Add(identity.pid) : Outcome<void>();
}

Outcome<void> Sandbox::SendTaskLimit(CallContext& context, const v1::Resources& resources) {
  control::Request request;
  request.mutable_set_limits()->set_tasks(resources.pids_limit());
  TRY(TRY(Channel())->Call(context, std::move(request)));
  return {};
}

void Sandbox::RemoveCgroup() {
  Cgroup cgroup;
  {
    MutexLock lock(mutex_);
    cgroup = std::move(cgroup_);
    cgroup_ = Cgroup();
  }
  cgroup.Remove();
}

void Sandbox::NoteOutOfMemory(v1::ExitStatus* exit) const {
  if (exit->signal() != SIGKILL) return;
  Cgroup cgroup;
  {
    MutexLock lock(mutex_);
    cgroup = cgroup_;
  }
  if (cgroup.valid() && cgroup.OomKills() > 0) exit->set_oom_killed(true);
}

Outcome<void> Sandbox::SetFrozen(CallContext& context, bool frozen) {
  control::Request request;
  request.mutable_freeze()->set_frozen(frozen);
  TRY(TRY(Channel())->Call(context, std::move(request)));
  return {};
}

Outcome<void> Sandbox::Pause(CallContext& context) {
  auto operation = TRY(Begin(context));
  {
    MutexLock lock(mutex_);
    if (view_.state() != v1::Sandbox::STATE_RUNNING) {
      return WrongState("only a running sandbox can be paused");
    }
  }
  auto frozen = SetFrozen(context, true);
  if (!frozen.ok()) {
    // Perhaps it has stopped, and only the answer was not waited for.
    CallContext undo(CallContext::Clock::now() + std::chrono::seconds(5));
    (void)SetFrozen(undo, false);
    return frozen.error();
  }
  {
    MutexLock lock(mutex_);
    if (view_.state() != v1::Sandbox::STATE_RUNNING) return WrongState("it ended meanwhile");
    view_.set_state(v1::Sandbox::STATE_PAUSED);
    Emit(v1::SandboxEvent::TYPE_PAUSED);
  }
  // A daemon that dies before this is on disk finds a sandbox that stands still and is not known
  // to: the next Pause does it again, and Resume follows.
  return Save(Durability::kProcessCrash);
}

Outcome<void> Sandbox::Resume(CallContext& context) {
  auto operation = TRY(Begin(context));
  {
    MutexLock lock(mutex_);
    if (view_.state() != v1::Sandbox::STATE_PAUSED) {
      return WrongState("only a paused sandbox can be resumed");
    }
  }
  TRY(SetFrozen(context, false));
  {
    MutexLock lock(mutex_);
    if (view_.state() != v1::Sandbox::STATE_PAUSED) return {};  // it ended meanwhile
    view_.set_state(v1::Sandbox::STATE_RUNNING);
    Emit(v1::SandboxEvent::TYPE_RESUMED);
  }
  return Save(Durability::kProcessCrash);
}

Outcome<void> Sandbox::Update(CallContext& context, const v1::UpdateSandboxRequest& request) {
  TRY(CheckMask(request.update_mask()));
  auto operation = TRY(Begin(context));
  v1::Resources before, next;
  Cgroup cgroup;
  bool alive;
  {
    MutexLock lock(mutex_);
    before = view_.resources();
    cgroup = cgroup_;
    alive = static_cast<bool>(channel_);
  }
  next = TRY(Masked(before, request));
  TRY(ValidateResources(next));
  if (next.SerializeAsString() != before.SerializeAsString()) {
    if (!alive) {
      MutexLock lock(mutex_);
      return WrongState("limits of a sandbox that has ended can't be changed");
    }
    if (!cgroup.valid()) {
      return Error::Fields({{kResources,
                             "the sandbox was made without limits and without a "
                             "cgroups_path, so it is in no cgroup that could have any"}},
                           v1::ERROR_REASON_FEATURE_UNSUPPORTED);
    }
    TRY(cgroup.Apply(next, &before));
    if (next.pids_limit() != before.pids_limit()) TRY(SendTaskLimit(context, next));
  }
  {
    MutexLock lock(mutex_);
    *view_.mutable_resources() = next;
    if (Names(request.update_mask(), "labels")) *view_.mutable_labels() = request.labels();
    if (Names(request.update_mask(), "annotations")) {
      *view_.mutable_annotations() = request.annotations();
    }
    Emit(v1::SandboxEvent::TYPE_UPDATED);
  }
  return Save(Durability::kHostCrash);
}

Outcome<v1::SandboxStats> Sandbox::Stats(CallContext& context) {
  v1::SandboxStats stats;
  Cgroup cgroup;
  std::vector<pid_t> pids;
  {
    MutexLock lock(mutex_);
    if (!channel_ || !kernel_.valid()) return WrongState("it uses nothing");
    cgroup = cgroup_;
    pids.push_back(kernel_.identity().pid);
    for (const Gofer& gofer : gofers_) {
      if (gofer.process.valid()) pids.push_back(gofer.process.identity().pid);
    }
    stats.set_processes_limit(view_.resources().pids_limit());
  }
  stats.set_id(id_);
  *stats.mutable_time() = TimeUtil::GetCurrentTime();
  for (const v1::Process& process : TRY(ListProcesses(context))) {
    if (process.state() == v1::Process::STATE_RUNNING) {
      stats.set_processes(stats.processes() + std::max<uint32_t>(process.threads(), 1));
    }
  }
  if (cgroup.valid()) {
    cgroup.ReadStats(&stats);
    return stats;
  }
  const ProcessUsage usage = UsageOfTrees(pids);
  *stats.mutable_cpu_time() = TimeUtil::NanosecondsToDuration(usage.cpu_ns);
  stats.set_memory_bytes(usage.rss_bytes);
  return stats;
}

}  // namespace sandboxd::daemon
