#include "kernel/time/clock.h"

#include <limits>

namespace sandboxd::time {
namespace {

constexpr int64_t kNanosPerSecond = 1'000'000'000;
constexpr int64_t kMaxSeconds = std::numeric_limits<int64_t>::max() / kNanosPerSecond;

Nanos Read(clockid_t clock) {
  timespec now{};
  clock_gettime(clock, &now);
  return Nanos(now.tv_sec * kNanosPerSecond + now.tv_nsec);
}

bool IsHostClock(clockid_t clock) {
  switch (clock) {
    case CLOCK_REALTIME:
    case CLOCK_MONOTONIC:
    case CLOCK_MONOTONIC_RAW:
    case CLOCK_REALTIME_COARSE:
    case CLOCK_MONOTONIC_COARSE:
    case CLOCK_BOOTTIME:
    case CLOCK_REALTIME_ALARM:
    case CLOCK_BOOTTIME_ALARM:
    case CLOCK_TAI:
      return true;
    default:
      return false;
  }
}

}  // namespace

Timespec Timespec::From(Nanos n) {
  int64_t sec = n.count() / kNanosPerSecond;
  int64_t nsec = n.count() % kNanosPerSecond;
  if (nsec < 0) {
    sec--;
    nsec += kNanosPerSecond;
  }
  return {sec, nsec};
}

Nanos Timespec::ToNanos() const {
  if (sec >= kMaxSeconds) return Nanos::max();
  return Nanos(sec * kNanosPerSecond + nsec);
}

Timeval Timeval::From(Nanos n) {
  Timespec t = Timespec::From(n);
  return {t.sec, t.nsec / 1000};
}

Nanos Timeval::ToNanos() const {
  if (sec >= kMaxSeconds) return Nanos::max();
  return Nanos(sec * kNanosPerSecond + usec * 1000);
}

Nanos RealtimeNow() { return Read(CLOCK_REALTIME); }
Nanos MonotonicNow() { return Read(CLOCK_MONOTONIC); }
Nanos BoottimeNow() { return Read(CLOCK_BOOTTIME); }

Result<Nanos> HostClockNow(clockid_t clock) {
  if (!IsHostClock(clock)) return Errno::kEINVAL;
  return Read(clock);
}

Result<Nanos> HostClockResolution(clockid_t clock) {
  if (!IsHostClock(clock)) return Errno::kEINVAL;
  timespec resolution{};
  clock_getres(clock, &resolution);
  return Nanos(resolution.tv_sec * kNanosPerSecond + resolution.tv_nsec);
}

Result<Nanos> ToMonotonic(clockid_t clock, Nanos absolute) {
  if (clock == CLOCK_MONOTONIC) return absolute;
  Nanos there = TRY(HostClockNow(clock));
  Nanos here = MonotonicNow();
  // Both clocks are far from the ends of the range; only the request may be near.
  Nanos difference = absolute - there;
  if (difference > Nanos::max() - here) return Nanos::max();
  return here + difference;
}

}  // namespace sandboxd::time
