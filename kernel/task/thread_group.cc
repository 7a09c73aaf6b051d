#include "kernel/task/thread_group.h"

#include <signal.h>

#include "kernel/task/kernel.h"
#include "kernel/task/process_timers.h"
#include "kernel/task/task.h"
#include "platform/base/check.h"

namespace sandboxd::task {
namespace {

constexpr uint64_t kMiB = uint64_t{1} << 20;

// What a process that nobody limited has, as on a Debian host.
std::array<rlimit64, RLIM_NLIMITS> DefaultLimits() {
  std::array<rlimit64, RLIM_NLIMITS> limits;
  limits.fill({RLIM64_INFINITY, RLIM64_INFINITY});
  limits[RLIMIT_STACK] = {8 * kMiB, RLIM64_INFINITY};
  limits[RLIMIT_CORE] = {0, RLIM64_INFINITY};
  limits[RLIMIT_NOFILE] = {1024, 1048576};
  limits[RLIMIT_MEMLOCK] = {8 * kMiB, 8 * kMiB};
  limits[RLIMIT_SIGPENDING] = {16384, 16384};
  limits[RLIMIT_MSGQUEUE] = {819200, 819200};
  limits[RLIMIT_NICE] = {0, 0};
  limits[RLIMIT_RTPRIO] = {0, 0};
  return limits;
}

}  // namespace

Ref<SignalHandlers> SignalHandlers::Fork() {
  auto copy = MakeRef<SignalHandlers>();
  MutexLock lock(mutex_);
  // Nobody else knows the copy yet.
  [&]() NO_THREAD_SAFETY_ANALYSIS { copy->actions_ = actions_; }();
  return copy;
}

signal::SigAction SignalHandlers::Get(int signo) const {
  MutexLock lock(mutex_);
  return actions_[static_cast<size_t>(signo - 1)];
}

signal::SigAction SignalHandlers::Exchange(int signo, const signal::SigAction& action) {
  MutexLock lock(mutex_);
  return std::exchange(actions_[static_cast<size_t>(signo - 1)], action);
}

signal::SigAction SignalHandlers::TakeForDelivery(int signo) {
  MutexLock lock(mutex_);
  signal::SigAction& action = actions_[static_cast<size_t>(signo - 1)];
  signal::SigAction taken = action;
  if ((action.flags & SA_RESETHAND) != 0 && !action.is_default() && !action.is_ignore()) {
    action.handler = 0;
  }
  return taken;
}

void SignalHandlers::ResetForExec() {
  MutexLock lock(mutex_);
  for (signal::SigAction& action : actions_) {
    bool ignored = action.is_ignore();
    action = {};
    if (ignored) action.handler = 1;
  }
}

ThreadGroup::ThreadGroup(Kernel& kernel, Ref<PidNamespace> ns, Ref<SignalHandlers> handlers)
    : kernel_(kernel),
      pid_ns_(std::move(ns)),
      handlers_(std::move(handlers)),
      limits_(DefaultLimits()),
      timers_(std::make_unique<ProcessTimers>(*this)) {}

ThreadGroup::~ThreadGroup() {
  CHECK(tasks_.empty());
  CHECK(children_.empty());
}

Tid ThreadGroup::TgidIn(const PidNamespace& ns) const { return ids_.In(ns); }

std::vector<Ref<Task>> ThreadGroup::Tasks() const {
  MutexLock lock(signal_mutex_);
  return tasks_;
}

Ref<Task> ThreadGroup::Leader() const {
  MutexLock lock(signal_mutex_);
  return tasks_.empty() ? Ref<Task>() : tasks_.front();
}

Ref<SignalHandlers> ThreadGroup::handlers() const {
  MutexLock lock(signal_mutex_);
  return handlers_;
}

signal::SigSet ThreadGroup::pending_signals() const {
  MutexLock lock(signal_mutex_);
  return pending_.set();
}

bool ThreadGroup::exiting() const {
  MutexLock lock(signal_mutex_);
  return group_exit_;
}

std::optional<ExitStatus> ThreadGroup::exit_status() const {
  MutexLock lock(signal_mutex_);
  if (!finished_) return std::nullopt;
  return final_status_;
}

rlimit64 ThreadGroup::GetRlimit(int resource) const {
  MutexLock lock(limits_mutex_);
  return limits_[static_cast<size_t>(resource)];
}

void ThreadGroup::SetRlimit(int resource, const rlimit64& limit) {
  {
    MutexLock lock(limits_mutex_);
    limits_[static_cast<size_t>(resource)] = limit;
  }
  if (resource == RLIMIT_CPU) timers_->OnCpuLimitChanged();
}

Ref<ProcessGroup> ThreadGroup::process_group() const {
  MutexLock lock(kernel_.tree_mutex());
  return process_group_;
}

Ref<Session> ThreadGroup::session() const {
  MutexLock lock(kernel_.tree_mutex());
  return process_group_ ? process_group_->session() : Ref<Session>();
}

}  // namespace sandboxd::task
