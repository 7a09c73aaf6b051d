// A bounded number of threads for work that blocks: starting processes, writing state, waiting for
// an answer from a kernel process. Threads are made as they are needed and stay.
#pragma once

#include <deque>
#include <functional>
#include <thread>
#include <vector>

#include "platform/base/mutex.h"

namespace sandboxd::daemon {

class WorkerPool {
 public:
  explicit WorkerPool(size_t max_threads) : max_threads_(max_threads) {}
  // Runs what is queued, then ends.
  ~WorkerPool();
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  // From any thread. Started in order.
  void Run(std::function<void()> work);

 private:
  void Loop();

  const size_t max_threads_;
  Mutex mutex_{LockRank::kDaemonLoop};
  CondVar changed_;
  std::deque<std::function<void()>> queue_ GUARDED_BY(mutex_);
  size_t idle_ GUARDED_BY(mutex_) = 0;
  bool stopping_ GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_ GUARDED_BY(mutex_);
};

}  // namespace sandboxd::daemon
