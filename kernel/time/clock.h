// Clocks of the sandbox. Realtime and monotonic are the host's: the vdso reads them without us.
#pragma once

#include <sys/types.h>
#include <time.h>

#include <cstdint>

#include "platform/base/result.h"
#include "platform/base/types.h"

namespace sandboxd::time {

// struct timespec of the ABI, as it comes from programs.
struct Timespec {
  int64_t sec = 0;
  int64_t nsec = 0;
  static Timespec From(Nanos n);
  bool valid() const { return sec >= 0 && nsec >= 0 && nsec < 1'000'000'000; }
  // Saturates at the largest Nanos. `valid()` first.
  Nanos ToNanos() const;
};
struct Timeval {
  int64_t sec = 0;
  int64_t usec = 0;
  static Timeval From(Nanos n);
  bool valid() const { return sec >= 0 && usec >= 0 && usec < 1'000'000; }
  Nanos ToNanos() const;
};
struct Itimerspec {
  Timespec interval;
  Timespec value;
};
struct Itimerval {
  Timeval interval;
  Timeval value;
};

Nanos RealtimeNow();
Nanos MonotonicNow();
Nanos BoottimeNow();
// One of the host-backed clocks (CLOCK_REALTIME, MONOTONIC, BOOTTIME, TAI, *_COARSE,
// MONOTONIC_RAW). EINVAL for others.
Result<Nanos> HostClockNow(clockid_t clock);
Result<Nanos> HostClockResolution(clockid_t clock);

// A point in time on `clock` as a point on CLOCK_MONOTONIC (what Block and timers take).
Result<Nanos> ToMonotonic(clockid_t clock, Nanos absolute);

}  // namespace sandboxd::time
