// CPU time and other figures of tasks and processes (getrusage(2), clock_gettime(2)).
//
// What an application's code used is the CPU clock of the stub process, which the host keeps; what
// its system calls used is the CPU clocks of our own threads. For one thread among several there is
// no host clock that we may read: the time it spent in Switch() stands for it.
#include <time.h>

#include <algorithm>

#include "kernel/task/kernel.h"
#include "kernel/task/task.h"
#include "kernel/task/thread_group.h"
#include "kernel/time/clock.h"

namespace sandboxd::task {
namespace {

// The clock ids of clock_getcpuclockid(3) and of threads (time(7); MAKE_PROCESS_CPUCLOCK of the
// ABI).
constexpr clockid_t kSchedClock = 2;
constexpr clockid_t kPerThread = 4;

Nanos ReadClock(clockid_t clock) {
  timespec t{};
  if (clock_gettime(clock, &t) != 0) return Nanos(0);
  return std::chrono::seconds(t.tv_sec) + Nanos(t.tv_nsec);
}

Nanos ThreadTime(pid_t tid) {
  if (tid <= 0) return Nanos(0);
  return ReadClock((~static_cast<clockid_t>(tid) << 3) | kSchedClock | kPerThread);
}

}  // namespace

Nanos StubTime(const mm::MemoryManager* mm) {
  if (mm == nullptr) return Nanos(0);
  pid_t pid = mm->address_space().host_pid();
  if (pid <= 0) return Nanos(0);
  return ReadClock((~static_cast<clockid_t>(pid) << 3) | kSchedClock);
}

Task::CpuTime Task::cpu_time() const {
  CpuTime t;
  t.user = Nanos(application_ns_.load(std::memory_order_relaxed));
  int64_t entered = entered_application_.load(std::memory_order_relaxed);
  if (entered != 0) t.user += std::max(time::MonotonicNow() - Nanos(entered), Nanos(0));
  if (!dead_.load(std::memory_order_acquire)) {
    t.system = ThreadTime(host_tid_.load(std::memory_order_relaxed));
  }
  return t;
}

void ThreadGroup::Usage::Add(const Usage& o) {
  user += o.user;
  system += o.system;
  max_rss_kib = std::max(max_rss_kib, o.max_rss_kib);
  minor_faults += o.minor_faults;
  major_faults += o.major_faults;
  voluntary_switches += o.voluntary_switches;
  involuntary_switches += o.involuntary_switches;
  in_blocks += o.in_blocks;
  out_blocks += o.out_blocks;
}

ThreadGroup::Usage ThreadGroup::SelfUsage() const {
  Usage usage;
  Nanos base;
  {
    MutexLock lock(usage_mutex_);
    usage = dead_threads_;
    base = stub_time_base_;
  }
  Ref<mm::MemoryManager> mm;
  for (const Ref<Task>& task : Tasks()) {
    if (mm == nullptr) mm = task->mm();
    if (task->dead_.load(std::memory_order_acquire)) continue;
    usage.system += task->cpu_time().system;
    usage.voluntary_switches += task->switches_.load(std::memory_order_relaxed);
  }
  if (mm != nullptr) {
    usage.user += std::max(StubTime(mm.get()) - base, Nanos(0));
    usage.max_rss_kib = std::max(usage.max_rss_kib, mm->usage().peak_bytes / 1024);
  }
  return usage;
}

ThreadGroup::Usage ThreadGroup::ChildrenUsage() const {
  MutexLock lock(usage_mutex_);
  return children_usage_;
}

void ThreadGroup::AccountThread(const Task& task) {
  Usage usage;
  usage.system = task.cpu_time().system;
  usage.voluntary_switches = task.switches_.load(std::memory_order_relaxed);
  MutexLock lock(usage_mutex_);
  dead_threads_.Add(usage);
}

void ThreadGroup::AccountStub(const mm::MemoryManager& mm) {
  Nanos stub = StubTime(&mm);
  uint64_t peak = mm.usage().peak_bytes / 1024;
  MutexLock lock(usage_mutex_);
  dead_threads_.user += std::max(stub - stub_time_base_, Nanos(0));
  dead_threads_.max_rss_kib = std::max(dead_threads_.max_rss_kib, peak);
  stub_time_base_ = Nanos(0);
}

}  // namespace sandboxd::task
