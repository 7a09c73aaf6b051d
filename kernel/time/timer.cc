#include "kernel/time/timer.h"

#include <pthread.h>

#include <optional>
#include <set>
#include <utility>

#include "kernel/time/clock.h"
#include "platform/base/check.h"

namespace sandboxd::time {
namespace {

constexpr size_t kThreadStack = 128 * 1024;

}  // namespace

struct Timer::State : RefCounted {
  explicit State(Callback c) : callback(std::move(c)) {}
  const Callback callback;
  // Guarded by the service's mutex.
  Nanos due{0};
  Nanos interval{0};
  bool queued = false;
  bool running = false;  // its callback
  int stoppers = 0;      // threads inside Stop(): until they are through, the callback can't rearm
};

struct TimerService::Impl {
  struct Earlier {
    bool operator()(const Timer::State* a, const Timer::State* b) const {
      return a->due != b->due ? a->due < b->due : a < b;
    }
  };

  Mutex mutex{LockRank::kTimer};
  CondVar changed;        // the earliest timer changed, or the service ends
  CondVar callback_done;  // a callback has returned
  // Each queued state is kept alive by a reference that the queue owns.
  std::set<Timer::State*, Earlier> queue GUARDED_BY(mutex);
  bool started GUARDED_BY(mutex) = false;
  bool ending GUARDED_BY(mutex) = false;
  pthread_t thread{};

  void EnsureThread() REQUIRES(mutex) {
    if (started) return;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, kThreadStack);
    auto entry = [](void* self) -> void* {
      pthread_setname_np(pthread_self(), "timers");
      static_cast<Impl*>(self)->Run();
      return nullptr;
    };
    int error = pthread_create(&thread, &attributes, entry, this);
    CHECK_MSG(error == 0, "no thread for timers: %d", error);
    pthread_attr_destroy(&attributes);
    started = true;
  }

  bool OnServiceThread() REQUIRES(mutex) {
    return started && pthread_equal(pthread_self(), thread);
  }

  void Enqueue(Timer::State& s) REQUIRES(mutex) {
    CHECK(!s.queued);
    s.IncRef();
    s.queued = true;
    queue.insert(&s);
  }
  void Dequeue(Timer::State& s) REQUIRES(mutex) {
    if (!s.queued) return;
    queue.erase(&s);
    s.queued = false;
    s.DecRef();
  }

  void Run() {
    mutex.Lock();
    while (!ending) {
      if (queue.empty()) {
        changed.Wait(mutex);
        continue;
      }
      Timer::State* first = *queue.begin();
      Nanos now = MonotonicNow();
      if (first->due > now) {
        changed.WaitFor(mutex, first->due - now);
        continue;
      }
      Fire(*first, now);
    }
    mutex.Unlock();
  }

  void Fire(Timer::State& borrowed, Nanos now) REQUIRES(mutex) {
    Ref<Timer::State> s(&borrowed);
    Dequeue(*s);
    uint64_t expirations = 1;
    if (s->interval > Nanos::zero()) {
      expirations += static_cast<uint64_t>((now - s->due) / s->interval);
      s->due += s->interval * static_cast<int64_t>(expirations);
      Enqueue(*s);
    }
    s->running = true;
    mutex.Unlock();
    s->callback(expirations);
    mutex.Lock();
    s->running = false;
    callback_done.NotifyAll();
  }
};

Timer::Timer(TimerService& service, Callback callback)
    : service_(service), state_(MakeRef<State>(std::move(callback))) {}

Timer::~Timer() { Stop(); }

void Timer::Start(Nanos first, Nanos interval) {
  TimerService::Impl& impl = *service_.impl_;
  MutexLock lock(impl.mutex);
  impl.EnsureThread();
  impl.Dequeue(*state_);
  if (state_->stoppers > 0 && impl.OnServiceThread()) return;
  state_->due = first;
  state_->interval = interval;
  impl.Enqueue(*state_);
  if (*impl.queue.begin() == state_.get()) impl.changed.NotifyOne();
}

void Timer::Stop() {
  TimerService::Impl& impl = *service_.impl_;
  MutexLock lock(impl.mutex);
  impl.Dequeue(*state_);
  if (impl.OnServiceThread()) return;
  state_->stoppers++;
  while (state_->running) impl.callback_done.Wait(impl.mutex);
  state_->stoppers--;
}

Timer::Setting Timer::Get() const {
  TimerService::Impl& impl = *service_.impl_;
  MutexLock lock(impl.mutex);
  if (!state_->queued) return {};
  Nanos remaining = state_->due - MonotonicNow();
  // Due but not fired yet: still armed, so not zero.
  return {remaining > Nanos::zero() ? remaining : Nanos(1), state_->interval};
}

TimerService::TimerService() : impl_(std::make_unique<Impl>()) {}

TimerService::~TimerService() {
  bool started;
  {
    MutexLock lock(impl_->mutex);
    CHECK_MSG(impl_->queue.empty(), "a Timer outlives its service");
    impl_->ending = true;
    started = impl_->started;
    impl_->changed.NotifyOne();
  }
  if (started) pthread_join(impl_->thread, nullptr);
}

}  // namespace sandboxd::time
