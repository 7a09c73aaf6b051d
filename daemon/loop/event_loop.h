// One thread that waits for file descriptors, timers and work from other threads.
//
// Everything but Post, RunAfter, Stop and the constructor is called on the loop's thread only;
// handlers run there too, must not block, and hold no lock of ours when they are called.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <thread>
#include <unordered_map>
#include <vector>

#include "platform/base/mutex.h"
#include "platform/base/unique_fd.h"

namespace sandboxd::daemon {

class EventLoop {
 public:
  using Callback = std::function<void()>;
  using FdHandler = std::function<void(uint32_t epoll_events)>;
  using TimerId = uint64_t;

  EventLoop();
  // Stops the thread. Work that was posted and not run yet is dropped.
  ~EventLoop();
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  // Level-triggered. `fd` stays the caller's and must be removed before it is closed. Replaces the
  // events and the handler of a descriptor that is there already. `events` 0 keeps it without
  // waiting for anything but errors and hang-ups; use Remove to stop those too.
  void Watch(int fd, uint32_t epoll_events, FdHandler handler);
  void Remove(int fd);

  // From any thread. In order.
  void Post(Callback work);
  // From any thread. Returns once the work has run; not from the loop's thread.
  void PostAndWait(Callback work);
  TimerId RunAfter(Nanos delay, Callback work);
  void CancelTimer(TimerId id);

  bool OnLoopThread() const { return std::this_thread::get_id() == thread_.get_id(); }

 private:
  struct Timer {
    TimerId id;
    Callback work;
  };
  using Clock = std::chrono::steady_clock;

  void Run();
  void RunPosted();
  // Runs what is due; returns the epoll timeout until the next one, in ms, -1 if there is none.
  int RunTimers();
  void Wake();

  UniqueFd epoll_;
  UniqueFd wake_;
  Mutex mutex_{LockRank::kDaemonLoop};
  std::vector<Callback> posted_ GUARDED_BY(mutex_);
  std::multimap<Clock::time_point, Timer> timers_ GUARDED_BY(mutex_);
  TimerId next_timer_ GUARDED_BY(mutex_) = 1;
  bool stopping_ GUARDED_BY(mutex_) = false;
  // Loop thread only. The generation tells a handler's descriptor from a later one of that number.
  struct Watched {
    uint32_t generation;
    FdHandler handler;
  };
  std::unordered_map<int, Watched> watched_;
  uint32_t next_generation_ = 1;
  std::thread thread_;
};

}  // namespace sandboxd::daemon
