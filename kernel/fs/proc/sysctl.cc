// /proc/sys (proc(5), sysctl(8)). What has no effect here can be read but not set: writing gives
// EROFS, as where the folder is mounted read-only in a container.
#include <linux/capability.h>
#include <sys/random.h>

#include "kernel/fs/proc/proc_superblock.h"
#include "kernel/fs/proc/task_ref.h"
#include "kernel/mm/random.h"
#include "platform/base/format.h"

namespace sandboxd::proc {
namespace {

struct Setting {
  const char* path;
  const char* value;
};

constexpr Setting kSettings[] = {
    {"kernel/ostype", "Linux"},
    {"kernel/osrelease", task::kRelease},
    {"kernel/version", task::kVersion},
    {"kernel/pid_max", "32768"},
    {"kernel/threads-max", "32768"},
    {"kernel/cap_last_cap", "40"},
    {"kernel/ngroups_max", "65536"},
    {"kernel/overflowuid", "65534"},
    {"kernel/overflowgid", "65534"},
    {"kernel/core_pattern", "core"},
    {"kernel/core_uses_pid", "0"},
    {"kernel/randomize_va_space", "2"},
    {"kernel/printk", "4\t4\t1\t7"},
    {"kernel/panic", "0"},
    {"kernel/panic_on_oops", "0"},
    {"kernel/tainted", "0"},
    {"kernel/sysrq", "0"},
    {"kernel/dmesg_restrict", "1"},
    {"kernel/kptr_restrict", "1"},
    {"kernel/perf_event_paranoid", "3"},
    {"kernel/unprivileged_bpf_disabled", "2"},
    {"kernel/modules_disabled", "1"},
    {"kernel/sched_child_runs_first", "0"},
    {"kernel/sched_rt_period_us", "1000000"},
    {"kernel/sched_rt_runtime_us", "950000"},
    {"kernel/shmmax", "18446744073692774399"},
    {"kernel/shmall", "18446744073692774399"},
    {"kernel/shmmni", "4096"},
    {"kernel/msgmax", "8192"},
    {"kernel/msgmnb", "16384"},
    {"kernel/msgmni", "32000"},
    {"kernel/sem", "32000\t1024000000\t500\t32000"},
    {"kernel/random/entropy_avail", "256"},
    {"kernel/random/poolsize", "256"},
    {"vm/overcommit_memory", "0"},
    {"vm/overcommit_ratio", "50"},
    {"vm/max_map_count", "65530"},
    {"vm/mmap_min_addr", "65536"},
    {"vm/swappiness", "60"},
    {"vm/dirty_ratio", "20"},
    {"vm/dirty_background_ratio", "10"},
    {"vm/nr_hugepages", "0"},
    {"vm/min_free_kbytes", "67584"},
    {"vm/vfs_cache_pressure", "100"},
    {"vm/oom_kill_allocating_task", "0"},
    {"vm/panic_on_oom", "0"},
    {"vm/legacy_va_layout", "0"},
    {"vm/page-cluster", "3"},
    {"fs/file-max", "9223372036854775807"},
    {"fs/nr_open", "1048576"},
    {"fs/pipe-max-size", "1048576"},
    {"fs/pipe-user-pages-soft", "16384"},
    {"fs/pipe-user-pages-hard", "0"},
    {"fs/overflowuid", "65534"},
    {"fs/overflowgid", "65534"},
    {"fs/protected_symlinks", "1"},
    {"fs/protected_hardlinks", "1"},
    {"fs/protected_fifos", "1"},
    {"fs/protected_regular", "2"},
    {"fs/suid_dumpable", "0"},
    {"fs/lease-break-time", "45"},
    {"fs/leases-enable", "1"},
    {"fs/aio-max-nr", "65536"},
    {"fs/aio-nr", "0"},
    {"fs/dentry-state", "0\t0\t45\t0\t0\t0"},
    {"fs/inode-nr", "0\t0"},
    {"fs/inode-state", "0\t0\t0\t0\t0\t0\t0"},
    {"fs/mount-max", "100000"},
    {"fs/epoll/max_user_watches", "1048576"},
    {"fs/inotify/max_user_watches", "65536"},
    {"fs/inotify/max_user_instances", "128"},
    {"fs/inotify/max_queued_events", "16384"},
    {"fs/mqueue/msg_max", "10"},
    {"fs/mqueue/msg_default", "10"},
    {"fs/mqueue/msgsize_max", "8192"},
    {"fs/mqueue/msgsize_default", "8192"},
    {"fs/mqueue/queues_max", "256"},
    {"net/core/somaxconn", "4096"},
    {"net/core/rmem_default", "212992"},
    {"net/core/rmem_max", "4194304"},
    {"net/core/wmem_default", "212992"},
    {"net/core/wmem_max", "4194304"},
    {"net/core/optmem_max", "20480"},
    {"net/core/netdev_max_backlog", "1000"},
    {"net/unix/max_dgram_qlen", "512"},
    {"net/ipv4/ip_local_port_range", "32768\t60999"},
    {"net/ipv4/ip_forward", "0"},
    {"net/ipv4/ip_unprivileged_port_start", "1024"},
    {"net/ipv4/tcp_fin_timeout", "60"},
    {"net/ipv4/tcp_keepalive_time", "7200"},
    {"net/ipv4/tcp_keepalive_intvl", "75"},
    {"net/ipv4/tcp_keepalive_probes", "9"},
    {"net/ipv4/tcp_max_syn_backlog", "512"},
    {"net/ipv4/tcp_rmem", "4096\t131072\t6291456"},
    {"net/ipv4/tcp_wmem", "4096\t16384\t4194304"},
    {"net/ipv4/tcp_sack", "1"},
    {"net/ipv4/tcp_window_scaling", "1"},
    {"net/ipv4/tcp_timestamps", "1"},
    {"net/ipv4/tcp_syncookies", "1"},
    {"net/ipv4/tcp_congestion_control", "cubic"},
    {"net/ipv4/ping_group_range", "1\t0"},
    {"user/max_user_namespaces", "31231"},
    {"user/max_pid_namespaces", "31231"},
    {"user/max_mnt_namespaces", "31231"},
    {"user/max_uts_namespaces", "31231"},
};

std::string Uuid() {
  uint8_t b[16];
  mm::RandomBytes(b, sizeof(b));
  b[6] = static_cast<uint8_t>((b[6] & 0x0f) | 0x40);  // RFC 4122, version 4
  b[8] = static_cast<uint8_t>((b[8] & 0x3f) | 0x80);
  return StrFormat("%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0],
                   b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13],
                   b[14], b[15]);
}

// The same for the whole life of the kernel, whoever mounts proc how often.
const std::string& BootId() {
  static const std::string id = Uuid();
  return id;
}

using NameOf = std::string (task::UtsNamespace::*)() const;
using SetName = void (task::UtsNamespace::*)(std::string);

// hostname and domainname are the reader's uts namespace's (uts_namespaces(7)).
pseudo::TextOptions UtsName(NameOf get, SetName set) {
  pseudo::TextOptions o;
  o.generate = [get](vfs::Caller& c) -> Result<std::string> {
    auto* task = static_cast<task::Task*>(c.task());
    if (task == nullptr) return std::string("(none)\n");
    Ref<task::UtsNamespace> uts = task->uts_ns();
    return ((*uts).*get)() + "\n";
  };
  o.accept = [set](vfs::Caller& c, std::string_view text) -> Result<void> {
    auto* task = static_cast<task::Task*>(c.task());
    if (task == nullptr) return Errno::kEPERM;
    Ref<task::UtsNamespace> uts = task->uts_ns();
    if (!c.credentials()->Capable(CAP_SYS_ADMIN, *uts->user_ns())) return Errno::kEPERM;
    constexpr size_t kMax = 64;  // __NEW_UTS_LEN
    text = text.substr(0, text.find_first_of(std::string_view("\n\0", 2)));
    ((*uts).*set)(std::string(text.substr(0, kMax)));
    return Ok();
  };
  return o;
}

}  // namespace

void AddSysctl(pseudo::Builder& builder, pseudo::TableDirectory& root, ProcSuperblock& sb) {
  pseudo::TableDirectory& sys = builder.Directory(root, "sys");
  for (const Setting& s : kSettings) {
    pseudo::TextOptions o;
    std::string text = std::string(s.value) + "\n";
    o.generate = [text](vfs::Caller&) -> Result<std::string> { return text; };
    o.accept = [](vfs::Caller&, std::string_view) -> Result<void> { return Errno::kEROFS; };
    builder.Writable(sys, s.path, std::move(o));
  }
  builder.Writable(sys, "kernel/hostname",
                   UtsName(&task::UtsNamespace::hostname, &task::UtsNamespace::set_hostname));
  builder.Writable(sys, "kernel/domainname",
                   UtsName(&task::UtsNamespace::domainname, &task::UtsNamespace::set_domainname));
  builder.Text(sys, "kernel/random/uuid",
               [](vfs::Caller&) -> Result<std::string> { return Uuid() + "\n"; });
  builder.Constant(sys, "kernel/random/boot_id", BootId() + "\n");
  task::Kernel& kernel = sb.kernel();
  builder.Text(sys, "fs/file-nr", [&kernel](vfs::Caller&) -> Result<std::string> {
    size_t open = 0;
    for (const Ref<task::ThreadGroup>& g : kernel.ThreadGroups()) {
      Ref<task::Task> leader = g->Leader();
      if (leader == nullptr) continue;
      if (Ref<vfs::FdTable> files = leader->files_ref()) open += files->count();
    }
    return StrFormat("%zu\t0\t9223372036854775807\n", open);
  });
  builder.Text(sys, "kernel/ns_last_pid", [&sb](vfs::Caller&) -> Result<std::string> {
    MutexLock lock(sb.kernel().tree_mutex());
    return StrFormat("%d\n", sb.ns().last_pid());
  });
}

}  // namespace sandboxd::proc
