// A Blocker for unit tests: the calling thread sleeps on a condition variable.
#pragma once

#include <condition_variable>
#include <mutex>

#include "kernel/wait/wait_queue.h"

namespace sandboxd::wait {

class ThreadBlocker final : public Blocker {
 public:
  Result<void> Block(Deadline deadline) override {
    std::unique_lock<std::mutex> lock(mutex_);
    blocks_++;
    changed_.notify_all();
    auto ready = [&] { return woken_ || interrupted_; };
    if (!deadline.has_value()) {
      changed_.wait(lock, ready);
    } else if (!changed_.wait_until(
                   lock, std::chrono::time_point<std::chrono::steady_clock>(*deadline), ready)) {
      return Errno::kETIMEDOUT;
    }
    if (!woken_) {
      interrupted_ = false;
      return Errno::kERESTARTSYS;
    }
    woken_ = false;
    return Ok();
  }
  void Wake() override {
    std::lock_guard<std::mutex> lock(mutex_);
    woken_ = true;
    changed_.notify_all();
  }
  // As a signal does.
  void Interrupt() {
    std::lock_guard<std::mutex> lock(mutex_);
    interrupted_ = true;
    changed_.notify_all();
  }
  // Waits until its thread has called Block at least `n` times.
  void AwaitBlocked(int n = 1) {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [&] { return blocks_ >= n; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool woken_ = false;
  bool interrupted_ = false;
  int blocks_ = 0;
};

}  // namespace sandboxd::wait
