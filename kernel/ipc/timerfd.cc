#include "kernel/ipc/timerfd.h"

#include <sys/epoll.h>
#include <sys/timerfd.h>

#include "platform/base/format.h"

namespace sandboxd::ipc {
namespace {

clockid_t WithoutAlarm(clockid_t clock) {
  if (clock == CLOCK_REALTIME_ALARM) return CLOCK_REALTIME;
  if (clock == CLOCK_BOOTTIME_ALARM) return CLOCK_BOOTTIME;
  return clock;
}

Nanos SaturatingAdd(Nanos a, Nanos b) {
  auto sum = CheckedAdd<int64_t>(a.count(), b.count());
  return sum.has_value() ? Nanos(*sum) : Nanos::max();
}

}  // namespace

TimerFd::TimerFd(vfs::Path path, int flags, time::TimerService& timers, clockid_t clock)
    : File(std::move(path), flags),
      clock_(WithoutAlarm(clock)),
      timer_(timers, [this](uint64_t n) { OnExpired(n); }) {}

TimerFd::~TimerFd() { timer_.Stop(); }

void TimerFd::OnExpired(uint64_t expirations) {
  {
    MutexLock lock(mutex_);
    expirations_ += expirations;
  }
  queue_.Notify(EPOLLIN);
}

time::Itimerspec TimerFd::Set(int flags, const time::Itimerspec& spec) {
  MutexLock set_lock(set_mutex_);
  time::Itimerspec old = Get();
  timer_.Stop();
  {
    MutexLock lock(mutex_);
    expirations_ = 0;
    settime_flags_ = flags;
  }
  Nanos value = spec.value.ToNanos();
  if (value == Nanos(0)) return old;
  Nanos interval = spec.interval.ToNanos();
  Nanos now = time::MonotonicNow();
  Nanos first = SaturatingAdd(now, value);
  if ((flags & TFD_TIMER_ABSTIME) != 0) {
    // MUST: the constructor was given a clock of the host.
    first = MUST(time::ToMonotonic(clock_, value));
  }
  // What lies in the past has expired when this call returns.
  uint64_t missed = 0;
  if (first <= now) {
    missed = 1;
    if (interval > Nanos(0)) {
      missed += static_cast<uint64_t>((now - first) / interval);
      first += interval * static_cast<int64_t>(missed);
    }
    OnExpired(missed);
  }
  if (missed == 0 || interval > Nanos(0)) timer_.Start(first, interval);
  return old;
}

time::Itimerspec TimerFd::Get() const {
  time::Timer::Setting setting = timer_.Get();
  return {time::Timespec::From(setting.interval), time::Timespec::From(setting.remaining)};
}

Result<size_t> TimerFd::Read(vfs::Caller&, mm::IoSink& dst) {
  uint64_t value;
  if (dst.remaining() < sizeof(value)) return Errno::kEINVAL;
  {
    MutexLock lock(mutex_);
    if (expirations_ == 0) return Errno::kEAGAIN;
    value = std::exchange(expirations_, 0);
  }
  if (TRY(dst.Put(AsBytes(value))) != sizeof(value)) return Errno::kEFAULT;
  return sizeof(value);
}

wait::EventMask TimerFd::Poll(wait::EventMask interest) {
  MutexLock lock(mutex_);
  return expirations_ > 0 ? EPOLLIN & interest : 0u;
}

void TimerFd::AddWaiter(wait::WaitEntry& entry, wait::EventMask mask, bool exclusive) {
  queue_.Add(entry, mask, exclusive);
}

std::string TimerFd::FdInfo() const {
  time::Itimerspec now = Get();
  MutexLock lock(mutex_);
  return StrFormat(
      "clockid: %d\nticks: %llu\nsettime flags: 0%o\nit_value: (%lld, %lld)\nit_interval: (%lld, "
      "%lld)\n",
      clock_, static_cast<unsigned long long>(expirations_), static_cast<unsigned>(settime_flags_),
      static_cast<long long>(now.value.sec), static_cast<long long>(now.value.nsec),
      static_cast<long long>(now.interval.sec), static_cast<long long>(now.interval.nsec));
}

}  // namespace sandboxd::ipc
