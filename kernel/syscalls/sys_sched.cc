// Scheduling: sched_setaffinity(2), sched_setscheduler(2), setpriority(2), getcpu(2),
// ioprio_set(2). The host schedules; what a program sets here is checked, remembered and given
// back.
#include <linux/capability.h>
#include <sched.h>
#include <sys/resource.h>

#include <algorithm>
#include <cstring>

#include "kernel/syscalls/families.h"
#include "kernel/task/session.h"
#include "kernel/time/clock.h"

#ifndef SCHED_DEADLINE
#define SCHED_DEADLINE 6
#endif
#ifndef SCHED_RESET_ON_FORK
#define SCHED_RESET_ON_FORK 0x40000000
#endif

namespace sandboxd::syscalls {
namespace {

// pid 0 is the caller.
Result<Ref<Task>> Target(Task& t, Tid pid) {
  if (pid.value < 0) return Errno::kEINVAL;
  if (pid.value == 0) return Ref<Task>(&t);
  return task::FindThread(t, pid);
}

// May the caller change how `target` is scheduled (sched_setscheduler(2))?
Result<void> MaySchedule(Task& t, Task& target) {
  creds::CredRef own = t.credentials();
  creds::CredRef other = target.credentials();
  if (own->euid == other->euid || own->euid == other->ruid) return Ok();
  return own->Capable(CAP_SYS_NICE, *other->user_ns) ? Ok() : Result<void>(Errno::kEPERM);
}

Result<void> SysSchedYield(Task&) {
  sched_yield();
  return Ok();
}

// --- affinity ---

uint64_t AllCpus(Task& t) {
  unsigned n = std::min(t.kernel().cpu_count(), 64U);
  return n == 64 ? ~uint64_t{0} : (uint64_t{1} << n) - 1;
}

Result<uint64_t> SysSchedGetaffinity(Task& t, Tid pid, uint32_t size, UserAddr out) {
  if (size < sizeof(uint64_t) || size % sizeof(uint64_t) != 0) return Errno::kEINVAL;
  Ref<Task> target = TRY(Target(t, pid));
  uint64_t mask = AllCpus(t);
  {
    MutexLock lock(t.kernel().tree_mutex());
    if (target->scheduling.affinity != 0) mask = target->scheduling.affinity;
  }
  TRY(t.memory().Write(out, mask));
  return uint64_t{sizeof(mask)};
}

Result<void> SysSchedSetaffinity(Task& t, Tid pid, uint32_t size, UserAddr in) {
  uint64_t mask = 0;
  TRY(t.memory().CopyIn(in, AsWritableBytes(mask).first(std::min<size_t>(size, sizeof(mask)))));
  Ref<Task> target = TRY(Target(t, pid));
  TRY(MaySchedule(t, *target));
  mask &= AllCpus(t);
  if (mask == 0) return Errno::kEINVAL;
  MutexLock lock(t.kernel().tree_mutex());
  target->scheduling.affinity = mask;
  return Ok();
}

Result<void> SysGetcpu(Task& t, UserOut<uint32_t> cpu, UserOut<uint32_t> node) {
  int now = sched_getcpu();
  if (!cpu.null()) TRY(cpu.Write(t, static_cast<uint32_t>(std::max(now, 0))));
  if (!node.null()) TRY(node.Write(t, uint32_t{0}));
  return Ok();
}

// --- policies ---

bool IsRealtime(int policy) { return policy == SCHED_FIFO || policy == SCHED_RR; }

Result<void> CheckPolicy(Task& t, Task& target, int policy, int priority) {
  if (policy != SCHED_OTHER && policy != SCHED_BATCH && policy != SCHED_IDLE &&
      !IsRealtime(policy)) {
    return Errno::kEINVAL;
  }
  if (IsRealtime(policy) ? (priority < 1 || priority > 99) : priority != 0) return Errno::kEINVAL;
  TRY(MaySchedule(t, target));
  const bool nice = t.credentials()->CapableInit(CAP_SYS_NICE);
  uint64_t limit = target.group().GetRlimit(RLIMIT_RTPRIO).rlim_cur;
  if (IsRealtime(policy) && !nice && static_cast<uint64_t>(priority) > limit) return Errno::kEPERM;
  return Ok();
}

Result<void> SetPolicy(Task& t, Tid pid, int policy, int priority) {
  Ref<Task> target = TRY(Target(t, pid));
  const bool reset = (policy & SCHED_RESET_ON_FORK) != 0;
  policy &= ~SCHED_RESET_ON_FORK;
  TRY(CheckPolicy(t, *target, policy, priority));
  MutexLock lock(t.kernel().tree_mutex());
  target->scheduling.policy = policy;
  target->scheduling.priority = priority;
  target->scheduling.reset_on_fork = reset;
  return Ok();
}

Result<Task::Scheduling> GetPolicy(Task& t, Tid pid) {
  Ref<Task> target = TRY(Target(t, pid));
  MutexLock lock(t.kernel().tree_mutex());
  return target->scheduling;
}

Result<void> SysSchedSetscheduler(Task& t, Tid pid, int32_t policy, UserIn<int32_t> param) {
  if (policy < 0 || param.null() || pid.value < 0) return Errno::kEINVAL;
  return SetPolicy(t, pid, policy, TRY(param.Read(t)));
}

Result<uint64_t> SysSchedGetscheduler(Task& t, Tid pid) {
  Task::Scheduling s = TRY(GetPolicy(t, pid));
  return static_cast<uint64_t>(s.policy | (s.reset_on_fork ? SCHED_RESET_ON_FORK : 0));
}

Result<void> SysSchedSetparam(Task& t, Tid pid, UserIn<int32_t> param) {
  if (param.null() || pid.value < 0) return Errno::kEINVAL;
  int32_t priority = TRY(param.Read(t));
  return SetPolicy(t, pid, TRY(GetPolicy(t, pid)).policy, priority);
}

Result<void> SysSchedGetparam(Task& t, Tid pid, UserOut<int32_t> param) {
  if (param.null() || pid.value < 0) return Errno::kEINVAL;
  return param.Write(t, TRY(GetPolicy(t, pid)).priority);
}

Result<uint64_t> SysSchedGetPriorityMax(Task&, int32_t policy) {
  if (IsRealtime(policy)) return uint64_t{99};
  if (policy == SCHED_OTHER || policy == SCHED_BATCH || policy == SCHED_IDLE ||
      policy == SCHED_DEADLINE) {
    return uint64_t{0};
  }
  return Errno::kEINVAL;
}

Result<uint64_t> SysSchedGetPriorityMin(Task& t, int32_t policy) {
  if (IsRealtime(policy)) return uint64_t{1};
  return SysSchedGetPriorityMax(t, policy);
}

Result<void> SysSchedRrGetInterval(Task& t, Tid pid, UserOut<time::Timespec> out) {
  Task::Scheduling s = TRY(GetPolicy(t, pid));
  Nanos slice = s.policy == SCHED_FIFO ? Nanos(0) : std::chrono::milliseconds(100);
  if (!IsRealtime(s.policy)) slice = std::chrono::milliseconds(4);
  return out.Write(t, time::Timespec::From(slice));
}

struct SchedAttr {  // struct sched_attr, version 1
  uint32_t size, policy;
  uint64_t flags;
  int32_t nice;
  uint32_t priority;
  uint64_t runtime, deadline, period;
  uint32_t util_min, util_max;
};
static_assert(sizeof(SchedAttr) == 56);
constexpr uint32_t kSchedAttrSize0 = 48;

Result<void> SysSchedSetattr(Task& t, Tid pid, UserAddr in, uint32_t flags) {
  if (in.null() || pid.value < 0 || flags != 0) return Errno::kEINVAL;
  uint32_t size = TRY(t.memory().Read<uint32_t>(in));
  if (size == 0) size = kSchedAttrSize0;
  if (size < kSchedAttrSize0 || size > 4096) {
    TRY(t.memory().Write(in, uint32_t{sizeof(SchedAttr)}));
    return Errno::kE2BIG;
  }
  SchedAttr attr{};
  TRY(t.memory().CopyIn(in, AsWritableBytes(attr).first(std::min<size_t>(size, sizeof(attr)))));
  constexpr uint64_t kResetOnFork = 1;  // SCHED_FLAG_RESET_ON_FORK
  if ((attr.flags & ~kResetOnFork) != 0) return Errno::kEINVAL;
  int policy = static_cast<int>(attr.policy);
  if ((attr.flags & kResetOnFork) != 0) policy |= SCHED_RESET_ON_FORK;
  TRY(SetPolicy(t, pid, policy, static_cast<int>(attr.priority)));
  if (!IsRealtime(static_cast<int>(attr.policy))) {
    TRY(Target(t, pid))->group().nice = std::clamp(attr.nice, -20, 19);
  }
  return Ok();
}

Result<void> SysSchedGetattr(Task& t, Tid pid, UserAddr out, uint32_t size, uint32_t flags) {
  if (out.null() || pid.value < 0 || flags != 0 || size < kSchedAttrSize0 || size > 4096) {
    return Errno::kEINVAL;
  }
  Task::Scheduling s = TRY(GetPolicy(t, pid));
  SchedAttr attr{};
  attr.size = std::min<uint32_t>(size, sizeof(attr));
  attr.policy = static_cast<uint32_t>(s.policy);
  attr.flags = s.reset_on_fork ? 1 : 0;
  attr.priority = static_cast<uint32_t>(s.priority);
  if (!IsRealtime(s.policy)) attr.nice = TRY(Target(t, pid))->group().nice.load();
  return t.memory().CopyOut(out, AsBytes(attr).first(attr.size));
}

// --- nice values ---

// The processes that (which, who) names.
Result<std::vector<Ref<task::ThreadGroup>>> Named(Task& t, int32_t which, int32_t who) {
  std::vector<Ref<task::ThreadGroup>> groups;
  if (which == PRIO_PROCESS) {
    groups.push_back(who == 0 ? t.group_ref() : TRY(task::FindProcess(t, Tid(who))));
    return groups;
  }
  if (which != PRIO_PGRP && which != PRIO_USER) return Errno::kEINVAL;
  Tid pgid =
      which == PRIO_PGRP ? (who == 0 ? TRY(task::GetProcessGroup(t, Tid(0))) : Tid(who)) : Tid(0);
  creds::CredRef own = t.credentials();
  auto uid = who == 0 ? std::optional(own->ruid) : own->user_ns->ToKUid(static_cast<uint32_t>(who));
  for (Ref<task::ThreadGroup>& group : t.kernel().ThreadGroups()) {
    Ref<Task> leader = group->Leader();
    if (leader == nullptr || leader->TidIn(*t.pid_ns()).value == 0) continue;
    Ref<task::ProcessGroup> pg = group->process_group();
    const bool named = which == PRIO_PGRP ? pg != nullptr && pg->IdIn(*t.pid_ns()) == pgid
                                          : uid && leader->credentials()->ruid == *uid;
    if (named) groups.push_back(std::move(group));
  }
  if (groups.empty()) return Errno::kESRCH;
  return groups;
}

// The call's result is 20 - nice, so that it is never negative (getpriority(2), NOTES).
Result<uint64_t> SysGetpriority(Task& t, int32_t which, int32_t who) {
  if (which != PRIO_PROCESS && which != PRIO_PGRP && which != PRIO_USER) return Errno::kEINVAL;
  int best = 0;
  for (const auto& group : TRY(Named(t, which, who))) best = std::max(best, 20 - group->nice);
  return static_cast<uint64_t>(best);
}

Result<void> SysSetpriority(Task& t, int32_t which, int32_t who, int32_t nice) {
  if (which != PRIO_PROCESS && which != PRIO_PGRP && which != PRIO_USER) return Errno::kEINVAL;
  nice = std::clamp(nice, -20, 19);
  creds::CredRef own = t.credentials();
  const bool privileged = own->CapableInit(CAP_SYS_NICE);
  Result<void> result;
  for (const auto& group : TRY(Named(t, which, who))) {
    Ref<Task> leader = group->Leader();
    if (leader == nullptr) continue;
    creds::CredRef other = leader->credentials();
    if (own->euid != other->ruid && own->euid != other->euid && !privileged) {
      result = Errno::kEPERM;
      continue;
    }
    const auto allowed = 20 - static_cast<int64_t>(group->GetRlimit(RLIMIT_NICE).rlim_cur);
    if (nice < group->nice && !privileged && nice < allowed) {
      result = Errno::kEACCES;
      continue;
    }
    group->nice = nice;
  }
  return result;
}

// --- ioprio ---

constexpr int32_t kIoprioProcess = 1;

Result<uint64_t> SysIoprioGet(Task& t, int32_t which, int32_t who) {
  if (which != kIoprioProcess) return which >= 1 && which <= 3 ? Errno::kESRCH : Errno::kEINVAL;
  Ref<Task> target = TRY(Target(t, Tid(who)));
  MutexLock lock(t.kernel().tree_mutex());
  return static_cast<uint64_t>(target->scheduling.ioprio);
}

Result<void> SysIoprioSet(Task& t, int32_t which, int32_t who, int32_t ioprio) {
  const int io_class = ioprio >> 13;
  const int level = ioprio & 7;
  if (io_class < 0 || io_class > 3) return Errno::kEINVAL;
  if (io_class == 0 && level != 0) return Errno::kEINVAL;
  if (io_class == 1 && !t.credentials()->CapableInit(CAP_SYS_ADMIN) &&
      !t.credentials()->CapableInit(CAP_SYS_NICE)) {
    return Errno::kEPERM;
  }
  if (which != kIoprioProcess) return which >= 1 && which <= 3 ? Errno::kESRCH : Errno::kEINVAL;
  Ref<Task> target = TRY(Target(t, Tid(who)));
  TRY(MaySchedule(t, *target));
  MutexLock lock(t.kernel().tree_mutex());
  target->scheduling.ioprio = ioprio;
  return Ok();
}

constexpr char kRemembered[] = "checked and remembered; the host schedules";

constexpr Row kRows[] = {
    Full<SysSchedYield>(SYS_sched_yield, "sched_yield"),
    Full<SysSchedGetaffinity>(SYS_sched_getaffinity, "sched_getaffinity"),
    Partial<SysSchedSetaffinity>(SYS_sched_setaffinity, "sched_setaffinity", kRemembered),
    Full<SysGetcpu>(SYS_getcpu, "getcpu"),
    Partial<SysSchedSetscheduler>(SYS_sched_setscheduler, "sched_setscheduler", kRemembered),
    Full<SysSchedGetscheduler>(SYS_sched_getscheduler, "sched_getscheduler"),
    Partial<SysSchedSetparam>(SYS_sched_setparam, "sched_setparam", kRemembered),
    Full<SysSchedGetparam>(SYS_sched_getparam, "sched_getparam"),
    Full<SysSchedGetPriorityMax>(SYS_sched_get_priority_max, "sched_get_priority_max"),
    Full<SysSchedGetPriorityMin>(SYS_sched_get_priority_min, "sched_get_priority_min"),
    Full<SysSchedRrGetInterval>(SYS_sched_rr_get_interval, "sched_rr_get_interval"),
    Partial<SysSchedSetattr>(SYS_sched_setattr, "sched_setattr", kRemembered),
    Full<SysSchedGetattr>(SYS_sched_getattr, "sched_getattr"),
    Full<SysGetpriority>(SYS_getpriority, "getpriority"),
    Partial<SysSetpriority>(SYS_setpriority, "setpriority", kRemembered),
    Partial<SysIoprioGet>(SYS_ioprio_get, "ioprio_get", "IOPRIO_WHO_PROCESS only"),
    Partial<SysIoprioSet>(SYS_ioprio_set, "ioprio_set", kRemembered),
};

}  // namespace

std::span<const Row> SchedRows() { return kRows; }

}  // namespace sandboxd::syscalls
