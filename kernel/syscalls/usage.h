// Resource use as getrusage(2) and wait4(2) give it.
#pragma once

#include <sys/resource.h>

#include "kernel/task/thread_group.h"
#include "kernel/time/clock.h"

namespace sandboxd::syscalls {

inline rusage ToRusage(const task::ThreadGroup::Usage& usage) {
  rusage r{};
  auto timeval_of = [](Nanos n) {
    time::Timeval t = time::Timeval::From(n);
    return ::timeval{t.sec, t.usec};
  };
  r.ru_utime = timeval_of(usage.user);
  r.ru_stime = timeval_of(usage.system);
  r.ru_maxrss = static_cast<long>(usage.max_rss_kib);
  r.ru_minflt = static_cast<long>(usage.minor_faults);
  r.ru_majflt = static_cast<long>(usage.major_faults);
  r.ru_inblock = static_cast<long>(usage.in_blocks);
  r.ru_oublock = static_cast<long>(usage.out_blocks);
  r.ru_nvcsw = static_cast<long>(usage.voluntary_switches);
  r.ru_nivcsw = static_cast<long>(usage.involuntary_switches);
  return r;
}

}  // namespace sandboxd::syscalls
