// The events that Watch sends: the last ones, numbered, with tokens to go on from.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "daemon/error/error.h"
#include "platform/base/mutex.h"
#include "proto/sandboxd/v1/sandbox.pb.h"

namespace sandboxd::daemon {

// Thread-safe.
class EventLog {
 public:
  explicit EventLog(size_t kept = 10000);

  // Numbers and stores it, then tells the subscribers.
  void Append(v1::SandboxEvent event);

  // The number of the next event.
  uint64_t End() const;
  // Events from `number` on, at most `max`; `number` moves behind them. WATCH_WINDOW_LOST if some
  // of them are not kept any more.
  Outcome<std::vector<v1::SandboxEvent>> Read(uint64_t* number, size_t max) const;
  // The token after which Read(number) goes on.
  std::string TokenBefore(uint64_t number) const;
  // The number that follows a token. WATCH_WINDOW_LOST if it is another daemon's or too old.
  Outcome<uint64_t> NumberAfter(const std::string& token) const;

  // `changed` is called after each Append, on its thread, with this log's lock held: it must only
  // pass the word on.
  using SubscriberId = uint64_t;
  SubscriberId Subscribe(std::function<void()> changed);
  // `changed` is not running and won't run any more when it returns.
  void Unsubscribe(SubscriberId id);

 private:
  const size_t kept_;
  const std::string instance_;  // tells this daemon's tokens from another's
  mutable Mutex mutex_{LockRank::kDaemonWatch};
  std::deque<v1::SandboxEvent> events_ GUARDED_BY(mutex_);
  uint64_t first_ GUARDED_BY(mutex_) = 1;  // the number of events_.front()
  std::map<SubscriberId, std::function<void()>> subscribers_ GUARDED_BY(mutex_);
  SubscriberId next_subscriber_ GUARDED_BY(mutex_) = 1;
};

}  // namespace sandboxd::daemon
