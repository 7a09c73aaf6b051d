#include "daemon/loop/call_context.h"

namespace sandboxd::daemon {

void CallContext::Cancel() {
  MutexLock lock(mutex_);
  cancelled_ = true;
  while (!callbacks_.empty() && running_ == 0) {
    auto node = callbacks_.extract(callbacks_.begin());
    running_ = node.key();
    mutex_.Unlock();
    node.mapped()();
    mutex_.Lock();
    running_ = 0;
    idle_.NotifyAll();
  }
}

bool CallContext::cancelled() const {
  MutexLock lock(mutex_);
  return cancelled_;
}

Outcome<void> CallContext::Check() const {
  if (cancelled() || Clock::now() >= deadline_) return StopError();
  return {};
}

Error CallContext::StopError() const {
  if (Clock::now() >= deadline_) {
    return Error(v1::ERROR_REASON_DEADLINE_EXCEEDED,
                 "the call's deadline passed before its work was done");
  }
  return Error(v1::ERROR_REASON_CANCELLED, "the client cancelled the call");
}

CallContext::CallbackId CallContext::OnCancel(std::function<void()> work) {
  {
    MutexLock lock(mutex_);
    if (!cancelled_) {
      callbacks_.emplace(next_, std::move(work));
      return next_++;
    }
  }
  work();
  return 0;
}

void CallContext::RemoveOnCancel(CallbackId id) {
  MutexLock lock(mutex_);
  callbacks_.erase(id);
  while (id != 0 && running_ == id) idle_.Wait(mutex_);
}

}  // namespace sandboxd::daemon
