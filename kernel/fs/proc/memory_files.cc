// /proc/meminfo and its relatives, from the host's sysinfo(2).
#include <sys/sysinfo.h>

#include "kernel/fs/proc/proc_superblock.h"
#include "kernel/fs/proc/task_ref.h"
#include "platform/base/format.h"

namespace sandboxd::proc {
namespace {

struct Memory {
  uint64_t total = 0, free = 0, buffers = 0, shared = 0;  // bytes
};

Memory HostMemory() {
  struct sysinfo info = {};
  if (sysinfo(&info) != 0) return {};
  uint64_t unit = info.mem_unit;
  return {info.totalram * unit, info.freeram * unit, info.bufferram * unit, info.sharedram * unit};
}

// What the sandbox's own programs use.
struct Used {
  uint64_t anonymous = 0, mapped = 0, locked = 0;
};
Used UsedBy(ProcSuperblock& sb, vfs::Caller& c) {
  Used u;
  for (const Ref<task::ThreadGroup>& g : sb.kernel().ThreadGroups()) {
    Ref<task::Task> leader = g->Leader();
    if (leader == nullptr) continue;
    View view{*leader, c, sb, Scope::kProcess};
    Resident r = ResidentOf(view);
    u.anonymous += r.anonymous;
    u.mapped += r.file + r.shared;
    if (Ref<mm::MemoryManager> mm = leader->mm()) u.locked += mm->usage().locked_bytes;
  }
  return u;
}

std::string Meminfo(ProcSuperblock& sb, vfs::Caller& c) {
  Memory m = HostMemory();
  Used u = UsedBy(sb, c);
  auto line = [](const char* name, uint64_t bytes) {
    return StrFormat("%-16s%8llu kB\n", name, static_cast<unsigned long long>(bytes / 1024));
  };
  std::string s = line("MemTotal:", m.total) + line("MemFree:", m.free) +
                  line("MemAvailable:", m.free + m.buffers) + line("Buffers:", m.buffers) +
                  line("Cached:", u.mapped) + line("SwapCached:", 0) +
                  line("Active:", u.anonymous + u.mapped) + line("Inactive:", 0) +
                  line("Active(anon):", u.anonymous) + line("Inactive(anon):", 0) +
                  line("Active(file):", u.mapped) + line("Inactive(file):", 0);
  s += line("Unevictable:", u.locked) + line("Mlocked:", u.locked) + line("SwapTotal:", 0) +
       line("SwapFree:", 0) + line("Dirty:", 0) + line("Writeback:", 0) +
       line("AnonPages:", u.anonymous) + line("Mapped:", u.mapped) + line("Shmem:", m.shared) +
       line("KReclaimable:", 0) + line("Slab:", 0) + line("SReclaimable:", 0) +
       line("SUnreclaim:", 0) + line("KernelStack:", 0) + line("PageTables:", 0);
  s += line("NFS_Unstable:", 0) + line("Bounce:", 0) + line("WritebackTmp:", 0) +
       line("CommitLimit:", m.total / 2) + line("Committed_AS:", u.anonymous) +
       line("VmallocTotal:", uint64_t{34359738367} * 1024) + line("VmallocUsed:", 0) +
       line("VmallocChunk:", 0) + line("Percpu:", 0) + line("HardwareCorrupted:", 0) +
       line("AnonHugePages:", 0);
  return s +
         "HugePages_Total:       0\nHugePages_Free:        0\nHugePages_Rsvd:        0\n"
         "HugePages_Surp:        0\n" +
         line("Hugepagesize:", 2 << 20) + line("Hugetlb:", 0);
}

std::string Vmstat() {
  Memory m = HostMemory();
  return StrFormat(
      "nr_free_pages %llu\nnr_inactive_anon 0\nnr_active_anon 0\nnr_inactive_file 0\n"
      "nr_active_file 0\nnr_mapped 0\nnr_dirty 0\nnr_writeback 0\npgpgin 0\npgpgout 0\npswpin 0\n"
      "pswpout 0\npgfault 0\npgmajfault 0\noom_kill 0\n",
      static_cast<unsigned long long>(m.free / kPageSize));
}

}  // namespace

void AddMemoryFiles(pseudo::Builder& builder, pseudo::TableDirectory& root, ProcSuperblock& sb) {
  builder.Text(root, "meminfo",
               [&sb](vfs::Caller& c) -> Result<std::string> { return Meminfo(sb, c); });
  builder.Text(root, "vmstat", [](vfs::Caller&) -> Result<std::string> { return Vmstat(); });
}

}  // namespace sandboxd::proc
