// Timers: callbacks at a point in time, all served by one host thread that sleeps until the
// earliest is due, and for ever when there is none.
#pragma once

#include <functional>
#include <memory>

#include "platform/base/mutex.h"
#include "platform/base/ref.h"
#include "platform/base/types.h"

namespace sandboxd::time {

class TimerService;

// One timer. Thread-safe. The callback runs on the service's thread without any lock held; it must
// not block. After Stop() or the destructor returns no callback is running or will run (unless
// called from the callback itself).
class Timer {
 public:
  // Called with the number of expirations since the last call (> 1 if an interval was overrun).
  using Callback = std::function<void(uint64_t expirations)>;
  Timer(TimerService& service, Callback callback);
  ~Timer();
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;

  // `first` on CLOCK_MONOTONIC; interval zero: once.
  void Start(Nanos first, Nanos interval);
  void Stop();
  struct Setting {
    Nanos remaining{0};  // zero: disarmed
    Nanos interval{0};
  };
  Setting Get() const;

 private:
  friend class TimerService;
  struct State;
  TimerService& service_;
  Ref<State> state_;  // shared with the service while it is queued or its callback runs
};

class TimerService {
 public:
  TimerService();   // the thread starts with the first timer that is armed
  ~TimerService();  // no Timer may be left

 private:
  friend class Timer;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sandboxd::time
