// The deadline and the cancellation of one call, which reach the work itself: whoever waits on
// behalf of a caller waits through this.
#pragma once

#include <chrono>
#include <functional>
#include <map>

#include "daemon/error/error.h"
#include "platform/base/mutex.h"

namespace sandboxd::daemon {

class CallContext {
 public:
  using Clock = std::chrono::system_clock;
  CallContext() = default;
  explicit CallContext(Clock::time_point deadline) : deadline_(deadline) {}
  CallContext(const CallContext&) = delete;
  CallContext& operator=(const CallContext&) = delete;

  // From any thread. Runs the callbacks, on this thread.
  void Cancel();
  bool cancelled() const;
  Clock::time_point deadline() const { return deadline_; }

  // An error if the call should not go on.
  Outcome<void> Check() const;
  // CANCELLED, or DEADLINE_EXCEEDED if that is why.
  Error StopError() const;

  // Calls `work` once on cancellation, at once if it has happened. Remove returns when `work` is
  // neither running nor going to run, unless it is called from `work` itself.
  using CallbackId = uint64_t;
  CallbackId OnCancel(std::function<void()> work);
  void RemoveOnCancel(CallbackId id);

 private:
  const Clock::time_point deadline_ = Clock::time_point::max();
  mutable Mutex mutex_{LockRank::kDaemonStream};
  CondVar idle_;
  bool cancelled_ GUARDED_BY(mutex_) = false;
  CallbackId next_ GUARDED_BY(mutex_) = 1;
  CallbackId running_ GUARDED_BY(mutex_) = 0;
  std::map<CallbackId, std::function<void()>> callbacks_ GUARDED_BY(mutex_);
};

}  // namespace sandboxd::daemon
