#include "daemon/loop/event_loop.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>

#include <cerrno>
#include <future>

namespace sandboxd::daemon {
namespace {
uint64_t Key(int fd, uint32_t generation) {
  return (static_cast<uint64_t>(generation) << 32) | static_cast<uint32_t>(fd);
}
}  // namespace

EventLoop::EventLoop()
    : epoll_(MUST(WrapFd(::epoll_create1(EPOLL_CLOEXEC)))),  // fails only without memory or fds
      wake_(MUST(WrapFd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)))) {
  epoll_event event{.events = EPOLLIN, .data = {.u64 = Key(wake_.get(), 0)}};
  CHECK(::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, wake_.get(), &event) == 0);
  thread_ = std::thread([this] { Run(); });
}

EventLoop::~EventLoop() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
  }
  Wake();
  thread_.join();
}

void EventLoop::Wake() {
  const uint64_t one = 1;
  // EAGAIN means that the counter is at its top, so that the loop wakes anyway.
  [[maybe_unused]] ssize_t n = ::write(wake_.get(), &one, sizeof one);
}

void EventLoop::Watch(int fd, uint32_t epoll_events, FdHandler handler) {
  auto it = watched_.find(fd);
  const bool present = it != watched_.end();
  const uint32_t generation = next_generation_++;
  epoll_event event{.events = epoll_events, .data = {.u64 = Key(fd, generation)}};
  watched_[fd] = Watched{generation, std::move(handler)};
  CHECK(::epoll_ctl(epoll_.get(), present ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &event) == 0);
}

void EventLoop::Remove(int fd) {
  if (watched_.erase(fd) == 0) return;
  CHECK(::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr) == 0);
}

void EventLoop::Post(Callback work) {
  bool first;
  {
    MutexLock lock(mutex_);
    first = posted_.empty();
    posted_.push_back(std::move(work));
  }
  if (first) Wake();
}

void EventLoop::PostAndWait(Callback work) {
  CHECK(!OnLoopThread());
  std::promise<void> done;
  Post([&] {
    work();
    done.set_value();
  });
  done.get_future().wait();
}

EventLoop::TimerId EventLoop::RunAfter(Nanos delay, Callback work) {
  TimerId id;
  {
    MutexLock lock(mutex_);
    id = next_timer_++;
    timers_.emplace(Clock::now() + delay, Timer{id, std::move(work)});
  }
  Wake();
  return id;
}

void EventLoop::CancelTimer(TimerId id) {
  Callback dropped;  // destroyed without the lock
  MutexLock lock(mutex_);
  for (auto it = timers_.begin(); it != timers_.end(); ++it) {
    if (it->second.id != id) continue;
    dropped = std::move(it->second.work);
    timers_.erase(it);
    return;
  }
}

void EventLoop::RunPosted() {
  std::vector<Callback> work;
  {
    MutexLock lock(mutex_);
    work.swap(posted_);
  }
  for (Callback& callback : work) callback();
}

int EventLoop::RunTimers() {
  for (;;) {
    Callback due;
    {
      MutexLock lock(mutex_);
      if (!posted_.empty()) return 0;
      if (timers_.empty()) return -1;
      auto first = timers_.begin();
      const auto left = first->first - Clock::now();
      if (left > Clock::duration::zero()) {
        const auto ms = std::chrono::ceil<std::chrono::milliseconds>(left).count();
        return static_cast<int>(std::min<int64_t>(ms, 3600 * 1000));
      }
      due = std::move(first->second.work);
      timers_.erase(first);
    }
    due();
  }
}

void EventLoop::Run() {
  epoll_event events[64];
  for (;;) {
    RunPosted();
    const int timeout = RunTimers();
    {
      MutexLock lock(mutex_);
      if (stopping_) return;
    }
    const int n = ::epoll_wait(epoll_.get(), events, 64, timeout);
    CHECK(n >= 0 || errno == EINTR);
    for (int i = 0; i < n; ++i) {
      const int fd = static_cast<int>(events[i].data.u64 & 0xffffffff);
      const auto generation = static_cast<uint32_t>(events[i].data.u64 >> 32);
      if (fd == wake_.get() && generation == 0) {
        uint64_t count;
        [[maybe_unused]] ssize_t r = ::read(wake_.get(), &count, sizeof count);
        continue;
      }
      // An earlier handler of this round may have removed it, or put another one in its place.
      auto it = watched_.find(fd);
      if (it == watched_.end() || it->second.generation != generation) continue;
      FdHandler handler = it->second.handler;  // the handler may remove itself
      handler(events[i].events);
    }
  }
}

}  // namespace sandboxd::daemon
