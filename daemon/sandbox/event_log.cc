#include "daemon/sandbox/event_log.h"

#include <google/protobuf/util/time_util.h>

#include "daemon/sandbox/resolve.h"

namespace sandboxd::daemon {
namespace {
Error WindowLost() {
  return Error(v1::ERROR_REASON_WATCH_WINDOW_LOST,
               "events after this resume token are not kept any more: watch again without one");
}
}  // namespace

EventLog::EventLog(size_t kept) : kept_(kept), instance_(GenerateId()) {}

void EventLog::Append(v1::SandboxEvent event) {
  *event.mutable_time() = google::protobuf::util::TimeUtil::GetCurrentTime();
  MutexLock lock(mutex_);
  const uint64_t number = first_ + events_.size();
  event.set_resume_token(instance_ + "-" + std::to_string(number));
  events_.push_back(std::move(event));
  if (events_.size() > kept_) {
    events_.pop_front();
    ++first_;
  }
  for (const auto& [id, changed] : subscribers_) changed();
}

uint64_t EventLog::End() const {
  MutexLock lock(mutex_);
  return first_ + events_.size();
}

Outcome<std::vector<v1::SandboxEvent>> EventLog::Read(uint64_t* number, size_t max) const {
  MutexLock lock(mutex_);
  if (*number < first_) return WindowLost();
  std::vector<v1::SandboxEvent> out;
  for (size_t i = *number - first_; i < events_.size() && out.size() < max; ++i) {
    out.push_back(events_[i]);
  }
  *number += out.size();
  return out;
}

std::string EventLog::TokenBefore(uint64_t number) const {
  return instance_ + "-" + std::to_string(number - 1);
}

Outcome<uint64_t> EventLog::NumberAfter(const std::string& token) const {
  const size_t dash = token.find('-');
  const std::string digits = dash == std::string::npos ? "" : token.substr(dash + 1);
  if (digits.empty() || digits.size() > 18 ||
      digits.find_first_not_of("0123456789") != std::string::npos) {
    return Error::Fields({{"resume_token", "is not one that Watch has given"}});
  }
  const uint64_t number = std::stoull(digits) + 1;
  MutexLock lock(mutex_);
  if (token.substr(0, dash) != instance_ || number < first_ || number > first_ + events_.size()) {
    return WindowLost();
  }
  return number;
}

EventLog::SubscriberId EventLog::Subscribe(std::function<void()> changed) {
  MutexLock lock(mutex_);
  subscribers_[next_subscriber_] = std::move(changed);
  return next_subscriber_++;
}

void EventLog::Unsubscribe(SubscriberId id) {
  MutexLock lock(mutex_);
  subscribers_.erase(id);
}

}  // namespace sandboxd::daemon
