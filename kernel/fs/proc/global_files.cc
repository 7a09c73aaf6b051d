// Files of /proc about the whole sandbox: time, load, cpus, versions.
#include <sys/stat.h>

#include <array>
#include <cmath>

#include "kernel/fs/proc/proc_superblock.h"
#include "kernel/fs/proc/task_ref.h"
#include "kernel/time/clock.h"
#include "platform/base/format.h"

namespace sandboxd::proc {
namespace {

constexpr int64_t kNanosPerTick = 10'000'000;

// User and system time of all processes, the dead ones included.
struct Busy {
  Nanos user{0}, system{0};
};
Busy BusyTime(task::Kernel& kernel) {
  Busy b;
  for (const Ref<task::ThreadGroup>& g : kernel.ThreadGroups()) {
    task::ThreadGroup::Usage own = g->SelfUsage(), children = g->ChildrenUsage();
    b.user += own.user + children.user;
    b.system += own.system + children.system;
  }
  return b;
}

Nanos IdleTime(task::Kernel& kernel, const Busy& busy) {
  Nanos all = time::BoottimeNow() * kernel.cpu_count();
  return std::max(all - busy.user - busy.system, Nanos{0});
}

std::string Stat(task::Kernel& kernel) {
  Busy busy = BusyTime(kernel);
  Nanos idle = IdleTime(kernel, busy);
  unsigned cpus = kernel.cpu_count();
  auto line = [&](const std::string& name, unsigned share) {
    auto ticks = [&](Nanos n) { return static_cast<long long>(n.count() / kNanosPerTick / share); };
    return StrFormat("%s %lld 0 %lld %lld 0 0 0 0 0 0\n", name.c_str(), ticks(busy.user),
                     ticks(busy.system), ticks(idle));
  };
  std::string s = line("cpu ", 1);
  for (unsigned i = 0; i < cpus; i++) s += line(StrFormat("cpu%u", i), cpus);
  s += StrFormat(
      "intr 0\nctxt %llu\nbtime %lld\nprocesses %llu\nprocs_running %d\nprocs_blocked 0\n",
      static_cast<unsigned long long>(kernel.context_switches.load(std::memory_order_relaxed)),
      static_cast<long long>(kernel.boot_time_realtime().count() / 1'000'000'000),
      static_cast<unsigned long long>(kernel.forks.load(std::memory_order_relaxed)),
      std::max(kernel.runnable_count.load(std::memory_order_relaxed), 1));
  return s + "softirq 0 0 0 0 0 0 0 0 0 0 0\n";
}

std::string Uptime(task::Kernel& kernel) {
  auto centis = [](Nanos n) { return static_cast<long long>(n.count() / kNanosPerTick); };
  long long up = centis(time::BoottimeNow());
  long long idle = centis(IdleTime(kernel, BusyTime(kernel)));
  return StrFormat("%lld.%02lld %lld.%02lld\n", up / 100, up % 100, idle / 100, idle % 100);
}

// The load averages, brought forward when they are read: an idle sandbox has no timer for them.
// What ran between two looks is taken to be what runs now.
class LoadAverage final : public RefCounted {
 public:
  std::array<double, 3> Update(int runnable) {
    Nanos now = time::MonotonicNow();
    MutexLock lock(mutex_);
    double seconds = static_cast<double>((now - last_).count()) / 1e9;
    last_ = now;
    constexpr double kWindows[] = {60, 300, 900};
    for (size_t i = 0; i < load_.size(); i++) {
      double keep = std::exp(-seconds / kWindows[i]);
      load_[i] = load_[i] * keep + runnable * (1 - keep);
    }
    return load_;
  }

 private:
  ~LoadAverage() override = default;
  Mutex mutex_{LockRank::kLeaf};
  Nanos last_ GUARDED_BY(mutex_) = time::MonotonicNow();
  std::array<double, 3> load_ GUARDED_BY(mutex_) = {};
};

std::string LoadAvg(ProcSuperblock& sb, LoadAverage& load) {
  task::Kernel& kernel = sb.kernel();
  int running = std::max(kernel.runnable_count.load(std::memory_order_relaxed), 1);
  // The reader runs only to read.
  std::array<double, 3> l = load.Update(running - 1);
  int last = 0;
  {
    MutexLock lock(kernel.tree_mutex());
    last = sb.ns().last_pid();
  }
  return StrFormat("%.2f %.2f %.2f %d/%d %d\n", l[0], l[1], l[2], running,
                   kernel.task_count.load(std::memory_order_relaxed), last);
}

std::string Filesystems(task::Kernel& kernel) {
  std::string s;
  for (const vfs::FilesystemType* type : kernel.vfs().filesystems()) {
    s += type->needs_device() ? "\t" : "nodev\t";
    s += std::string(type->name()) + "\n";
  }
  return s;
}

constexpr char kDevices[] =
    "Character devices:\n  1 mem\n  4 tty\n  5 /dev/tty\n  5 /dev/console\n  5 /dev/ptmx\n"
    " 10 misc\n128 ptm\n136 pts\n\nBlock devices:\n";

}  // namespace

void AddGlobalFiles(pseudo::Builder& builder, pseudo::TableDirectory& root, ProcSuperblock& sb) {
  task::Kernel& kernel = sb.kernel();
  auto text = [&](const char* name, auto make) {
    builder.Text(root, name, [make](vfs::Caller&) -> Result<std::string> { return make(); });
  };
  text("cpuinfo", [&kernel] { return CpuInfo(kernel.cpu_count()); });
  text("stat", [&kernel] { return Stat(kernel); });
  text("uptime", [&kernel] { return Uptime(kernel); });
  auto load = MakeRef<LoadAverage>();
  text("loadavg", [&sb, load] { return LoadAvg(sb, *load); });
  text("filesystems", [&kernel] { return Filesystems(kernel); });
  builder.Constant(
      root, "version",
      StrFormat("Linux version %s (sandboxd@sandboxd) (c++) %s\n", task::kRelease, task::kVersion));
  builder.Constant(root, "cmdline", StrFormat("BOOT_IMAGE=/vmlinuz-%s ro quiet\n", task::kRelease));
  builder.Constant(root, "devices", kDevices);
  builder.Constant(root, "execdomains", "0-0\tLinux           \t[kernel]\n");
  builder.Link(root, "mounts", "self/mounts");
  builder.Link(root, "net", "self/net");
}

// Tables that a kernel without such devices, modules or swap shows empty.
void AddEmptyFiles(pseudo::Builder& builder, pseudo::TableDirectory& root) {
  builder.Constant(root, "modules", "");
  builder.Constant(root, "kallsyms", "");
  builder.Constant(root, "diskstats", "");
  builder.Constant(root, "partitions", "major minor  #blocks  name\n\n");
  builder.Constant(root, "swaps", "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n");
  builder.Constant(root, "cgroups", "#subsys_name\thierarchy\tnum_cgroups\tenabled\n");
  builder.Constant(root, "misc", "");
  builder.Constant(root, "interrupts", "            CPU0       \n");
  builder.Constant(root, "softirqs", "                    CPU0       \n");
  builder.Constant(root, "ioports", "");
  builder.Constant(root, "iomem", "");
  builder.Constant(root, "dma", "");
  builder.Constant(root, "fb", "");
  builder.Constant(root, "crypto", "");
  builder.Constant(root, "consoles", "");
  builder.Constant(root, "locks", "");
  builder.Constant(root, "keys", "");
  builder.Constant(root, "key-users", "");
  builder.Constant(root, "sysvipc/msg",
                   "       key      msqid perms      cbytes       qnum lspid lrpid   uid   gid  "
                   "cuid  cgid      stime      rtime      ctime\n");
  builder.Constant(root, "sysvipc/sem",
                   "       key      semid perms      nsems   uid   gid  cuid  cgid      otime      "
                   "ctime\n");
  builder.Constant(root, "sysvipc/shm",
                   "       key      shmid perms                  size  cpid  lpid nattch   uid   "
                   "gid  cuid  cgid      atime      dtime      ctime                   rss         "
                   "         swap\n");
  builder.Constant(root, "tty/drivers",
                   "/dev/tty             /dev/tty        5       0 system:/dev/tty\n"
                   "/dev/ptmx            /dev/ptmx       5       2 system\n"
                   "pty_slave            /dev/pts      136 0-1048575 pty:slave\n");
  builder.Constant(root, "tty/ldiscs", "n_tty       0\n");
  builder.Directory(root, "bus");
  builder.Directory(root, "driver");
  builder.Directory(root, "fs");
  builder.Directory(root, "irq");
  const char* const kPressure =
      "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"
      "full avg10=0.00 avg60=0.00 avg300=0.00 total=0\n";
  for (const char* what : {"cpu", "io", "memory"}) {
    builder.Constant(root, StrFormat("pressure/%s", what), kPressure);
  }
}

}  // namespace sandboxd::proc
