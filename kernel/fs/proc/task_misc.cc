// The other text files of /proc/PID: comm, limits, io, cgroup, oom_*, id maps, and such.
#include <linux/capability.h>
#include <sys/resource.h>

#include <algorithm>

#include "kernel/fs/proc/task_ref.h"
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
Result<void> CheckMapWriter(const View& v, const creds::UserNamespace& ns,
                            const std::vector<creds::IdMapEntry>& map, int cap, uint32_t own_id) {
  const creds::UserNamespace* parent = ns.parent();
  if (parent == nullptr) return Errno::kEPERM;
  creds::CredRef writer = v.caller.credentials();
  if (!writer->Capable(CAP_SYS_ADMIN, ns)) return Errno::kEPERM;
  if (writer->user_ns.get() != &ns && writer->user_ns.get() != parent) return Errno::kEPERM;
  if (writer->Capable(cap, *parent)) return Ok();
  // Without the capability: one line that maps one's own id.
  if (map.size() == 1 && map[0].count == 1 && map[0].outside == own_id) return Ok();
  return Errno::kEPERM;
}

Result<std::string> UidMap(const View& v) {
  return MapText(v.task.credentials()->user_ns->uid_map());
}
Result<void> SetUidMap(const View& v, std::string_view text) {
  Ref<creds::UserNamespace> ns = v.task.credentials()->user_ns;
  auto map = TRY(ParseMap(text));
  uint32_t own = ns->parent() != nullptr ? ns->parent()->FromKUid(v.caller.credentials()->euid) : 0;
  TRY(CheckMapWriter(v, *ns, map, CAP_SETUID, own));
  return ns->SetUidMap(std::move(map));
}
Result<std::string> GidMap(const View& v) {
  return MapText(v.task.credentials()->user_ns->gid_map());
}
Result<void> SetGidMap(const View& v, std::string_view text) {
  Ref<creds::UserNamespace> ns = v.task.credentials()->user_ns;
  auto map = TRY(ParseMap(text));
  uint32_t own = ns->parent() != nullptr ? ns->parent()->FromKGid(v.caller.credentials()->egid) : 0;
  TRY(CheckMapWriter(v, *ns, map, CAP_SETGID, own));
  return ns->SetGidMap(std::move(map));
}
Result<std::string> Setgroups(const View&) { return std::string("allow\n"); }
Result<void> SetSetgroups(const View& v, std::string_view text) {
  text = Trim(text);
  if (text != "allow" && text != "deny") return Errno::kEINVAL;
  const creds::UserNamespace& ns = *v.task.credentials()->user_ns;
  if (!v.caller.credentials()->Capable(CAP_SYS_ADMIN, ns)) return Errno::kEPERM;
  // Once a map is set it can only stay as it is.
  if (text == "deny" && !ns.gid_map().empty()) return Errno::kEPERM;
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
