// What happens to a running sandbox: exits, the ends of its host processes. The loop's thread.
#include <google/protobuf/util/time_util.h>
#include <signal.h>

#include "daemon/log/log.h"
#include "daemon/sandbox/sandbox_internal.h"

namespace sandboxd::daemon {

using google::protobuf::util::TimeUtil;

namespace {
constexpr size_t kExitedKept = 256;
constexpr size_t kMaxText = 4096;
constexpr auto kEndOfPeerGrace = std::chrono::seconds(1);
}  // namespace

v1::ExitStatus ToExit(const control::Exit& exit) {
  v1::ExitStatus out;
  const bool signalled = exit.signo() >= 1 && exit.signo() <= 64;
  out.set_signal(signalled ? exit.signo() : 0);
  out.set_code(signalled ? 0 : exit.code() & 0xff);
  out.set_core_dumped(exit.core());
  out.set_oom_killed(exit.oom_killed());
  out.set_message(exit.message().substr(0, kMaxText));
  return out;
}

v1::Process ToProcess(const control::ProcessInfo& info, const std::string& sandbox_id) {
  v1::Process out;
  out.set_sandbox_id(sandbox_id);
  out.set_container(info.container_id());
  out.set_id(info.process_id());
  out.set_state(v1::Process::STATE_RUNNING);
  out.set_pid(info.pid());
  out.set_ppid(info.ppid());
  out.set_uid(info.uid());
  out.set_command(info.command().substr(0, kMaxText));
  out.set_cpu_time_us(info.cpu_time_us());
  out.set_rss_bytes(info.rss_bytes());
  out.set_threads(info.threads());
  out.set_scheduler_state(info.state().substr(0, 8));
  if (info.start_time_ns() > 0) {
    *out.mutable_start_time() = TimeUtil::NanosecondsToTimestamp(info.start_time_ns());
  }
  return out;
}

void Sandbox::OnEvent(const control::Event& event) {
  switch (event.kind_case()) {
    case control::Event::kProcessExited:
      ProcessExited(event.process_exited().process_id(), ToExit(event.process_exited().exit()));
      break;
    case control::Event::kStdioDrained:
      ProducerDone(event.stdio_drained().process_id());
      break;
    default:
      break;
  }
}

std::vector<Sandbox::Waiter> Sandbox::TakeWaiters(const std::string& process_id) {
  std::vector<Waiter> out;
  for (auto it = waiters_.begin(); it != waiters_.end();) {
    if (it->second.process_id == process_id) {
      out.push_back(std::move(it->second));
      it = waiters_.erase(it);
    } else {
      ++it;
    }
  }
  return out;
}

void Sandbox::ProcessExited(const std::string& process_id, const v1::ExitStatus& status) {
  v1::ExitStatus exit = status;
  NoteOutOfMemory(&exit);
  std::vector<Waiter> waiters;
  Ref<ProcessStreams> streams;
  v1::WaitProcessResponse response;
  {
    MutexLock lock(mutex_);
    auto it = entries_.find(process_id);
    // Unknown: an Exec that was given up. Exited: told again by Hello.
    if (it == entries_.end() || it->second.info.state() == v1::Process::STATE_EXITED) return;
    Entry& entry = it->second;
    // It was so short that its end is known before the answer to Start: events keep their order.
    const bool starting =
        process_id == container_ && !exit.kernel_lost() && !view_.has_start_time();
    if (starting && view_.state() == v1::Sandbox::STATE_CREATED) {
      *view_.mutable_start_time() = TimeUtil::GetCurrentTime();
      Emit(v1::SandboxEvent::TYPE_STARTED);
    }
    entry.info.set_state(v1::Process::STATE_EXITED);
    *entry.info.mutable_exit() = exit;
    *entry.info.mutable_exit_time() = TimeUtil::GetCurrentTime();
    streams = entry.streams;
    waiters = TakeWaiters(process_id);
    if (!waiters.empty()) entry.waited = true;
    *response.mutable_exit() = exit;
    *response.mutable_exit_time() = entry.info.exit_time();
    Emit(v1::SandboxEvent::TYPE_PROCESS_EXITED, &entry.info);
    if (process_id == container_) {
      if (!waiters.empty()) exit_reported_ = true;
      *view_.mutable_exit() = exit;
      *view_.mutable_stop_time() = entry.info.exit_time();
      if (view_.state() != v1::Sandbox::STATE_DELETING) {
        view_.set_state(v1::Sandbox::STATE_STOPPED);
        Emit(v1::SandboxEvent::TYPE_STOPPED);
      }
    }
    PruneExited();
  }
  if (streams) streams->SetExit(exit);
  SaveSoon();
  for (const Waiter& waiter : waiters) waiter.callback(response);
  MaybeAutoDelete();
}

// Of those that nobody waits for, the newest are kept.
void Sandbox::PruneExited() {
  std::vector<std::string> exited;
  for (const std::string& name : entry_order_) {
    const Entry& entry = entries_.at(name);
    if (name != container_ && entry.acknowledged && entry.streams && !entry.streams->attached()) {
      exited.push_back(name);
    }
  }
  for (size_t i = 0; i + kExitedKept < exited.size(); ++i) {
    auto node = entries_.extract(exited[i]);
    std::erase(entry_order_, exited[i]);
    env_.loop.Post([streams = node.mapped().streams] {
      streams->Shutdown(Error(v1::ERROR_REASON_PROCESS_NOT_FOUND, "the process is forgotten"),
                        true);
    });
  }
}

void Sandbox::ProducerDone(const std::string& process_id) {
  Ref<ProcessStreams> streams;
  {
    MutexLock lock(mutex_);
    auto it = entries_.find(process_id);
    if (it == entries_.end()) return;
    streams = it->second.streams;
  }
  if (!streams) return;
  streams->ProducerDone([self = Ref<Sandbox>(this), process_id] {
    {
      MutexLock lock(self->mutex_);
      auto it = self->entries_.find(process_id);
      if (it != self->entries_.end()) it->second.logged = true;
    }
    self->Settle();
  });
}

// Tells the kernel process which exits it may forget, and to end when nothing is left of its work.
void Sandbox::Settle() {
  std::vector<std::string> done;
  bool all_done = true;
  Ref<ControlChannel> channel;
  std::string container;
  {
    MutexLock lock(mutex_);
    channel = channel_;
    container = container_;
    if (!channel) return;
    for (auto& [name, entry] : entries_) {
      const bool settled = entry.logged && entry.stored;
      all_done = all_done && settled;
      if (!settled || entry.acknowledged) continue;
      entry.acknowledged = true;
      done.push_back(name);
    }
    all_done = all_done && view_.state() == v1::Sandbox::STATE_STOPPED && !kernel_expected_to_end_;
    if (all_done) kernel_expected_to_end_ = true;
  }
  const auto ignore = [](const Outcome<control::Response>&) {};
  for (const std::string& name : done) {
    control::Request request;
    request.mutable_acknowledge_exit()->set_container_id(container);
    request.mutable_acknowledge_exit()->set_process_id(name);
    channel->CallAsync(std::move(request), {}, ignore);
  }
  if (!all_done) return;
  control::Request request;
  request.mutable_shutdown();
  channel->CallAsync(std::move(request), {}, ignore);
  // One that does not end by itself is not asked twice.
  env_.loop.RunAfter(std::chrono::seconds(5), [self = Ref<Sandbox>(this)] {
    MutexLock lock(self->mutex_);
    self->kernel_.Signal(SIGKILL);
  });
}

void Sandbox::OnChannelLost(const std::string& why) {
  // Usually it is ending, and its pidfd will say so in a moment. One that runs on but can't be
  // talked to is of no use to anybody.
  env_.loop.RunAfter(kEndOfPeerGrace, [self = Ref<Sandbox>(this), why] {
    MutexLock lock(self->mutex_);
    if (!self->kernel_.valid() || self->kernel_.Ended() || !self->kernel_watched_) return;
    self->kernel_end_cause_ = "was killed because it could not be talked to: " + why;
    self->kernel_.Signal(SIGKILL);
  });
}

void Sandbox::OnKernelEnded() {
  std::string how;
  {
    MutexLock lock(mutex_);
    if (!kernel_.valid()) return;
    if (kernel_watched_) env_.loop.Remove(kernel_.pidfd());
    kernel_watched_ = false;
    how = kernel_.Reap();
    kernel_ = ProcessHandle();
    view_.set_host_pid(0);
    if (!kernel_end_cause_.empty()) how = kernel_end_cause_;
  }
  KernelGone(how);
}

void Sandbox::KernelGone(const std::string& how) {
  std::vector<std::string> lost;
  std::vector<std::string> all;
  Ref<ControlChannel> channel;
  {
    MutexLock lock(mutex_);
    channel = std::move(channel_);
    const bool stopped = view_.state() == v1::Sandbox::STATE_STOPPED;
    for (const std::string& name : entry_order_) {
      all.push_back(name);
      if (entries_.at(name).info.state() != v1::Process::STATE_EXITED) lost.push_back(name);
    }
    if (!kernel_expected_to_end_ && !stopped) {
      view_.set_state_message("the application kernel " + how);
      DAEMON_LOG(kWarning) << "sandbox " << id_ << ": the application kernel " << how;
    }
  }
  if (channel) channel->Close();
  KillGofers();
  v1::ExitStatus exit;
  exit.set_signal(SIGKILL);
  exit.set_kernel_lost(true);
  exit.set_message("the application kernel " + how);
  for (const std::string& name : lost) ProcessExited(name, exit);
  for (const std::string& name : all) ProducerDone(name);
  SaveSoon();
  MaybeAutoDelete();
}

void Sandbox::OnGoferEnded(size_t index) {
  MutexLock lock(mutex_);
  if (index >= gofers_.size() || !gofers_[index].process.valid()) return;
  if (gofers_[index].watched) env_.loop.Remove(gofers_[index].process.pidfd());
  const std::string how = gofers_[index].process.Reap();
  gofers_[index] = Gofer();
  if (!kernel_.valid() || kernel_expected_to_end_) return;
  // A gofer also ends because the kernel process, its only client, has ended; the kernel's own end
  // says why, and comes in after its descriptors are closed. Without its files a sandbox is a trap
  // for whoever waits for it: one that is still there then is stopped.
  env_.loop.RunAfter(kEndOfPeerGrace, [self = Ref<Sandbox>(this), how] {
    MutexLock guard(self->mutex_);
    if (!self->kernel_.valid() || self->kernel_.Ended() || !self->kernel_watched_) return;
    self->kernel_end_cause_ = "was stopped because its gofer " + how;
    self->kernel_.Signal(SIGKILL);
  });
}

void Sandbox::KillGofers() {
  MutexLock lock(mutex_);
  // Their ends come in through OnGoferEnded.
  for (const Gofer& gofer : gofers_) gofer.process.Signal(SIGKILL);
}

void Sandbox::CloseStdin(const v1::Process& process) {
  ProcessStreams* streams = nullptr;
  Ref<ProcessStreams> keep;
  {
    MutexLock lock(mutex_);
    auto it = entries_.find(process.id());
    if (it == entries_.end()) return;
    keep = it->second.streams;
    streams = keep.get();
  }
  if (streams == nullptr) return;
  streams->CloseStdin([self = Ref<Sandbox>(this), process] {
    auto channel = self->Channel();
    if (!channel.ok()) return;
    control::Request request;
    request.mutable_close_stdin()->set_container_id(process.container());
    request.mutable_close_stdin()->set_process_id(process.id());
    (*channel)->CallAsync(std::move(request), {}, [](const Outcome<control::Response>&) {});
  });
}

void Sandbox::Resize(const v1::Process& process, const v1::TerminalSize& size) {
  auto channel = Channel();
  if (!channel.ok()) return;
  control::Request request;
  control::ResizeTerminal& resize = *request.mutable_resize_terminal();
  resize.set_container_id(process.container());
  resize.set_process_id(process.id());
  resize.set_rows(std::min<uint32_t>(size.rows(), 65535));
  resize.set_cols(std::min<uint32_t>(size.cols(), 65535));
  (*channel)->CallAsync(std::move(request), {}, [](const Outcome<control::Response>&) {});
}

void Sandbox::SignalSoon(const v1::Process& process, int signo) {
  auto channel = Channel();
  if (!channel.ok() || !IsValidSignal(signo)) return;
  control::Request request;
  control::SignalProcess& signal = *request.mutable_signal_process();
  signal.set_container_id(process.container());
  signal.set_process_id(process.id());
  signal.set_signo(signo);
  (*channel)->CallAsync(std::move(request), {}, [](const Outcome<control::Response>&) {});
}

void Sandbox::AttachEnded(const v1::Process& process, bool exit_seen, bool kill) {
  bool init;
  bool never_started;
  {
    MutexLock lock(mutex_);
    auto it = entries_.find(process.id());
    if (it != entries_.end() && exit_seen) it->second.waited = true;
    init = process.id() == container_;
    if (init && (exit_seen || kill)) exit_reported_ = true;
    never_started = view_.state() == v1::Sandbox::STATE_CREATED;
    never_started = never_started && kill && init && view_.spec().auto_delete();
    if (never_started) auto_delete_started_ = true;
  }
  if (kill && !exit_seen) SignalSoon(process, SIGKILL);
  if (never_started) {
    env_.workers.Run([self = Ref<Sandbox>(this)] { self->env_.delete_sandbox(self->id_); });
    return;
  }
  if (process.stdio().stdin_once()) CloseStdin(process);
  MaybeAutoDelete();
}

void Sandbox::MaybeAutoDelete() {
  bool now = false;
  {
    MutexLock lock(mutex_);
    if (!view_.spec().auto_delete() || view_.state() != v1::Sandbox::STATE_STOPPED || gone_) return;
    if (auto_delete_started_) return;
    for (const auto& [name, entry] : entries_) {
      if (entry.streams && entry.streams->attached()) return;  // asked again when it ends
    }
    now = exit_reported_;
    if (now) auto_delete_started_ = true;
  }
  Ref<Sandbox> self(this);
  if (now) {
    env_.workers.Run([self] { self->env_.delete_sandbox(self->id_); });
    return;
  }
  env_.loop.RunAfter(std::chrono::minutes(1), [self] {
    {
      MutexLock lock(self->mutex_);
      if (self->gone_) return;
      self->exit_reported_ = true;
    }
    self->MaybeAutoDelete();
  });
}

}  // namespace sandboxd::daemon
