// Clocks and sleeping: clock_gettime(2), clock_nanosleep(2), gettimeofday(2), adjtimex(2) and
// relatives.
#include <linux/capability.h>
#include <sys/times.h>
#include <sys/timex.h>

#include "kernel/syscalls/deadlines.h"
#include "kernel/syscalls/families.h"
#include "kernel/task/process_timers.h"
#include "kernel/task/session.h"

namespace sandboxd::syscalls {
namespace {

using time::Timespec;
using time::Timeval;

constexpr Nanos kTick = std::chrono::milliseconds(10);  // USER_HZ is 100

Nanos ThreadClock(const Task& t) {
  Task::CpuTime time = t.cpu_time();
  return time.user + time.system;
}

// clock_getcpuclockid(3): a negative id names a process or thread. `~id >> 3` is its pid, bit 2
// says thread, the low two bits are the kind (0 profiling, 1 virtual, 2 scheduling).
Result<Nanos> DynamicClock(Task& t, int32_t id) {
  constexpr int32_t kThread = 4;
  const Tid pid(~(id >> 3));
  if ((id & 3) == 3) return Errno::kEINVAL;
  if ((id & kThread) != 0) {
    Ref<Task> thread(&t);
    if (pid.value != 0) {
      auto found = task::FindThread(t, pid);
      if (!found.ok() || &(*found)->group() != &t.group()) return Errno::kEINVAL;
      thread = *found;
    }
    return ThreadClock(*thread);
  }
  Ref<task::ThreadGroup> group = t.group_ref();
  if (pid.value != 0) {
    auto found = task::FindProcess(t, pid);
    if (!found.ok()) return Errno::kEINVAL;
    group = *found;
  }
  return group->timers().ProcessClock();
}

Result<Nanos> ReadClock(Task& t, int32_t clock) {
  if (clock < 0) return DynamicClock(t, clock);
  if (clock == CLOCK_PROCESS_CPUTIME_ID) return t.group().timers().ProcessClock();
  if (clock == CLOCK_THREAD_CPUTIME_ID) return ThreadClock(t);
  return time::HostClockNow(clock);
}

Result<void> SysClockGettime(Task& t, int32_t clock, UserOut<Timespec> out) {
  return out.Write(t, Timespec::From(TRY(ReadClock(t, clock))));
}

Result<void> SysClockGetres(Task& t, int32_t clock, UserOut<Timespec> out) {
  Nanos resolution(1);
  if (clock < 0 || clock == CLOCK_PROCESS_CPUTIME_ID || clock == CLOCK_THREAD_CPUTIME_ID) {
    TRY(ReadClock(t, clock));
  } else {
    resolution = TRY(time::HostClockResolution(clock));
  }
  return out.null() ? Ok() : out.Write(t, Timespec::From(resolution));
}

// The clock is the host's: nobody in a sandbox may set it.
Result<void> SysClockSettime(Task& t, int32_t clock, UserIn<Timespec> in) {
  if (clock != CLOCK_REALTIME) return Errno::kEINVAL;
  Timespec value = TRY(in.Read(t));
  if (!value.valid()) return Errno::kEINVAL;
  return Errno::kEPERM;
}

struct Timezone {
  int32_t minutes_west, dst_time;
};

Result<void> SysGettimeofday(Task& t, UserOut<Timeval> tv, UserOut<Timezone> tz) {
  if (!tv.null()) TRY(tv.Write(t, Timeval::From(time::RealtimeNow())));
  if (!tz.null()) TRY(tz.Write(t, Timezone{}));
  return Ok();
}

Result<void> SysSettimeofday(Task& t, UserIn<Timeval> tv, UserIn<Timezone> tz) {
  if (!tv.null() && !TRY(tv.Read(t)).valid()) return Errno::kEINVAL;
  if (!tz.null()) TRY(tz.Read(t));
  return Errno::kEPERM;
}

Result<uint64_t> SysTime(Task& t, UserOut<int64_t> out) {
  int64_t seconds = Timespec::From(time::RealtimeNow()).sec;
  if (!out.null()) TRY(out.Write(t, seconds));
  return static_cast<uint64_t>(seconds);
}

Result<uint64_t> SysTimes(Task& t, UserOut<tms> out) {
  if (!out.null()) {
    auto self = t.group().SelfUsage();
    auto children = t.group().ChildrenUsage();
    TRY(out.Write(t, tms{self.user / kTick, self.system / kTick, children.user / kTick,
                         children.system / kTick}));
  }
  return static_cast<uint64_t>(time::BoottimeNow() / kTick);
}

// --- sleeping ---

enum class Kind : uint8_t { kRelative, kAbsolute };

Result<uint64_t> SleepUntil(Task& t, Nanos deadline, Kind kind, UserAddr remaining) {
  Result<void> r = Ok();
  while (r.ok()) r = t.Block(deadline);
  if (r.Is(Errno::kETIMEDOUT)) return uint64_t{0};
  if (kind == Kind::kAbsolute) return Errno::kERESTARTNOHAND;
  if (!remaining.null()) TRY(t.memory().Write(remaining, Timespec::From(TimeLeft(deadline))));
  t.set_restart([=](Task& task) { return SleepUntil(task, deadline, kind, remaining); });
  return Errno::kERESTART_RESTARTBLOCK;
}

Result<uint64_t> SysNanosleep(Task& t, UserIn<Timespec> in, UserAddr remaining) {
  Timespec request = TRY(in.Read(t));
  if (!request.valid()) return Errno::kEINVAL;
  return SleepUntil(t, *DeadlineIn(request.ToNanos()), Kind::kRelative, remaining);
}

Result<uint64_t> SysClockNanosleep(Task& t, int32_t clock, int32_t flags, UserIn<Timespec> in,
                                   UserAddr remaining) {
  if (clock == CLOCK_THREAD_CPUTIME_ID) return Errno::kEINVAL;
  if (clock < 0 || clock == CLOCK_PROCESS_CPUTIME_ID) return Errno::kEOPNOTSUPP;
  TRY(time::HostClockNow(clock));
  if (clock == CLOCK_MONOTONIC_RAW || clock == CLOCK_MONOTONIC_COARSE ||
      clock == CLOCK_REALTIME_COARSE) {
    return Errno::kEOPNOTSUPP;
  }
  if (clock == CLOCK_REALTIME_ALARM || clock == CLOCK_BOOTTIME_ALARM) {
    if (!t.credentials()->CapableInit(CAP_WAKE_ALARM)) return Errno::kEPERM;
  }
  Timespec request = TRY(in.Read(t));
  if (!request.valid()) return Errno::kEINVAL;
  if ((flags & TIMER_ABSTIME) == 0) {
    return SleepUntil(t, *DeadlineIn(request.ToNanos()), Kind::kRelative, remaining);
  }
  Nanos deadline = TRY(time::ToMonotonic(clock, request.ToNanos()));
  return SleepUntil(t, deadline, Kind::kAbsolute, UserAddr(0));
}

// --- adjtimex ---

Result<uint64_t> ReadTimex(Task& t, UserAddr addr) {
  timex in = TRY(t.memory().Read<timex>(addr));
  if (in.modes != 0) return Errno::kEPERM;
  timex out{};
  out.status = STA_UNSYNC;
  out.constant = 2;
  out.precision = 1;
  out.tolerance = 32768000;
  out.tick = 10000;
  out.maxerror = out.esterror = 16000000;
  Timeval now = Timeval::From(time::RealtimeNow());
  out.time = {now.sec, now.usec};
  TRY(t.memory().Write(addr, out));
  return uint64_t{TIME_ERROR};
}

Result<uint64_t> SysAdjtimex(Task& t, UserAddr addr) { return ReadTimex(t, addr); }

Result<uint64_t> SysClockAdjtime(Task& t, int32_t clock, UserAddr addr) {
  if (clock != CLOCK_REALTIME) {
    TRY(ReadClock(t, clock));
    return Errno::kEOPNOTSUPP;
  }
  return ReadTimex(t, addr);
}

constexpr Row kRows[] = {
    Full<SysClockGettime>(SYS_clock_gettime, "clock_gettime"),
    Full<SysClockGetres>(SYS_clock_getres, "clock_getres"),
    Partial<SysClockSettime>(SYS_clock_settime, "clock_settime", "always EPERM: host's clock"),
    Full<SysGettimeofday>(SYS_gettimeofday, "gettimeofday"),
    Partial<SysSettimeofday>(SYS_settimeofday, "settimeofday", "always EPERM: host's clock"),
    Full<SysTime>(SYS_time, "time"),
    Full<SysTimes>(SYS_times, "times"),
    Full<SysNanosleep>(SYS_nanosleep, "nanosleep"),
    Partial<SysClockNanosleep>(SYS_clock_nanosleep, "clock_nanosleep", "no CPU-time clocks"),
    Partial<SysAdjtimex>(SYS_adjtimex, "adjtimex", "reads only"),
    Partial<SysClockAdjtime>(SYS_clock_adjtime, "clock_adjtime", "reads only"),
};

}  // namespace

std::span<const Row> TimeRows() { return kRows; }

}  // namespace sandboxd::syscalls
