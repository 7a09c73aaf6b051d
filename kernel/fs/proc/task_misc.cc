// The other text files of /proc/PID: comm, limits, io, cgroup, oom_*, id maps, and such.
#include <linux/capability.h>
#include <sys/resource.h>

#include <algorithm>

#include "kernel/fs/proc/task_ref.h"
#include "kernel/time/clock.h"
#include "platform/base/format.h"

namespace sandboxd::proc {
namespace {

std::string_view Trim(std::string_view s) {
  size_t first = s.find_first_not_of(" \t\n");
  if (first == std::string_view::npos) return "";
  return s.substr(first, s.find_last_not_of(" \t\n\0") - first + 1);
}

Result<int64_t> ParseNumber(std::string_view text) {
  std::string s(Trim(text));
  char* end = nullptr;
  errno = 0;
  long long n = strtoll(s.c_str(), &end, 10);
  if (s.empty() || *end != '\0' || errno != 0) return Errno::kEINVAL;
  return int64_t{n};
}

Result<std::string> Comm(const View& v) { return v.task.comm() + "\n"; }
Result<void> SetComm(const View& v, std::string_view text) {
  // proc(5): "A thread may modify its comm value, or that of any of other thread in the same thread
  // group".
  task::Task* reader = v.reader();
  if (reader == nullptr || &reader->group() != &v.group()) return Errno::kEINVAL;
  text = text.substr(0, text.find('\0'));
  v.task.set_comm(text.substr(0, 15));
  return Ok();
}

struct LimitRow {
  int resource;
  const char* name;
  const char* unit;
};
constexpr LimitRow kLimits[] = {
    {RLIMIT_CPU, "Max cpu time", "seconds"},
    {RLIMIT_FSIZE, "Max file size", "bytes"},
    {RLIMIT_DATA, "Max data size", "bytes"},
    {RLIMIT_STACK, "Max stack size", "bytes"},
    {RLIMIT_CORE, "Max core file size", "bytes"},
    {RLIMIT_RSS, "Max resident set", "bytes"},
    {RLIMIT_NPROC, "Max processes", "processes"},
    {RLIMIT_NOFILE, "Max open files", "files"},
    {RLIMIT_MEMLOCK, "Max locked memory", "bytes"},
    {RLIMIT_AS, "Max address space", "bytes"},
    {RLIMIT_LOCKS, "Max file locks", "locks"},
    {RLIMIT_SIGPENDING, "Max pending signals", "signals"},
    {RLIMIT_MSGQUEUE, "Max msgqueue size", "bytes"},
    {RLIMIT_NICE, "Max nice priority", ""},
    {RLIMIT_RTPRIO, "Max realtime priority", ""},
    {RLIMIT_RTTIME, "Max realtime timeout", "us"},
};

Result<std::string> Limits(const View& v) {
  std::string s =
      StrFormat("%-25s %-20s %-20s %-10s\n", "Limit", "Soft Limit", "Hard Limit", "Units");
  auto value = [](uint64_t n) {
    return n == RLIM64_INFINITY ? std::string("unlimited") : std::to_string(n);
  };
  for (const LimitRow& row : kLimits) {
    rlimit64 limit = v.group().GetRlimit(row.resource);
    s += StrFormat("%-25s %-20s %-20s %-10s\n", row.name, value(limit.rlim_cur).c_str(),
                   value(limit.rlim_max).c_str(), row.unit);
  }
  return s;
}

Result<std::string> Io(const View& v) {
  TRY(CheckAccess(v));
  task::ThreadGroup::Usage u = v.group().SelfUsage();
  return StrFormat(
      "rchar: 0\nwchar: 0\nsyscr: 0\nsyscw: 0\nread_bytes: %llu\nwrite_bytes: %llu\n"
      "cancelled_write_bytes: 0\n",
      static_cast<unsigned long long>(u.in_blocks * 512),
      static_cast<unsigned long long>(u.out_blocks * 512));
}

Result<std::string> Cgroup(const View&) { return std::string("0::/\n"); }

Result<std::string> OomScore(const View& v) {
  int adj = v.group().oom_score_adj.load(std::memory_order_relaxed);
  return StrFormat("%d\n", std::clamp(666 + adj * 2 / 3, 0, 2000));
}
Result<std::string> OomScoreAdj(const View& v) {
  return StrFormat("%d\n", v.group().oom_score_adj.load(std::memory_order_relaxed));
}
Result<void> ApplyOomScoreAdj(const View& v, int64_t value) {
  if (value < -1000 || value > 1000) return Errno::kEINVAL;
  int now = v.group().oom_score_adj.load(std::memory_order_relaxed);
  if (value < now && !v.caller.credentials()->CapableInit(CAP_SYS_RESOURCE)) {
    return Errno::kEACCES;
  }
  v.group().oom_score_adj.store(static_cast<int>(value), std::memory_order_relaxed);
  return Ok();
}
Result<void> SetOomScoreAdj(const View& v, std::string_view text) {
  return ApplyOomScoreAdj(v, TRY(ParseNumber(text)));
}
// The old scale: -17 (never) to 15.
Result<std::string> OomAdj(const View& v) {
  int adj = v.group().oom_score_adj.load(std::memory_order_relaxed);
  return StrFormat("%d\n", adj == 1000 ? 15 : adj * 17 / 1000);
}
Result<void> SetOomAdj(const View& v, std::string_view text) {
  int64_t old = TRY(ParseNumber(text));
  if (old < -17 || old > 15) return Errno::kEINVAL;
  return ApplyOomScoreAdj(v, old == 15 ? 1000 : old * 1000 / 17);
}

Result<std::string> LoginUid(const View&) { return std::string("4294967295"); }

// --- user_namespaces(7): the id maps ---

std::string MapText(const std::vector<creds::IdMapEntry>& map) {
  std::string s;
  for (const creds::IdMapEntry& e : map) {
    s += StrFormat("%10u %10u %10u\n", e.inside, e.outside, e.count);
  }
  return s;
}

Result<std::vector<creds::IdMapEntry>> ParseMap(std::string_view text) {
  std::vector<creds::IdMapEntry> map;
  while (!Trim(text).empty()) {
    size_t end = text.find('\n');
    std::string line(text.substr(0, end));
    text = end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
    unsigned long long inside = 0, outside = 0, count = 0;
    char rest = 0;
    int n = sscanf(line.c_str(), "%llu %llu %llu %c", &inside, &outside, &count, &rest);
    if (n != 3 || inside > UINT32_MAX || outside > UINT32_MAX || count > UINT32_MAX) {
      return Errno::kEINVAL;
    }
    map.push_back({static_cast<uint32_t>(inside), static_cast<uint32_t>(outside),
                   static_cast<uint32_t>(count)});
  }
  if (map.empty()) return Errno::kEINVAL;
  return map;
}

// user_namespaces(7), "Defining user and group ID mappings: writing to uid_map and gid_map".
// `maps_itself`: the map is one id, the writer's own.
Result<void> CheckMapWriter(const View& v, const creds::UserNamespace& ns, int cap,
                            bool maps_itself) {
  const creds::UserNamespace* parent = ns.parent();
  if (parent == nullptr) return Errno::kEPERM;
  creds::CredRef writer = v.caller.credentials();
  if (writer->user_ns.get() != &ns && writer->user_ns.get() != parent) return Errno::kEPERM;
  if (!writer->Capable(CAP_SYS_ADMIN, ns)) return Errno::kEPERM;
  if (maps_itself && ns.owner() == writer->euid) return Ok();
  return writer->Capable(cap, *parent) ? Ok() : Result<void>(Errno::kEPERM);
}

Result<std::string> UidMap(const View& v) {
  Ref<creds::UserNamespace> ns = v.task.credentials()->user_ns;
  return MapText(ns->UidMapFor(*v.caller.credentials()->user_ns));
}
Result<void> SetUidMap(const View& v, std::string_view text) {
  Ref<creds::UserNamespace> ns = v.task.credentials()->user_ns;
  if (!ns->uid_map().empty()) return Errno::kEPERM;
  auto map = TRY(ParseMap(text));
  creds::CredRef writer = v.caller.credentials();
  const bool itself = map.size() == 1 && map[0].count == 1 && ns->parent() != nullptr &&
                      ns->parent()->ToKUid(map[0].outside) == writer->euid;
  TRY(CheckMapWriter(v, *ns, CAP_SETUID, itself));
  for (const creds::IdMapEntry& e : map) {
    if (!ns->parent()->ToKUid(e.outside)) return Errno::kEPERM;
  }
  return ns->SetUidMap(std::move(map));
}
Result<std::string> GidMap(const View& v) {
  Ref<creds::UserNamespace> ns = v.task.credentials()->user_ns;
  return MapText(ns->GidMapFor(*v.caller.credentials()->user_ns));
}
Result<void> SetGidMap(const View& v, std::string_view text) {
  Ref<creds::UserNamespace> ns = v.task.credentials()->user_ns;
  if (!ns->gid_map().empty()) return Errno::kEPERM;
  auto map = TRY(ParseMap(text));
  creds::CredRef writer = v.caller.credentials();
  // Who may drop a group by this must have given up setgroups(2) first.
  const bool itself = map.size() == 1 && map[0].count == 1 && ns->parent() != nullptr &&
                      ns->parent()->ToKGid(map[0].outside) == writer->egid &&
                      !ns->setgroups_allowed();
  TRY(CheckMapWriter(v, *ns, CAP_SETGID, itself));
  for (const creds::IdMapEntry& e : map) {
    if (!ns->parent()->ToKGid(e.outside)) return Errno::kEPERM;
  }
  return ns->SetGidMap(std::move(map));
}
Result<std::string> Setgroups(const View& v) {
  return std::string(v.task.credentials()->user_ns->setgroups_allowed() ? "allow\n" : "deny\n");
}
Result<void> SetSetgroups(const View& v, std::string_view text) {
  text = Trim(text);
  if (text != "allow" && text != "deny") return Errno::kEINVAL;
  Ref<creds::UserNamespace> ns = v.task.credentials()->user_ns;
  if (!v.caller.credentials()->Capable(CAP_SYS_ADMIN, *ns)) return Errno::kEPERM;
  return ns->SetSetgroups(text == "allow");
}

// time_namespaces(7): what the namespace of the children adds.
Result<std::string> TimensOffsets(const View& v) {
  Ref<task::TimeNamespace> ns = v.task.time_ns_for_children();
  auto line = [](const char* name, Nanos n) {
    int64_t seconds = n.count() / 1'000'000'000, rest = n.count() % 1'000'000'000;
    if (rest < 0) {
      seconds--;
      rest += 1'000'000'000;
    }
    return StrFormat("%-10s %10lld %9lld\n", name, static_cast<long long>(seconds),
                     static_cast<long long>(rest));
  };
  return line("monotonic", ns->monotonic_offset()) + line("boottime", ns->boottime_offset());
}
Result<void> SetTimensOffsets(const View& v, std::string_view text) {
  Ref<task::TimeNamespace> ns = v.task.time_ns_for_children();
  if (!v.caller.credentials()->Capable(CAP_SYS_TIME, *ns->user_ns())) return Errno::kEPERM;
  std::vector<std::pair<clockid_t, Nanos>> offsets;
  while (!Trim(text).empty()) {
    size_t end = text.find('\n');
    std::string line(text.substr(0, end));
    text = end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
    char name[16];
    long long seconds = 0, nanos = 0;
    char rest = 0;
    if (sscanf(line.c_str(), "%15s %lld %lld %c", name, &seconds, &nanos, &rest) != 3 ||
        nanos < 0 || nanos > 999'999'999) {
      return Errno::kEINVAL;
    }
    std::string_view clock = name;
    const bool monotonic = clock == "monotonic" || clock == std::to_string(CLOCK_MONOTONIC);
    if (!monotonic && clock != "boottime" && clock != std::to_string(CLOCK_BOOTTIME)) {
      return Errno::kEINVAL;
    }
    constexpr long long kMaxSeconds = INT64_MAX / 1'000'000'000 / 2;
    if (seconds > kMaxSeconds || seconds < -kMaxSeconds) return Errno::kERANGE;
    Nanos offset(seconds * 1'000'000'000 + nanos);
    // No clock may show a time before its start.
    Nanos now = monotonic ? time::MonotonicNow() : time::BoottimeNow();
    if (now + offset < Nanos(0)) return Errno::kERANGE;
    offsets.emplace_back(monotonic ? CLOCK_MONOTONIC : CLOCK_BOOTTIME, offset);
  }
  if (offsets.empty()) return Errno::kEINVAL;
  for (const auto& [clock, offset] : offsets) TRY(ns->SetOffset(clock, offset));
  return Ok();
}

Result<std::string> Personality(const View& v) {
  TRY(CheckAccess(v));
  return StrFormat("%08x\n", v.task.personality.load(std::memory_order_relaxed));
}
Result<std::string> Wchan(const View&) { return std::string("0"); }
Result<std::string> Syscall(const View& v) {
  TRY(CheckAccess(v, Errno::kEPERM));
  int64_t call = v.task.current_syscall();
  if (call < 0) return std::string("running\n");
  return StrFormat("%lld 0x0 0x0 0x0 0x0 0x0 0x0 0x0 0x0\n", static_cast<long long>(call));
}
Result<std::string> Sched(const View& v) {
  task::ThreadGroup::Usage u = v.group().SelfUsage();
  return StrFormat("%s (%d, #threads: %d)\nnr_switches : %llu\nprio : 120\n", v.task.comm().c_str(),
                   v.task.TidIn(v.ns()).value, v.group().thread_count(),
                   static_cast<unsigned long long>(u.voluntary_switches + u.involuntary_switches));
}
Result<std::string> Schedstat(const View& v) {
  task::Task::CpuTime t = v.task.cpu_time();
  return StrFormat("%lld 0 0\n", static_cast<long long>((t.user + t.system).count()));
}
Result<std::string> TimerSlack(const View& v) {
  return StrFormat("%llu\n", static_cast<unsigned long long>(
                                 v.task.timer_slack_ns.load(std::memory_order_relaxed)));
}
Result<void> SetTimerSlack(const View& v, std::string_view text) {
  TRY(CheckAccess(v, Errno::kEPERM));
  int64_t n = TRY(ParseNumber(text));
  if (n < 0) return Errno::kEINVAL;
  v.task.timer_slack_ns.store(n == 0 ? 50'000 : static_cast<uint64_t>(n),
                              std::memory_order_relaxed);
  return Ok();
}
Result<std::string> CoredumpFilter(const View&) { return std::string("00000033\n"); }

Result<std::string> Children(const View& v) {
  std::string s;
  MutexLock lock(v.sb.kernel().tree_mutex());
  for (task::Task* t : v.ns().Tasks()) {
    if (t->is_leader() && t->group().parent() == &v.group()) {
      s += StrFormat("%d ", t->TidIn(v.ns()).value);
    }
  }
  return s;
}

constexpr TaskFile kFiles[] = {
    {"comm", 0644, Comm, SetComm},
    {"limits", 0444, Limits},
    {"io", 0400, Io},
    {"cgroup", 0444, Cgroup},
    {"oom_score", 0444, OomScore},
    {"oom_score_adj", 0644, OomScoreAdj, SetOomScoreAdj},
    {"oom_adj", 0644, OomAdj, SetOomAdj},
    {"loginuid", 0444, LoginUid},
    {"sessionid", 0444, LoginUid},
    {"uid_map", 0644, UidMap, SetUidMap},
    {"gid_map", 0644, GidMap, SetGidMap},
    {"setgroups", 0644, Setgroups, SetSetgroups},
    {"timens_offsets", 0644, TimensOffsets, SetTimensOffsets, false, true},
    {"personality", 0400, Personality},
    {"wchan", 0444, Wchan},
    {"syscall", 0400, Syscall},
    {"sched", 0444, Sched},
    {"schedstat", 0444, Schedstat},
    {"timerslack_ns", 0666, TimerSlack, SetTimerSlack},
    {"coredump_filter", 0444, CoredumpFilter, nullptr, false, true},
    {"children", 0444, Children},
};

}  // namespace

std::span<const TaskFile> MiscFiles() { return kFiles; }

}  // namespace sandboxd::proc
