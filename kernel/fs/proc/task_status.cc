// /proc/PID/{stat,status,statm}: figures.
#include <signal.h>
#include <sys/resource.h>

#include <chrono>

#include "kernel/fs/proc/task_ref.h"
#include "kernel/seccomp/filter.h"
#include "kernel/task/ptrace.h"
#include "platform/base/format.h"

namespace sandboxd::proc {
namespace {

constexpr int64_t kTicksPerSecond = 100;

int64_t Ticks(Nanos n) { return n.count() / (1'000'000'000 / kTicksPerSecond); }

struct Signals {
  signal::SigSet ignored, caught, blocked, thread_pending, group_pending;
};

Signals SignalsOf(task::Task& task) {
  Signals s;
  s.blocked = task.signal_mask();
  s.thread_pending = task.pending_signals();
  s.group_pending = task.group().pending_signals();
  Ref<task::SignalHandlers> handlers = task.group().handlers();
  for (int n = 1; n <= signal::kSignalCount; n++) {
    signal::SigAction a = handlers->Get(n);
    if (a.is_ignore()) {
      s.ignored.Add(n);
    } else if (!a.is_default()) {
      s.caught.Add(n);
    }
  }
  return s;
}

// Where the process stands among others, as the instance's namespace counts.
struct Kin {
  int pid = 0, tgid = 0, parent = 0, group = 0, session = 0, foreground = -1;
  uint64_t terminal = 0;
};

Kin KinOf(const View& v) {
  Kin k;
  k.pid = v.task.TidIn(v.ns()).value;
  k.tgid = v.group().TgidIn(v.ns()).value;
  Ref<task::ProcessGroup> group = v.group().process_group();
  Ref<task::Session> session = v.group().session();
  Ref<RefCounted> terminal;
  {
    MutexLock lock(v.sb.kernel().tree_mutex());
    if (task::ThreadGroup* parent = v.group().parent()) k.parent = parent->TgidIn(v.ns()).value;
    if (group != nullptr) k.group = group->IdIn(v.ns()).value;
    if (session != nullptr) {
      k.session = session->IdIn(v.ns()).value;
      terminal = session->terminal;
      if (session->foreground != nullptr) k.foreground = session->foreground->IdIn(v.ns()).value;
    }
  }
  if (terminal != nullptr && v.sb.options().terminal_device) {
    k.terminal = v.sb.options().terminal_device(*terminal);
  } else {
    k.foreground = -1;
  }
  return k;
}

struct Times {
  Nanos user{0}, system{0}, children_user{0}, children_system{0};
  task::ThreadGroup::Usage usage;
};

Times TimesOf(const View& v) {
  Times t;
  t.usage = v.group().SelfUsage();
  task::ThreadGroup::Usage children = v.group().ChildrenUsage();
  t.children_user = children.user;
  t.children_system = children.system;
  if (v.scope == Scope::kProcess) {
    t.user = t.usage.user;
    t.system = t.usage.system;
  } else {
    task::Task::CpuTime own = v.task.cpu_time();
    t.user = own.user;
    t.system = own.system;
  }
  return t;
}

// proc(5), /proc/pid/stat: the numbers in front are the fields' there.
Result<std::string> Stat(const View& v) {
  Kin kin = KinOf(v);
  Times times = TimesOf(v);
  Signals sig = SignalsOf(v.task);
  mm::MemoryManager::Layout l;
  mm::MemoryManager::Usage usage;
  const bool close = CheckAccess(v).ok();
  if (Ref<mm::MemoryManager> mm = v.task.mm()) {
    l = mm->layout();
    usage = mm->usage();
  }
  if (!close) l = {};
  auto ull = [](uint64_t x) { return static_cast<unsigned long long>(x); };
  std::string s = StrFormat("%d (%s) %c %d %d %d %llu %d 0", kin.pid, v.task.comm().c_str(),
                            v.task.state_letter(), kin.parent, kin.group, kin.session,
                            ull(kin.terminal), kin.foreground);
  s += StrFormat(" %llu 0 %llu 0", ull(times.usage.minor_faults),
                 ull(times.usage.major_faults));  // 10-13
  s += StrFormat(" %lld %lld %lld %lld", static_cast<long long>(Ticks(times.user)),
                 static_cast<long long>(Ticks(times.system)),
                 static_cast<long long>(Ticks(times.children_user)),
                 static_cast<long long>(Ticks(times.children_system)));  // 14-17
  const int nice = v.group().nice.load(std::memory_order_relaxed);
  s += StrFormat(" %d %d %d 0 %lld", 20 + nice, nice, v.group().thread_count(),
                 static_cast<long long>(Ticks(v.task.start_time())));  // 18-22
  s += StrFormat(" %llu %llu %llu", ull(usage.total_bytes), ull(ResidentOf(v).total() / kPageSize),
                 ull(v.group().GetRlimit(RLIMIT_RSS).rlim_cur));  // 23-25
  s += StrFormat(" %llu %llu %llu 0 0", ull(l.start_code.value), ull(l.end_code.value),
                 ull(l.start_stack.value));  // 26-30
  s += StrFormat(" %llu %llu %llu %llu", ull(sig.thread_pending.bits & 0x7fffffff),
                 ull(sig.blocked.bits & 0x7fffffff), ull(sig.ignored.bits & 0x7fffffff),
                 ull(sig.caught.bits & 0x7fffffff));  // 31-34
  s += StrFormat(" 0 0 0 %d 0 0 0 0 0 0", SIGCHLD);   // 35-44
  s += StrFormat(" %llu %llu %llu %llu %llu %llu %llu 0\n", ull(l.start_data.value),
                 ull(l.end_data.value), ull(l.start_brk.value), ull(l.arg_start.value),
                 ull(l.arg_end.value), ull(l.env_start.value), ull(l.env_end.value));  // 45-52
  return s;
}

const char* StateName(char letter) {
  switch (letter) {
    case 'R':
      return "R (running)";
    case 'D':
      return "D (disk sleep)";
    case 'T':
      return "T (stopped)";
    case 't':
      return "t (tracing stop)";
    case 'Z':
      return "Z (zombie)";
    case 'X':
      return "X (dead)";
    default:
      return "S (sleeping)";
  }
}

std::string IdLines(const View& v) {
  creds::CredRef c = v.task.credentials();
  // As the reader's user namespace counts.
  Ref<creds::UserNamespace> ns = v.caller.credentials()->user_ns;
  std::string s = StrFormat("Uid:\t%u\t%u\t%u\t%u\n", ns->FromKUid(c->ruid), ns->FromKUid(c->euid),
                            ns->FromKUid(c->suid), ns->FromKUid(c->fsuid));
  s += StrFormat("Gid:\t%u\t%u\t%u\t%u\n", ns->FromKGid(c->rgid), ns->FromKGid(c->egid),
                 ns->FromKGid(c->sgid), ns->FromKGid(c->fsgid));
  Ref<vfs::FdTable> files = v.task.files_ref();
  size_t slots = 64;
  if (files != nullptr) {
    std::vector<FdNum> open = files->List();
    while (!open.empty() && slots <= static_cast<size_t>(open.back().value)) slots *= 2;
  }
  s += StrFormat("FDSize:\t%zu\nGroups:\t", files != nullptr ? slots : size_t{0});
  for (creds::KGid g : c->groups) s += StrFormat("%u ", ns->FromKGid(g));
  return s + "\n";
}

// Each namespace from the instance's inwards sees the process under a number of its own.
std::string NsLines(const View& v, const Kin& kin) {
  std::vector<const task::PidNamespace*> chain;
  for (const task::PidNamespace* ns = v.task.pid_ns().get(); ns != nullptr; ns = ns->parent()) {
    chain.insert(chain.begin(), ns);
    if (ns == &v.ns()) break;
  }
  std::string tgid = "NStgid:", pid = "NSpid:", pgid = "NSpgid:", sid = "NSsid:";
  Ref<task::ProcessGroup> group = v.group().process_group();
  Ref<task::Session> session = v.group().session();
  for (const task::PidNamespace* ns : chain) {
    tgid += StrFormat("\t%d", v.group().TgidIn(*ns).value);
    pid += StrFormat("\t%d", v.task.TidIn(*ns).value);
    pgid += StrFormat("\t%d", group != nullptr ? group->IdIn(*ns).value : kin.group);
    sid += StrFormat("\t%d", session != nullptr ? session->IdIn(*ns).value : kin.session);
  }
  return tgid + "\n" + pid + "\n" + pgid + "\n" + sid + "\n";
}

std::string MemoryLines(const View& v) {
  Ref<mm::MemoryManager> mm = v.task.mm();
  if (mm == nullptr) return "";
  mm::MemoryManager::Usage u = mm->usage();
  mm::MemoryManager::Layout l = mm->layout();
  Resident r = ResidentOf(v);
  auto line = [](const char* name, uint64_t bytes) {
    return StrFormat("%s:\t%8llu kB\n", name, static_cast<unsigned long long>(bytes / 1024));
  };
  uint64_t text = l.end_code - l.start_code;
  std::string s = line("VmPeak", u.peak_bytes) + line("VmSize", u.total_bytes) +
                  line("VmLck", u.locked_bytes) + line("VmPin", 0) + line("VmHWM", r.total()) +
                  line("VmRSS", r.total()) + line("RssAnon", r.anonymous) +
                  line("RssFile", r.file) + line("RssShmem", r.shared);
  s += line("VmData", u.data_bytes) + line("VmStk", u.stack_bytes) + line("VmExe", text) +
       line("VmLib", u.exec_bytes - std::min(text, u.exec_bytes)) +
       line("VmPTE", u.total_bytes / 512) + line("VmSwap", 0) + line("HugetlbPages", 0);
  return s + "CoreDumping:\t0\nTHP_enabled:\t1\n";
}

std::string SignalLines(const View& v) {
  Signals sig = SignalsOf(v.task);
  auto hex = [](const char* name, uint64_t bits) {
    return StrFormat("%s:\t%016llx\n", name, static_cast<unsigned long long>(bits));
  };
  creds::CredRef c = v.task.credentials();
  std::string s =
      StrFormat("SigQ:\t0/%llu\n",
                static_cast<unsigned long long>(v.group().GetRlimit(RLIMIT_SIGPENDING).rlim_cur));
  s += hex("SigPnd", sig.thread_pending.bits) + hex("ShdPnd", sig.group_pending.bits) +
       hex("SigBlk", sig.blocked.bits) + hex("SigIgn", sig.ignored.bits) +
       hex("SigCgt", sig.caught.bits);
  return s + hex("CapInh", c->inheritable.bits) + hex("CapPrm", c->permitted.bits) +
         hex("CapEff", c->effective.bits) + hex("CapBnd", c->bounding.bits) +
         hex("CapAmb", c->ambient.bits);
}

std::string CpuList(unsigned cpus) {
  return cpus == 1 ? std::string("0") : StrFormat("0-%u", cpus - 1);
}
std::string CpuMask(unsigned cpus) {
  std::string s;
  for (unsigned left = cpus; left > 0;) {
    unsigned bits = left % 32 == 0 ? 32 : left % 32;
    s += StrFormat(s.empty() ? "%x" : ",%08x", bits == 32 ? ~0u : (1u << bits) - 1);
    left -= bits;
  }
  return s;
}

Result<std::string> Status(const View& v) {
  Kin kin = KinOf(v);
  task::ThreadGroup::Usage usage = v.group().SelfUsage();
  Ref<task::FsContext> fs = v.task.fs();
  std::string s = StrFormat("Name:\t%s\n", v.task.comm().c_str());
  if (fs != nullptr) s += StrFormat("Umask:\t%04o\n", fs->umask());
  s += StrFormat("State:\t%s\nTgid:\t%d\nNgid:\t0\nPid:\t%d\nPPid:\t%d\nTracerPid:\t%d\n",
                 StateName(v.task.state_letter()), kin.tgid, kin.pid, kin.parent,
                 task::TracerOf(v.task, v.ns()).value);
  s += IdLines(v) + NsLines(v, kin) + MemoryLines(v);
  s += StrFormat("Threads:\t%d\n", v.group().thread_count());
  s += SignalLines(v);
  Ref<seccomp::Filter> filter = v.task.seccomp_filter();
  s += StrFormat("NoNewPrivs:\t%d\nSeccomp:\t%d\nSeccomp_filters:\t%d\n",
                 v.task.no_new_privs.load(std::memory_order_relaxed) ? 1 : 0, v.task.seccomp_mode(),
                 filter != nullptr ? filter->depth() : 0);
  s += "Speculation_Store_Bypass:\tvulnerable\nSpeculationIndirectBranch:\talways enabled\n";
  unsigned cpus = v.sb.kernel().cpu_count();
  s += StrFormat(
      "Cpus_allowed:\t%s\nCpus_allowed_list:\t%s\nMems_allowed:\t1\n"
      "Mems_allowed_list:\t0\n",
      CpuMask(cpus).c_str(), CpuList(cpus).c_str());
  s += StrFormat("voluntary_ctxt_switches:\t%llu\nnonvoluntary_ctxt_switches:\t%llu\n",
                 static_cast<unsigned long long>(usage.voluntary_switches),
                 static_cast<unsigned long long>(usage.involuntary_switches));
  return s;
}

Result<std::string> Statm(const View& v) {
  mm::MemoryManager::Usage u;
  mm::MemoryManager::Layout l;
  if (Ref<mm::MemoryManager> mm = v.task.mm()) {
    u = mm->usage();
    l = mm->layout();
  }
  Resident r = ResidentOf(v);
  auto pages = [](uint64_t bytes) { return static_cast<unsigned long long>(bytes / kPageSize); };
  return StrFormat("%llu %llu %llu %llu 0 %llu 0\n", pages(u.total_bytes), pages(r.total()),
                   pages(r.file + r.shared), pages(l.end_code - l.start_code + kPageSize - 1),
                   pages(u.data_bytes + u.stack_bytes));
}

constexpr TaskFile kFiles[] = {
    {"stat", 0444, Stat},
    {"status", 0444, Status},
    {"statm", 0444, Statm},
};

}  // namespace

std::span<const TaskFile> StatusFiles() { return kFiles; }

}  // namespace sandboxd::proc
