// Timers: alarm(2), setitimer(2), timer_create(2) and relatives.
#include <linux/capability.h>
#include <signal.h>
#include <sys/time.h>

#include "kernel/syscalls/families.h"
#include "kernel/task/process_timers.h"
#include "kernel/task/session.h"
#include "kernel/time/clock.h"

namespace sandboxd::syscalls {
namespace {

using task::ProcessTimers;
using time::Itimerspec;
using time::Itimerval;
using time::Timespec;
using time::Timeval;

// --- interval timers ---

Result<uint64_t> SysAlarm(Task& t, uint32_t seconds) {
  auto old = t.group().timers().SetInterval(ITIMER_REAL, {std::chrono::seconds(seconds), Nanos(0)});
  Timeval left = Timeval::From(old.value);
  // "seconds remaining": rounded, but never down to 0 for a timer that runs.
  uint64_t whole = static_cast<uint64_t>(left.sec);
  if ((whole == 0 && left.usec > 0) || left.usec >= 500'000) whole++;
  return whole;
}

bool IsIntervalTimer(int32_t which) {
  return which == ITIMER_REAL || which == ITIMER_VIRTUAL || which == ITIMER_PROF;
}

Itimerval ToItimerval(const ProcessTimers::Setting& s) {
  return {Timeval::From(s.interval), Timeval::From(s.value)};
}

Result<void> SysGetitimer(Task& t, int32_t which, UserOut<Itimerval> out) {
  if (!IsIntervalTimer(which)) return Errno::kEINVAL;
  return out.Write(t, ToItimerval(t.group().timers().GetInterval(which)));
}

Result<void> SysSetitimer(Task& t, int32_t which, UserIn<Itimerval> in, UserOut<Itimerval> out) {
  Itimerval value;  // a null pointer disarms, as Linux keeps it
  if (!in.null()) value = TRY(in.Read(t));
  if (!value.value.valid() || !value.interval.valid()) return Errno::kEINVAL;
  if (!IsIntervalTimer(which)) return Errno::kEINVAL;
  auto old =
      t.group().timers().SetInterval(which, {value.value.ToNanos(), value.interval.ToNanos()});
  return out.null() ? Ok() : out.Write(t, ToItimerval(old));
}

// --- POSIX timers ---

struct SigEvent {  // struct sigevent of the ABI
  uint64_t value;
  int32_t signo;
  int32_t notify;
  int32_t tid;
  uint8_t pad[44];
};
static_assert(sizeof(SigEvent) == 64);
constexpr int32_t kSigevThreadId = 4;

Result<void> CheckTimerClock(Task& t, int32_t clock) {
  switch (clock) {
    case CLOCK_REALTIME:
    case CLOCK_MONOTONIC:
    case CLOCK_BOOTTIME:
    case CLOCK_TAI:
    case CLOCK_PROCESS_CPUTIME_ID:
    case CLOCK_THREAD_CPUTIME_ID:
      return Ok();
    case CLOCK_REALTIME_ALARM:
    case CLOCK_BOOTTIME_ALARM:
      return t.credentials()->CapableInit(CAP_WAKE_ALARM) ? Ok() : Result<void>(Errno::kEPERM);
    case CLOCK_MONOTONIC_RAW:
    case CLOCK_REALTIME_COARSE:
    case CLOCK_MONOTONIC_COARSE:
      return Errno::kEOPNOTSUPP;
    default:
      return Errno::kEINVAL;
  }
}

Result<void> ApplySigEvent(Task& t, const SigEvent& event, ProcessTimers::Definition& d) {
  d.notify = event.notify;
  d.info.signo = event.signo;
  d.info.timer.value = event.value;
  if (event.notify == SIGEV_NONE) return Ok();
  if (event.notify != SIGEV_SIGNAL && event.notify != SIGEV_THREAD &&
      event.notify != kSigevThreadId) {
    return Errno::kEINVAL;
  }
  if ((event.notify & kSigevThreadId) != 0) {
    auto target = task::FindThread(t, Tid(event.tid));
    if (!target.ok() || &(*target)->group() != &t.group()) return Errno::kEINVAL;
    d.target = *target;
  }
  if (event.signo < 1 || event.signo > signal::kSignalCount) return Errno::kEINVAL;
  return Ok();
}

Result<void> SysTimerCreate(Task& t, int32_t clock, UserIn<SigEvent> uevent, UserOut<int32_t> out) {
  ProcessTimers::Definition d;
  d.clock = clock;
  d.owner = Ref<Task>(&t);
  d.info.code = SI_TIMER;
  SigEvent event{};
  if (!uevent.null()) event = TRY(uevent.Read(t));
  TRY(CheckTimerClock(t, clock));
  if (uevent.null()) {
    d.notify = SIGEV_SIGNAL;
    d.info.signo = SIGALRM;
    d.value_is_id = true;
  } else {
    TRY(ApplySigEvent(t, event, d));
  }
  int id = TRY(t.group().timers().Create(std::move(d)));
  auto written = out.Write(t, id);
  if (!written.ok()) (void)t.group().timers().Delete(id);
  return written;
}

Itimerspec ToItimerspec(const ProcessTimers::Setting& s) {
  return {Timespec::From(s.interval), Timespec::From(s.value)};
}

Result<void> SysTimerSettime(Task& t, int32_t id, int32_t flags, UserIn<Itimerspec> in,
                             UserOut<Itimerspec> out) {
  if (in.null()) return Errno::kEINVAL;
  Itimerspec value = TRY(in.Read(t));
  if (!value.value.valid() || !value.interval.valid()) return Errno::kEINVAL;
  auto old = TRY(t.group().timers().Set(id, {value.value.ToNanos(), value.interval.ToNanos()},
                                        (flags & TIMER_ABSTIME) != 0));
  return out.null() ? Ok() : out.Write(t, ToItimerspec(old));
}

Result<void> SysTimerGettime(Task& t, int32_t id, UserOut<Itimerspec> out) {
  return out.Write(t, ToItimerspec(TRY(t.group().timers().Get(id))));
}

Result<uint64_t> SysTimerGetoverrun(Task& t, int32_t id) {
  return static_cast<uint64_t>(TRY(t.group().timers().Overrun(id)));
}

Result<void> SysTimerDelete(Task& t, int32_t id) { return t.group().timers().Delete(id); }

constexpr Row kRows[] = {
    Full<SysAlarm>(SYS_alarm, "alarm"),
    Full<SysGetitimer>(SYS_getitimer, "getitimer"),
    Partial<SysSetitimer>(SYS_setitimer, "setitimer", "CPU-time timers are coarse"),
    Partial<SysTimerCreate>(SYS_timer_create, "timer_create",
                            "no CPU-time clocks of other processes; those there are, are coarse"),
    Full<SysTimerSettime>(SYS_timer_settime, "timer_settime"),
    Full<SysTimerGettime>(SYS_timer_gettime, "timer_gettime"),
    Full<SysTimerGetoverrun>(SYS_timer_getoverrun, "timer_getoverrun"),
    Full<SysTimerDelete>(SYS_timer_delete, "timer_delete"),
};

}  // namespace

std::span<const Row> TimerRows() { return kRows; }

}  // namespace sandboxd::syscalls
