// Going on with a sandbox that an earlier daemon made.
#include "daemon/log/log.h"
#include "daemon/sandbox/sandbox_internal.h"

namespace sandboxd::daemon {
namespace {
constexpr auto kAdoptTimeout = std::chrono::seconds(10);

ProcessIdentity IdentityOf(const state::HostProcess& process) {
  return {process.pid(), process.start_ticks()};
}
}  // namespace

Sandbox::Sandbox(Environment& env, const state::SandboxRecord& record)
    : env_(env),
      id_(record.sandbox().id()),
      caller_{record.sandbox().owner().uid(), record.sandbox().owner().gid(),
              record.sandbox().owner().pid()} {
  MutexLock lock(mutex_);
  view_ = record.sandbox();
  init_spec_ = record.init_spec();
  if (record.processes_size() > 0) container_ = record.processes(0).process().container();
  for (const state::ProcessRecord& p : record.processes()) {
    Entry entry;
    entry.info = p.process();
    entry.logged = p.drained();
    entry.stored = p.process().has_exit();
    entries_[entry.info.id()] = std::move(entry);
    entry_order_.push_back(p.process().id());
  }
  *view_.mutable_resources() = record.resources();
  if (record.boot_id() != BootId()) return;
  cgroup_ =
      Cgroup::Adopt(env.cgroups, {view_.cgroup_folders().begin(), view_.cgroup_folders().end()},
                    {record.cgroups_made().begin(), record.cgroups_made().end()});
  if (auto kernel = ProcessHandle::Adopt(IdentityOf(record.kernel()))) kernel_ = std::move(*kernel);
  for (const state::HostProcess& g : record.gofers()) {
    if (auto gofer = ProcessHandle::Adopt(IdentityOf(g)))
      gofers_.push_back({std::move(*gofer), false});
  }
}

bool Sandbox::Adopt() {
  bool half_made;
  bool has_kernel;
  {
    MutexLock lock(mutex_);
    half_made = view_.state() == v1::Sandbox::STATE_CREATING ||
                view_.state() == v1::Sandbox::STATE_DELETING || entries_.empty();
    has_kernel = kernel_.valid();
  }
  if (half_made) {
    KillEverything();
    RemoveCgroup();
    if (auto removed = env_.store.Remove(id_); !removed.ok()) {
      DAEMON_LOG(kError) << "sandbox " << id_ << ": " << removed.error().message();
    }
    return false;
  }
  if (!has_kernel) {
    AdoptDead("ended while sandboxd was not running");
    return true;
  }
  if (auto adopted = AdoptKernel(); !adopted.ok()) {
    bool ended;
    {
      MutexLock lock(mutex_);
      ended = kernel_.Ended();
    }
    if (ended) {
      AdoptDead("ended while sandboxd was not running");
      return true;
    }
    DAEMON_LOG(kError) << "sandbox " << id_
                       << " could not be taken over: " << adopted.error().message();
    AdoptDead("was killed because a restarted sandboxd could not take it over: " +
              adopted.error().message());
    return true;
  }
  Supervise();
  SaveSoon();
  return true;
}

// Its processes are gone, or are ended here; what is known of them is kept.
void Sandbox::AdoptDead(const std::string& why) {
  Ref<ControlChannel> channel;
  {
    MutexLock lock(mutex_);
    channel = std::move(channel_);
    kernel_.KillAndReap();
    kernel_ = ProcessHandle();
    for (Gofer& gofer : gofers_) gofer.process.KillAndReap();
    gofers_.clear();
    view_.set_host_pid(0);
  }
  if (channel) channel->Close();
  env_.loop.PostAndWait([&] {
    std::vector<std::pair<Ref<ProcessStreams>, v1::ExitStatus>> exited;
    std::vector<Ref<ProcessStreams>> reopened;  // by an AdoptKernel that failed
    {
      MutexLock lock(mutex_);
      for (auto& [name, entry] : entries_) {
        if (entry.streams) {
          reopened.push_back(entry.streams);
        } else {
          entry.streams = ProcessStreams::CreateEnded(env_.loop, StreamOptions(entry));
        }
        if (entry.info.has_exit()) exited.emplace_back(entry.streams, entry.info.exit());
      }
    }
    // What is still in their FIFOs goes into the log, and followers see the end of it.
    for (auto& streams : reopened) streams->Start();
    for (auto& [streams, exit] : exited) streams->SetExit(exit);
    KernelGone(why);
  });
}

ProcessStreams::Options Sandbox::StreamOptions(const Entry& entry) const {
  return {env_.store.FolderPath(id_) + "/io", entry.info.id(), entry.info.stdio(),
          entry.info.terminal()};
}

// Takes the FIFOs up where they are. A terminal gets a new socket, which the kernel process is to
// be told of.
Outcome<void> Sandbox::ReopenStreams(std::map<std::string, UniqueFd>* terminals) {
  MutexLock lock(mutex_);
  for (auto& [name, entry] : entries_) {
    ProcessStreams::KernelEnds ends;
    entry.streams = TRY(ProcessStreams::Create(env_.loop, StreamOptions(entry), true, &ends));
    if (ends.terminal.valid()) terminals->emplace(name, std::move(ends.terminal));
  }
  return {};
}

Outcome<void> Sandbox::AdoptKernel() {
  CallContext context(CallContext::Clock::now() + kAdoptTimeout);
  std::map<std::string, UniqueFd> terminals;
  TRY(ReopenStreams(&terminals));
  UniqueFd folder = TRY(env_.store.OpenFolder(id_));
  UniqueFd socket = TRY(ConnectControlSocket(folder.get()));
  Ref<ControlChannel> channel = StartChannel(std::move(socket));
  control::Request hello;
  hello.mutable_hello()->set_version(1);
  const auto greeted = TRY(channel->Call(context, std::move(hello)));
  control::Request list;
  list.mutable_list_processes()->set_container_id(Snapshot().containers(0).name());
  const auto listed = TRY(channel->Call(context, std::move(list)));
  Reconcile(greeted.hello(), listed.list_processes());

  for (auto& [name, socket_end] : terminals) {
    control::Request attach;
    attach.mutable_attach_stdio()->set_container_id(Snapshot().containers(0).name());
    attach.mutable_attach_stdio()->set_process_id(name);
    attach.mutable_attach_stdio()->mutable_stdio()->set_terminal_fd(0);
    attach.mutable_attach_stdio()->mutable_stdio()->set_resumable(true);
    std::vector<UniqueFd> fds;
    fds.push_back(std::move(socket_end));
    // A process that has exited has no terminal any more.
    (void)channel->Call(context, std::move(attach), std::move(fds));
  }
  return {};
}

// What the kernel process says is the truth; the last steps of the daemon that died may not have
// been recorded.
void Sandbox::Reconcile(const control::HelloResult& hello,
                        const control::ListProcessesResult& list) {
  std::map<std::string, v1::ExitStatus> exited;
  std::map<std::string, v1::Process> live;
  for (const control::ProcessInfo& info : hello.exited()) {
    exited[info.process_id()] = ToExit(info.exit());
  }
  for (const control::ProcessInfo& info : list.processes()) {
    if (!info.has_exit() && !info.process_id().empty()) {
      live[info.process_id()] = ToProcess(info, id_);
    }
  }
  std::vector<Ref<ProcessStreams>> forgotten;  // by the kernel process, which has delivered all
  std::vector<Ref<ProcessStreams>> all;
  std::vector<std::pair<Ref<ProcessStreams>, v1::ExitStatus>> known;
  {
    MutexLock lock(mutex_);
    for (auto it = entries_.begin(); it != entries_.end();) {
      Entry& entry = it->second;
      const bool is_live = live.count(it->first) != 0;
      const bool was_created = entry.info.state() == v1::Process::STATE_CREATED;
      if (was_created && (is_live || exited.count(it->first) != 0)) {
        entry.info.set_state(v1::Process::STATE_RUNNING);
        if (is_live) entry.info.set_pid(live[it->first].pid());
        if (it->first == container_ && view_.state() == v1::Sandbox::STATE_CREATED) {
          view_.set_state(v1::Sandbox::STATE_RUNNING);
        }
      } else if (was_created && it->first != container_) {
        std::erase(entry_order_, it->first);
        it = entries_.erase(it);
        continue;
      }
      all.push_back(entry.streams);
      if (entry.info.has_exit()) known.emplace_back(entry.streams, entry.info.exit());
      if (entry.info.has_exit() && exited.count(it->first) == 0) {
        entry.acknowledged = entry.logged = true;
        forgotten.push_back(entry.streams);
      }
      ++it;
    }
  }
  env_.loop.PostAndWait([&] {
    for (auto& [streams, exit] : known) streams->SetExit(exit);
    for (auto& streams : all) streams->Start();
    for (auto& streams : forgotten) streams->ProducerDone(nullptr);
    for (auto& [name, exit] : exited) ProcessExited(name, exit);
  });
}

}  // namespace sandboxd::daemon
