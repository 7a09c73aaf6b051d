// A timer on a clock that runs only while code runs. No host timer follows such a clock for us, so
// it looks at the clock when it could be due at the earliest, and more and more rarely (at most
// once a second) while the clock stands still.
#pragma once

#include <functional>

#include "kernel/time/timer.h"
#include "platform/base/mutex.h"
#include "platform/base/types.h"

namespace sandboxd::task {

// Thread-safe. The functions are called without a lock.
class CpuTimer {
 public:
  using Clock = std::function<Nanos()>;
  // How many CPUs may advance the clock at once.
  using Speed = std::function<int()>;
  using Callback = std::function<void(uint64_t expirations)>;
  CpuTimer(time::TimerService& service, Clock clock, Speed speed, Callback callback);

  struct Setting {
    Nanos remaining{0};
    Nanos interval{0};
  };
  // `due` on the clock; 0 disarms.
  void Start(Nanos due, Nanos interval);
  void Stop();
  Setting Get() const;

 private:
  void Check();
  void Schedule(Nanos now, Nanos due);

  const Clock clock_;
  const Speed speed_;
  const Callback callback_;
  mutable Mutex mutex_{LockRank::kLeaf};
  Nanos due_ GUARDED_BY(mutex_){0};
  Nanos interval_ GUARDED_BY(mutex_){0};
  Nanos last_seen_ GUARDED_BY(mutex_){-1};
  Nanos pause_ GUARDED_BY(mutex_){0};
  time::Timer timer_;  // last: its callback uses the others
};

}  // namespace sandboxd::task
