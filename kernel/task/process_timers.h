// The timers of a process: setitimer(2), timer_create(2), RLIMIT_CPU.
#pragma once

#include <time.h>

#include <array>
#include <map>
#include <memory>

#include "kernel/signal/signal.h"
#include "kernel/task/cpu_timer.h"
#include "kernel/time/clock.h"
#include "kernel/time/timer.h"
#include "platform/base/mutex.h"
#include "platform/base/ref.h"
#include "platform/base/result.h"
#include "platform/base/types.h"

namespace sandboxd::task {

class Task;
class ThreadGroup;

// Thread-safe. Timers are stopped without a lock of their callbacks held.
class ProcessTimers {
 public:
  explicit ProcessTimers(ThreadGroup& group);
  ~ProcessTimers();
  ProcessTimers(const ProcessTimers&) = delete;
  ProcessTimers& operator=(const ProcessTimers&) = delete;

  struct Setting {
    Nanos value{0};  // remaining; zero: disarmed
    Nanos interval{0};
  };
  // ITIMER_REAL, ITIMER_VIRTUAL, ITIMER_PROF.
  Setting GetInterval(int which);
  Setting SetInterval(int which, const Setting& setting);

  // POSIX timers. `info` is what it sends, except for the overrun.
  struct Definition {
    clockid_t clock = CLOCK_MONOTONIC;
    int notify = 0;  // SIGEV_*
    signal::SigInfo info;
    bool value_is_id = false;  // the default sigevent
    Ref<Task> target;          // SIGEV_THREAD_ID
    Ref<Task> owner;           // the thread that made it, for its CPU clock
  };
  // `definition.info.timer.timer_id` is filled in.
  Result<int> Create(Definition definition);
  Result<void> Delete(int id);  // EINVAL
  // `value` is absolute on the timer's clock with `absolute`. The old setting.
  Result<Setting> Set(int id, const Setting& setting, bool absolute);
  Result<Setting> Get(int id);
  Result<int> Overrun(int id);
  // The signal of a timer is being delivered: the overrun count for its siginfo.
  int TakeOverrun(const signal::SigInfo& info);

  // The CPU-time clocks of the process and of one of its threads.
  Nanos ProcessClock() const;

  // exec(2): POSIX timers go, interval timers stay.
  void OnExec();
  // The process is gone: all stop.
  void OnExit();
  void OnCpuLimitChanged();

 private:
  struct PosixTimer;
  enum CpuKind { kVirtual, kProf, kLimit };
  CpuTimer& Cpu(CpuKind kind);
  time::Timer& Real();
  void SendTo(signal::SigInfo info);
  void OnCpuLimit();
  Result<Ref<PosixTimer>> Find(int id);

  ThreadGroup& group_;
  Mutex mutex_{LockRank::kLeaf};
  std::map<int, Ref<PosixTimer>> posix_ GUARDED_BY(mutex_);
  int next_id_ GUARDED_BY(mutex_) = 0;
  // Made when first used.
  std::unique_ptr<time::Timer> real_ GUARDED_BY(mutex_);
  std::array<std::unique_ptr<CpuTimer>, 3> cpu_ GUARDED_BY(mutex_);
};

}  // namespace sandboxd::task
