#include "daemon/sandbox/sandbox.h"

#include <google/protobuf/util/message_differencer.h>
#include <google/protobuf/util/time_util.h>

#include "daemon/log/log.h"
#include "daemon/sandbox/sandbox_internal.h"

namespace sandboxd::daemon {

using google::protobuf::util::TimeUtil;

Sandbox::Sandbox(Environment& env, const v1::CreateSandboxRequest& request, std::string id,
                 const Caller& caller)
    : env_(env), id_(std::move(id)), caller_(caller) {
  MutexLock lock(mutex_);
  busy_ = true;
  view_.set_id(id_);
  view_.set_state(v1::Sandbox::STATE_CREATING);
  *view_.mutable_labels() = request.labels();
  *view_.mutable_annotations() = request.annotations();
  *view_.mutable_spec() = request.spec();
  view_.mutable_owner()->set_uid(caller.uid);
  view_.mutable_owner()->set_gid(caller.gid);
  view_.mutable_owner()->set_pid(caller.pid);
  *view_.mutable_create_time() = TimeUtil::GetCurrentTime();
}

Sandbox::~Sandbox() = default;

Outcome<std::unique_ptr<Sandbox::Operation>> Sandbox::Begin(CallContext& context) {
  Ref<Sandbox> self(this);
  const auto on_cancel = context.OnCancel([self] {
    MutexLock lock(self->mutex_);
    self->idle_.NotifyAll();
  });
  bool mine = false;
  bool gone = false;
  for (;;) {
    const bool stop = !context.Check().ok();
    MutexLock lock(mutex_);
    gone = gone_;
    if (stop || gone) break;
    if (!busy_) {
      busy_ = mine = true;
      break;
    }
    const auto left = context.deadline() - CallContext::Clock::now();
    idle_.WaitFor(mutex_, std::min<Nanos>(left, std::chrono::hours(1)));
  }
  context.RemoveOnCancel(on_cancel);
  if (mine) return std::make_unique<Operation>(*this);
  if (gone) {
    return Error(v1::ERROR_REASON_SANDBOX_NOT_FOUND, "there is no sandbox " + id_)
        .With("sandbox_id", id_);
  }
  return context.StopError();
}

Outcome<void> Sandbox::WaitPrepared(CallContext& context) {
  auto operation = Begin(context);
  return operation.ok() ? Outcome<void>() : operation.error();
}

Error Sandbox::WrongState(const std::string& what) const {
  constexpr size_t kPrefix = sizeof("STATE_") - 1;
  std::string state = v1::Sandbox::State_Name(view_.state()).substr(kPrefix);
  std::transform(state.begin(), state.end(), state.begin(), ::tolower);
  std::string message = "sandbox " + id_ + " is " + state + ": " + what;
  if (view_.state() == v1::Sandbox::STATE_STOPPED && !view_.state_message().empty()) {
    message += " (" + view_.state_message() + ")";
  }
  return Error(v1::ERROR_REASON_WRONG_STATE, message).With("state", state).With("sandbox_id", id_);
}

Outcome<Ref<ControlChannel>> Sandbox::Channel() const {
  MutexLock lock(mutex_);
  if (channel_) return channel_;
  return Error(v1::ERROR_REASON_KERNEL_LOST, "the application kernel of " + id_ + " is gone");
}

Ref<ControlChannel> Sandbox::StartChannel(UniqueFd socket) {
  ControlChannel::Handlers handlers;
  handlers.on_event = [self = Ref<Sandbox>(this)](const control::Event& e) { self->OnEvent(e); };
  handlers.on_lost = [self = Ref<Sandbox>(this)](const std::string& why) {
    self->OnChannelLost(why);
  };
  auto channel = ControlChannel::Start(env_.loop, std::move(socket), std::move(handlers));
  MutexLock lock(mutex_);
  channel_ = channel;
  return channel;
}

Outcome<void> Sandbox::Start(CallContext& context) {
  auto operation = TRY(Begin(context));
  std::string container;
  {
    MutexLock lock(mutex_);
    if (view_.state() != v1::Sandbox::STATE_CREATED) {
      return WrongState(view_.state() == v1::Sandbox::STATE_STOPPED
                            ? "a sandbox is started once; create another one"
                            : "it has been started before");
    }
    container = container_;
  }
  control::Request request;
  request.mutable_start_container()->set_container_id(container);
  const auto response = TRY(TRY(Channel())->Call(context, std::move(request)));
  {
    MutexLock lock(mutex_);
    // The program may have ended already.
    if (view_.state() == v1::Sandbox::STATE_CREATED) {
      view_.set_state(v1::Sandbox::STATE_RUNNING);
    }
    const bool announced = view_.has_start_time();  // by its end, which came first
    if (!announced) *view_.mutable_start_time() = TimeUtil::GetCurrentTime();
    Entry& init = entries_[container];
    init.info.set_pid(response.start_container().pid());
    *init.info.mutable_start_time() = view_.start_time();
    if (init.info.state() == v1::Process::STATE_CREATED) {
      init.info.set_state(v1::Process::STATE_RUNNING);
    }
    if (!announced) Emit(v1::SandboxEvent::TYPE_STARTED);
  }
  // The program runs whether or not this can be written; a later Save tries again.
  if (auto saved = Save(Durability::kProcessCrash); !saved.ok()) {
    SaveSoon();
  } else {
    SaveLater();
  }
  return {};
}

Outcome<void> Sandbox::Signal(CallContext& context, control::SignalProcess request) {
  {
    MutexLock lock(mutex_);
    if (view_.state() != v1::Sandbox::STATE_RUNNING && view_.state() != v1::Sandbox::STATE_PAUSED) {
      return WrongState("only a running sandbox takes signals");
    }
    request.set_container_id(container_);
    if (!request.process_id().empty()) {
      auto it = entries_.find(request.process_id());
      if (it == entries_.end()) {
        return Error(v1::ERROR_REASON_PROCESS_NOT_FOUND,
                     "sandbox " + id_ + " has no process " + request.process_id());
      }
      if (it->second.info.state() == v1::Process::STATE_EXITED) {
        return Error(v1::ERROR_REASON_WRONG_STATE,
                     "process " + request.process_id() + " has exited");
      }
    }
  }
  control::Request r;
  *r.mutable_signal_process() = std::move(request);
  TRY(TRY(Channel())->Call(context, std::move(r)));
  return {};
}

Outcome<void> Sandbox::Delete(CallContext& context, bool force) {
  auto operation = TRY(Begin(context));
  v1::Sandbox::State before;
  {
    MutexLock lock(mutex_);
    before = view_.state();
    if (!force && (before == v1::Sandbox::STATE_RUNNING || before == v1::Sandbox::STATE_PAUSED)) {
      return WrongState("delete it with force, or stop it first");
    }
    view_.set_state(v1::Sandbox::STATE_DELETING);
    kernel_expected_to_end_ = true;
  }
  KillEverything();
  RemoveCgroup();
  Outcome<void> removed;
  {
    MutexLock save_lock(save_mutex_);  // a Save that began before ends before
    removed = env_.store.Remove(id_);
  }
  if (!removed.ok()) {
    MutexLock lock(mutex_);
    view_.set_state(v1::Sandbox::STATE_STOPPED);
    view_.set_state_message("it could not be deleted: " + removed.error().message());
    return removed.error();
  }
  std::vector<Waiter> waiters;
  {
    MutexLock lock(mutex_);
    gone_ = true;
    view_.set_state(before);
    Emit(v1::SandboxEvent::TYPE_DELETED);
    for (auto& [id, waiter] : waiters_) waiters.push_back(std::move(waiter));
    waiters_.clear();
  }
  for (const Waiter& waiter : waiters) {
    waiter.callback(Error(v1::ERROR_REASON_SANDBOX_NOT_FOUND, "sandbox " + id_ + " was deleted"));
  }
  return {};
}

void Sandbox::KillEverything() {
  Ref<ControlChannel> channel;
  ProcessHandle kernel;
  std::vector<Gofer> gofers;
  // Whether anything was alive, and where to take it out of the loop, is decided there: handlers
  // run on that thread only.
  env_.loop.PostAndWait([&] {
    std::vector<Ref<ProcessStreams>> streams;
    std::vector<std::string> running;
    {
      MutexLock lock(mutex_);
      channel = std::move(channel_);
      kernel = std::move(kernel_);
      gofers = std::move(gofers_);
      gofers_.clear();
      if (kernel_watched_) env_.loop.Remove(kernel.pidfd());
      kernel_watched_ = false;
      for (Gofer& gofer : gofers) {
        if (gofer.watched) env_.loop.Remove(gofer.process.pidfd());
      }
      for (auto& [name, entry] : entries_) {
        if (entry.info.state() != v1::Process::STATE_EXITED) running.push_back(name);
        if (entry.streams) streams.push_back(entry.streams);
      }
    }
    kernel.Signal(9);
    if (channel) channel->Close();
    v1::ExitStatus killed;
    killed.set_signal(9);
    killed.set_message("the sandbox was deleted");
    for (const std::string& name : running) ProcessExited(name, killed);
    const Error why = Error(v1::ERROR_REASON_SANDBOX_NOT_FOUND, "sandbox " + id_ + " was deleted");
    for (auto& s : streams) s->ProducerDone(nullptr);
    for (auto& s : streams) s->Shutdown(why, false);
  });
  kernel.KillAndReap();
  for (Gofer& gofer : gofers) gofer.process.KillAndReap();
}

v1::Sandbox Sandbox::SnapshotLocked() const {
  v1::Sandbox out = view_;
  if (container_.empty()) return out;
  v1::Container& container = *out.add_containers();
  container.set_name(container_);
  container.set_state(
      static_cast<v1::ContainerState>(std::min<int>(view_.state(), v1::CONTAINER_STATE_STOPPED)));
  if (auto it = entries_.find(container_); it != entries_.end()) {
    *container.mutable_init() = it->second.info;
  }
  return out;
}

v1::Sandbox Sandbox::Snapshot() const {
  MutexLock lock(mutex_);
  return SnapshotLocked();
}

std::string Sandbox::DifferenceFrom(const v1::CreateSandboxRequest& request) const {
  v1::CreateSandboxRequest mine;
  {
    MutexLock lock(mutex_);
    mine.set_id(request.id());
    *mine.mutable_spec() = view_.spec();
    *mine.mutable_labels() = view_.labels();
    *mine.mutable_annotations() = view_.annotations();
  }
  google::protobuf::util::MessageDifferencer differencer;
  std::string report;
  differencer.ReportDifferencesToString(&report);
  if (differencer.Compare(mine, request)) return "";
  // "modified: spec.platform: "a" -> "b"\n…"
  const size_t begin = report.find(": ");
  const size_t end = report.find(": ", begin + 2);
  return begin == std::string::npos ? "spec" : report.substr(begin + 2, end - begin - 2);
}

Outcome<std::string> Sandbox::ResolveRef(const v1::ProcessRef& ref) const {
  if (!ref.container().empty() && ref.container() != container_) {
    return Error(v1::ERROR_REASON_CONTAINER_NOT_FOUND,
                 "sandbox " + id_ + " has no container " + ref.container());
  }
  const std::string name = ref.process_id().empty() ? container_ : ref.process_id();
  if (entries_.count(name) == 0) {
    return Error(v1::ERROR_REASON_PROCESS_NOT_FOUND, "sandbox " + id_ + " has no process " + name)
        .With("process_id", name);
  }
  return name;
}

Outcome<Sandbox::Target> Sandbox::Find(const v1::ProcessRef& ref) const {
  MutexLock lock(mutex_);
  const Entry& entry = entries_.at(TRY(ResolveRef(ref)));
  return Target{entry.info, entry.streams};
}

Sandbox::WaiterId Sandbox::WaitExit(const v1::ProcessRef& ref, ExitCallback callback) {
  Outcome<v1::WaitProcessResponse> now = v1::WaitProcessResponse();
  bool init = false;
  {
    MutexLock lock(mutex_);
    auto name = ResolveRef(ref);
    if (!name.ok()) {
      now = name.error();
    } else {
      Entry& entry = entries_.at(*name);
      if (entry.info.state() != v1::Process::STATE_EXITED) {
        waiters_[next_waiter_] = {*name, std::move(callback)};
        return next_waiter_++;
      }
      entry.waited = true;
      init = *name == container_;
      if (init) exit_reported_ = true;
      *now->mutable_exit() = entry.info.exit();
      *now->mutable_exit_time() = entry.info.exit_time();
    }
  }
  callback(now);
  if (init) env_.loop.Post([self = Ref<Sandbox>(this)] { self->MaybeAutoDelete(); });
  return 0;
}

bool Sandbox::RemoveWaiter(WaiterId id) {
  MutexLock lock(mutex_);
  return waiters_.erase(id) != 0;
}

void Sandbox::Emit(v1::SandboxEvent::Type type, const v1::Process* process) {
  view_.set_revision(view_.revision() + 1);
  v1::SandboxEvent event;
  event.set_type(type);
  *event.mutable_sandbox() = SnapshotLocked();
  if (process != nullptr) *event.mutable_process() = *process;
  env_.events.Append(std::move(event));
}

}  // namespace sandboxd::daemon
