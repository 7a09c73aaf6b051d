// Processes that are added to a running sandbox.
#include <google/protobuf/util/time_util.h>

#include "daemon/sandbox/sandbox_internal.h"

namespace sandboxd::daemon {

using google::protobuf::util::TimeUtil;

Outcome<v1::Process> Sandbox::Exec(CallContext& context, const v1::ExecRequest& request) {
  TRY(ValidateExec(request));
  auto operation = TRY(Begin(context));
  Entry entry;
  v1::ProcessSpec spec;
  ProcessStreams::Options options;
  {
    MutexLock lock(mutex_);
    if (!request.container().empty() && request.container() != container_) {
      return Error(v1::ERROR_REASON_CONTAINER_NOT_FOUND,
                   "sandbox " + id_ + " has no container " + request.container());
    }
    if (view_.state() != v1::Sandbox::STATE_RUNNING) {
      return WrongState("processes can be added to a running sandbox only");
    }
    std::string process_id = request.process_id();
    while (process_id.empty() || (request.process_id().empty() && entries_.count(process_id))) {
      process_id = "exec-" + std::to_string(next_exec_++);
    }
    if (entries_.count(process_id) != 0) {
      return Error(v1::ERROR_REASON_PROCESS_ALREADY_EXISTS,
                   "sandbox " + id_ + " has a process " + process_id);
    }
    spec = CompleteExec(request, init_spec_);
    entry.info.set_sandbox_id(id_);
    entry.info.set_container(container_);
    entry.info.set_id(process_id);
    entry.info.set_state(v1::Process::STATE_CREATED);
    entry.info.set_terminal(spec.terminal());
    *entry.info.mutable_stdio() = EffectiveStdio(request.stdio(), spec.terminal());
  }
  const std::string process_id = entry.info.id();
  options = {env_.store.FolderPath(id_) + "/io", process_id, entry.info.stdio(), spec.terminal()};
  ProcessStreams::KernelEnds ends;
  entry.streams = TRY(ProcessStreams::Create(env_.loop, options, false, &ends));
  {
    MutexLock lock(mutex_);
    entries_[process_id] = entry;
    entry_order_.push_back(process_id);
  }
  auto run = [&]() -> Outcome<int32_t> {
    // Recorded first: a daemon that dies now leaves a process that the next one knows.
    TRY(Save(Durability::kProcessCrash));
    control::Request r;
    control::ExecProcess& exec = *r.mutable_exec_process();
    exec.set_container_id(entry.info.container());
    exec.set_process_id(process_id);
    *exec.mutable_process() = ToControl(spec);
    std::vector<UniqueFd> fds;
    FillStdio(ends, *exec.mutable_stdio(), fds);
    const auto response = TRY(TRY(Channel())->Call(context, std::move(r), std::move(fds)));
    return response.exec_process().pid();
  };
  auto pid = run();
  if (!pid.ok()) {
    // Perhaps the kernel process has started it and only its answer was not waited for.
    SignalSoon(entry.info, 9);
    {
      MutexLock lock(mutex_);
      entries_.erase(process_id);
      std::erase(entry_order_, process_id);
    }
    env_.loop.PostAndWait([&] { entry.streams->Shutdown(pid.error(), true); });
    SaveSoon();
    return pid.error();
  }
  env_.loop.Post([streams = entry.streams] { streams->Start(); });
  v1::Process process;
  {
    MutexLock lock(mutex_);
    Entry& kept = entries_[process_id];
    kept.info.set_pid(*pid);
    *kept.info.mutable_start_time() = TimeUtil::GetCurrentTime();
    if (kept.info.state() == v1::Process::STATE_CREATED) {
      kept.info.set_state(v1::Process::STATE_RUNNING);
    }
    process = kept.info;
    Emit(v1::SandboxEvent::TYPE_PROCESS_STARTED, &process);
  }
  SaveSoon();
  return process;
}

Outcome<std::vector<v1::Process>> Sandbox::ListProcesses(CallContext& context) {
  std::vector<v1::Process> out;
  bool alive;
  std::string container;
  {
    MutexLock lock(mutex_);
    alive =
        view_.state() == v1::Sandbox::STATE_RUNNING || view_.state() == v1::Sandbox::STATE_PAUSED;
    container = container_;
    for (const std::string& name : entry_order_) {
      const Entry& entry = entries_.at(name);
      if (!alive || entry.info.state() != v1::Process::STATE_RUNNING) out.push_back(entry.info);
    }
  }
  if (!alive) return out;
  control::Request request;
  request.mutable_list_processes()->set_container_id(container);
  const auto response = TRY(TRY(Channel())->Call(context, std::move(request)));
  MutexLock lock(mutex_);
  std::vector<v1::Process> live;
  for (const control::ProcessInfo& info : response.list_processes().processes()) {
    if (info.has_exit()) continue;
    v1::Process process = ToProcess(info, id_);
    if (auto it = entries_.find(process.id()); it != entries_.end()) {
      process.set_terminal(it->second.info.terminal());
      *process.mutable_stdio() = it->second.info.stdio();
    }
    live.push_back(std::move(process));
  }
  live.insert(live.end(), out.begin(), out.end());
  return live;
}

Outcome<void> Sandbox::DeleteProcess(CallContext& context, const v1::ProcessRef& ref,
                                     bool* existed) {
  auto operation = TRY(Begin(context));
  Entry entry;
  {
    MutexLock lock(mutex_);
    auto it = entries_.find(ref.process_id());
    *existed = it != entries_.end();
    if (!*existed) return {};
    if (it->first == container_) return WrongState("its init process is deleted with it");
    if (it->second.info.state() != v1::Process::STATE_EXITED) {
      return Error(v1::ERROR_REASON_WRONG_STATE, "process " + it->first + " is running");
    }
    entry = it->second;
    entries_.erase(it);
    std::erase(entry_order_, entry.info.id());
  }
  if (!entry.acknowledged) {
    if (auto channel = Channel(); channel.ok()) {
      control::Request r;
      r.mutable_acknowledge_exit()->set_container_id(entry.info.container());
      r.mutable_acknowledge_exit()->set_process_id(entry.info.id());
      (*channel)->CallAsync(std::move(r), {}, [](const Outcome<control::Response>&) {});
    }
  }
  env_.loop.PostAndWait([&] {
    entry.streams->Shutdown(Error(v1::ERROR_REASON_PROCESS_NOT_FOUND, "the process was deleted"),
                            true);
  });
  SaveSoon();
  return {};
}

}  // namespace sandboxd::daemon
