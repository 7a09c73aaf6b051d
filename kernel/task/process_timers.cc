#include "kernel/task/process_timers.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/time.h>

#include <algorithm>

#include "kernel/task/kernel.h"
#include "kernel/task/task.h"
#include "kernel/task/thread_group.h"

namespace sandboxd::task {

struct ProcessTimers::PosixTimer : RefCounted {
  PosixTimer(ProcessTimers& owner, Definition d) : definition(std::move(d)) {
    time::TimerService& service = owner.group_.kernel().timers();
    auto fire = [this, &owner](uint64_t n) { Fire(owner.group_, n); };
    if (definition.clock == CLOCK_PROCESS_CPUTIME_ID) {
      cpu = std::make_unique<CpuTimer>(
          service, [&owner] { return owner.ProcessClock(); },
          [&owner] { return owner.group_.thread_count(); }, fire);
    } else if (definition.clock == CLOCK_THREAD_CPUTIME_ID) {
      auto clock = [this] {
        Task::CpuTime t = definition.owner->cpu_time();
        return t.user + t.system;
      };
      cpu = std::make_unique<CpuTimer>(
          service, clock, [] { return 1; }, fire);
    } else {
      wall = std::make_unique<time::Timer>(service, fire);
    }
  }

  void Fire(ThreadGroup& group, uint64_t expirations) {
    if (definition.notify == SIGEV_NONE) return;
    // Counted before the signal is there to be taken, which may be at once.
    AddOverruns(expirations - 1);
    if (!group.SendTimerSignal(definition.info, definition.target.get())) AddOverruns(1);
  }

  void AddOverruns(uint64_t count) {
    MutexLock lock(mutex);
    overrun =
        static_cast<int>(std::min<uint64_t>(static_cast<uint64_t>(overrun) + count, INT32_MAX));
  }

  Definition definition;
  Mutex mutex{LockRank::kLeaf};
  int overrun GUARDED_BY(mutex) = 0;
  int last_overrun GUARDED_BY(mutex) = 0;
  std::unique_ptr<time::Timer> wall;
  std::unique_ptr<CpuTimer> cpu;
};

ProcessTimers::ProcessTimers(ThreadGroup& group) : group_(group) {}
ProcessTimers::~ProcessTimers() { OnExit(); }

Nanos ProcessTimers::ProcessClock() const {
  ThreadGroup::Usage usage = group_.SelfUsage();
  return usage.user + usage.system;
}

void ProcessTimers::SendTo(signal::SigInfo info) {
  (void)group_.SendSignal(info);  // a standard signal always has room
}

time::Timer& ProcessTimers::Real() {
  MutexLock lock(mutex_);
  if (real_ == nullptr) {
    real_ = std::make_unique<time::Timer>(
        group_.kernel().timers(), [this](uint64_t) { SendTo(signal::SigInfo::Kernel(SIGALRM)); });
  }
  return *real_;
}

CpuTimer& ProcessTimers::Cpu(CpuKind kind) {
  MutexLock lock(mutex_);
  std::unique_ptr<CpuTimer>& timer = cpu_[kind];
  if (timer != nullptr) return *timer;
  auto speed = [this] { return group_.thread_count(); };
  auto all = [this] { return ProcessClock(); };
  time::TimerService& service = group_.kernel().timers();
  switch (kind) {
    case kVirtual:
      timer = std::make_unique<CpuTimer>(
          service, [this] { return group_.SelfUsage().user; }, speed,
          [this](uint64_t) { SendTo(signal::SigInfo::Kernel(SIGVTALRM)); });
      break;
    case kProf:
      timer = std::make_unique<CpuTimer>(
          service, all, speed, [this](uint64_t) { SendTo(signal::SigInfo::Kernel(SIGPROF)); });
      break;
    case kLimit:
      timer = std::make_unique<CpuTimer>(service, all, speed, [this](uint64_t) { OnCpuLimit(); });
      break;
  }
  return *timer;
}

ProcessTimers::Setting ProcessTimers::GetInterval(int which) {
  if (which == ITIMER_REAL) {
    time::Timer::Setting s = Real().Get();
    return {s.remaining, s.interval};
  }
  CpuTimer::Setting s = Cpu(which == ITIMER_VIRTUAL ? kVirtual : kProf).Get();
  return {s.remaining, s.interval};
}

ProcessTimers::Setting ProcessTimers::SetInterval(int which, const Setting& setting) {
  Setting old = GetInterval(which);
  if (which == ITIMER_REAL) {
    time::Timer& real = Real();
    if (setting.value == Nanos(0)) {
      real.Stop();
    } else {
      Nanos now = time::MonotonicNow();
      real.Start(setting.value > Nanos::max() - now ? Nanos::max() : now + setting.value,
                 setting.interval);
    }
    return old;
  }
  CpuTimer& cpu = Cpu(which == ITIMER_VIRTUAL ? kVirtual : kProf);
  if (setting.value == Nanos(0)) {
    cpu.Stop();
  } else {
    Nanos now = which == ITIMER_VIRTUAL ? group_.SelfUsage().user : ProcessClock();
    cpu.Start(setting.value > Nanos::max() - now ? Nanos::max() : now + setting.value,
              setting.interval);
  }
  return old;
}

// --- RLIMIT_CPU: setrlimit(2) ---

void ProcessTimers::OnCpuLimitChanged() {
  rlimit64 limit = group_.GetRlimit(RLIMIT_CPU);
  {
    MutexLock lock(mutex_);
    if (limit.rlim_cur == RLIM64_INFINITY && cpu_[kLimit] == nullptr) return;
  }
  CpuTimer& timer = Cpu(kLimit);
  constexpr uint64_t kNever = 1'000'000'000;  // seconds: some thirty years
  if (limit.rlim_cur >= kNever) {
    timer.Stop();
  } else {
    // A limit of 0 counts as 1 second.
    timer.Start(std::chrono::seconds(std::max<uint64_t>(limit.rlim_cur, 1)),
                std::chrono::seconds(1));
  }
}

void ProcessTimers::OnCpuLimit() {
  rlimit64 limit = group_.GetRlimit(RLIMIT_CPU);
  auto used = static_cast<uint64_t>(ProcessClock() / std::chrono::seconds(1));
  SendTo(
      signal::SigInfo::Kernel(used >= std::max<uint64_t>(limit.rlim_max, 1) ? SIGKILL : SIGXCPU));
}

// --- POSIX timers ---

Result<int> ProcessTimers::Create(Definition definition) {
  const uint64_t limit = group_.GetRlimit(RLIMIT_SIGPENDING).rlim_cur;
  MutexLock lock(mutex_);
  if (posix_.size() >= limit) return Errno::kEAGAIN;
  while (posix_.contains(next_id_)) next_id_ = (next_id_ + 1) & INT32_MAX;
  int id = next_id_;
  next_id_ = (next_id_ + 1) & INT32_MAX;
  definition.info.timer.timer_id = id;
  if (definition.value_is_id) definition.info.timer.value = static_cast<uint64_t>(id);
  posix_[id] = MakeRef<PosixTimer>(*this, std::move(definition));
  return id;
}

Result<Ref<ProcessTimers::PosixTimer>> ProcessTimers::Find(int id) {
  MutexLock lock(mutex_);
  auto it = posix_.find(id);
  if (it == posix_.end()) return Errno::kEINVAL;
  return it->second;
}

Result<void> ProcessTimers::Delete(int id) {
  Ref<PosixTimer> dying;  // stops after the lock
  MutexLock lock(mutex_);
  auto it = posix_.find(id);
  if (it == posix_.end()) return Errno::kEINVAL;
  dying = std::move(it->second);
  posix_.erase(it);
  return Ok();
}

Result<ProcessTimers::Setting> ProcessTimers::Get(int id) {
  Ref<PosixTimer> timer = TRY(Find(id));
  if (timer->cpu != nullptr) {
    CpuTimer::Setting s = timer->cpu->Get();
    return Setting{s.remaining, s.interval};
  }
  time::Timer::Setting s = timer->wall->Get();
  return Setting{s.remaining, s.interval};
}

Result<ProcessTimers::Setting> ProcessTimers::Set(int id, const Setting& setting, bool absolute) {
  Ref<PosixTimer> timer = TRY(Find(id));
  Setting old = TRY(Get(id));
  {
    MutexLock lock(timer->mutex);
    timer->overrun = timer->last_overrun = 0;
  }
  const bool disarm = setting.value == Nanos(0);
  if (timer->cpu != nullptr) {
    Nanos now(0);
    if (!absolute && !disarm) {
      Task::CpuTime t = timer->definition.owner->cpu_time();
      now =
          timer->definition.clock == CLOCK_PROCESS_CPUTIME_ID ? ProcessClock() : t.user + t.system;
    }
    timer->cpu->Start(disarm ? Nanos(0) : now + setting.value, setting.interval);
    return old;
  }
  if (disarm) {
    timer->wall->Stop();
    return old;
  }
  Nanos due;
  if (absolute) {
    due = TRY(time::ToMonotonic(timer->definition.clock, setting.value));
  } else {
    Nanos now = time::MonotonicNow();
    due = setting.value > Nanos::max() - now ? Nanos::max() : now + setting.value;
  }
  timer->wall->Start(due, setting.interval);
  return old;
}

Result<int> ProcessTimers::Overrun(int id) {
  Ref<PosixTimer> timer = TRY(Find(id));
  MutexLock lock(timer->mutex);
  return timer->last_overrun;
}

int ProcessTimers::TakeOverrun(const signal::SigInfo& info) {
  auto timer = Find(info.timer.timer_id);
  if (!timer.ok()) return 0;
  PosixTimer& t = **timer;
  MutexLock lock(t.mutex);
  t.last_overrun = std::exchange(t.overrun, 0);
  return t.last_overrun;
}

void ProcessTimers::OnExec() {
  std::map<int, Ref<PosixTimer>> dying;
  MutexLock lock(mutex_);
  std::swap(dying, posix_);
}

void ProcessTimers::OnExit() {
  OnExec();
  std::unique_ptr<time::Timer> real;
  std::array<std::unique_ptr<CpuTimer>, 3> cpu;
  MutexLock lock(mutex_);
  std::swap(real, real_);
  std::swap(cpu, cpu_);
}

}  // namespace sandboxd::task
