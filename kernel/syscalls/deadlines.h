// Timeouts of system calls as points on CLOCK_MONOTONIC, and back.
#pragma once

#include "kernel/syscalls/args.h"
#include "kernel/time/clock.h"
#include "kernel/wait/wait_queue.h"

namespace sandboxd::syscalls {

// `from_now` from now; never wraps.
inline wait::Deadline DeadlineIn(Nanos from_now) {
  auto sum = CheckedAdd<int64_t>(time::MonotonicNow().count(), from_now.count());
  return sum.has_value() ? Nanos(*sum) : Nanos::max();
}
// A timeout in milliseconds, as poll(2) and epoll_wait(2) take it: negative waits for ever.
inline wait::Deadline DeadlineInMs(int32_t ms) {
  if (ms < 0) return std::nullopt;
  return DeadlineIn(std::chrono::milliseconds(ms));
}
// SO_RCVTIMEO and SO_SNDTIMEO (net::Socket): zero waits for ever, a negative one not at all.
inline wait::Deadline TimeoutDeadline(Nanos timeout) {
  if (timeout == Nanos(0)) return std::nullopt;
  return DeadlineIn(std::max(timeout, Nanos(0)));
}
// A relative struct timespec at `addr`; null waits for ever. EINVAL, EFAULT.
inline Result<wait::Deadline> ReadRelativeTimeout(Task& t, UserAddr addr) {
  if (addr.null()) return wait::Deadline();
  auto value = TRY(t.memory().Read<time::Timespec>(addr));
  if (!value.valid()) return Errno::kEINVAL;
  return DeadlineIn(value.ToNanos());
}
// What is left until `deadline`; zero if it has passed.
inline Nanos TimeLeft(Nanos deadline) {
  return std::max(Nanos(0), deadline - time::MonotonicNow());
}

}  // namespace sandboxd::syscalls
