#include "kernel/task/cpu_timer.h"

#include <algorithm>

#include "kernel/time/clock.h"

namespace sandboxd::task {
namespace {

constexpr Nanos kShortestPause = std::chrono::milliseconds(1);
constexpr Nanos kLongestPause = std::chrono::seconds(1);

}  // namespace

CpuTimer::CpuTimer(time::TimerService& service, Clock clock, Speed speed, Callback callback)
    : clock_(std::move(clock)),
      speed_(std::move(speed)),
      callback_(std::move(callback)),
      timer_(service, [this](uint64_t) { Check(); }) {}

void CpuTimer::Start(Nanos due, Nanos interval) {
  {
    MutexLock lock(mutex_);
    due_ = due;
    interval_ = interval;
    last_seen_ = Nanos(-1);
    pause_ = Nanos(0);
  }
  if (due == Nanos(0)) {
    timer_.Stop();
  } else {
    Schedule(clock_(), due);
  }
}

void CpuTimer::Stop() { Start(Nanos(0), Nanos(0)); }

CpuTimer::Setting CpuTimer::Get() const {
  Nanos now = clock_();
  MutexLock lock(mutex_);
  if (due_ == Nanos(0)) return {};
  return {std::max(due_ - now, Nanos(1)), interval_};
}

void CpuTimer::Check() {
  Nanos now = clock_();
  Nanos due;
  uint64_t expirations = 0;
  {
    MutexLock lock(mutex_);
    if (due_ == Nanos(0)) return;
    if (now >= due_) {
      expirations = 1;
      if (interval_ > Nanos(0)) {
        expirations += static_cast<uint64_t>((now - due_) / interval_);
        due_ += interval_ * static_cast<int64_t>(expirations);
      } else {
        due_ = Nanos(0);
      }
    }
    due = due_;
  }
  if (expirations > 0) callback_(expirations);
  if (due != Nanos(0)) Schedule(now, due);
}

void CpuTimer::Schedule(Nanos now, Nanos due) {
  Nanos pause = std::max((due - now) / std::max(speed_(), 1), kShortestPause);
  {
    MutexLock lock(mutex_);
    // Nothing ran since the last look: probably nothing will for a while.
    pause_ = now == last_seen_ ? std::min(pause_ * 2 + kShortestPause, kLongestPause) : Nanos(0);
    last_seen_ = now;
    pause = std::max(pause, pause_);
  }
  timer_.Start(time::MonotonicNow() + pause, Nanos(0));
}

}  // namespace sandboxd::task
