#include "kernel/fs/sys/sys_fs.h"

#include <linux/magic.h>
#include <sys/sysinfo.h>

#include <string>

#include "kernel/fs/pseudo/node.h"
#include "platform/base/format.h"

namespace sandboxd::sysfs {
namespace {

using pseudo::Builder;
using pseudo::TableDirectory;

std::string Range(unsigned count) {
  return count == 1 ? std::string("0\n") : StrFormat("0-%u\n", count - 1);
}

std::string Mask(unsigned count) {
  std::string s;
  for (unsigned left = count; left > 0;) {
    unsigned bits = left % 32 == 0 ? 32 : left % 32;
    s += StrFormat(s.empty() ? "%x" : ",%08x", bits == 32 ? ~0u : (1u << bits) - 1);
    left -= bits;
  }
  return s + "\n";
}

void AddCpus(Builder& b, TableDirectory& root, unsigned cpus) {
  TableDirectory& cpu = b.Directory(root, "devices/system/cpu");
  for (const char* name : {"online", "possible", "present"}) b.Constant(cpu, name, Range(cpus));
  b.Constant(cpu, "offline", "\n");
  b.Constant(cpu, "isolated", "\n");
  b.Constant(cpu, "kernel_max", "8191\n");
  b.Constant(cpu, "modalias", "cpu:type:x86,ven0000fam0000mod0000:feature:\n");
  for (unsigned i = 0; i < cpus; i++) {
    TableDirectory& one = b.Directory(cpu, StrFormat("cpu%u", i));
    if (i > 0) b.Constant(one, "online", "1\n");
    b.Constant(one, "topology/core_id", StrFormat("%u\n", i));
    b.Constant(one, "topology/physical_package_id", "0\n");
    b.Constant(one, "topology/die_id", "0\n");
    b.Constant(one, "topology/thread_siblings_list", StrFormat("%u\n", i));
    b.Constant(one, "topology/core_cpus_list", StrFormat("%u\n", i));
    b.Constant(one, "topology/core_siblings_list", Range(cpus));
    b.Constant(one, "topology/package_cpus_list", Range(cpus));
    b.Constant(one, "topology/core_siblings", Mask(cpus));
  }
}

void AddNode(Builder& b, TableDirectory& root, unsigned cpus) {
  TableDirectory& node = b.Directory(root, "devices/system/node");
  for (const char* name : {"online", "possible", "has_cpu", "has_memory", "has_normal_memory"}) {
    b.Constant(node, name, "0\n");
  }
  b.Constant(node, "node0/cpulist", Range(cpus));
  b.Constant(node, "node0/cpumap", Mask(cpus));
  b.Constant(node, "node0/distance", "10\n");
  b.Text(node, "node0/meminfo", [](vfs::Caller&) -> Result<std::string> {
    struct sysinfo info = {};
    if (sysinfo(&info) != 0) return Errno::kEIO;
    auto kib = [&](uint64_t n) {
      return static_cast<unsigned long long>(n * info.mem_unit / 1024);
    };
    return StrFormat("Node 0 MemTotal:  %12llu kB\nNode 0 MemFree:   %12llu kB\n",
                     kib(info.totalram), kib(info.freeram));
  });
}

void AddLoopback(Builder& b, TableDirectory& root) {
  TableDirectory& lo = b.Directory(root, "devices/virtual/net/lo");
  b.Constant(lo, "address", "00:00:00:00:00:00\n");
  b.Constant(lo, "broadcast", "00:00:00:00:00:00\n");
  b.Constant(lo, "addr_len", "6\n");
  b.Constant(lo, "flags", "0x9\n");
  b.Constant(lo, "ifindex", "1\n");
  b.Constant(lo, "iflink", "1\n");
  b.Constant(lo, "mtu", "65536\n");
  b.Constant(lo, "operstate", "unknown\n");
  b.Constant(lo, "carrier", "1\n");
  b.Constant(lo, "type", "772\n");
  b.Constant(lo, "tx_queue_len", "1000\n");
  for (const char* name : {"rx_bytes", "tx_bytes", "rx_packets", "tx_packets", "rx_errors",
                           "tx_errors", "rx_dropped", "tx_dropped"}) {
    b.Constant(lo, StrFormat("statistics/%s", name), "0\n");
  }
  b.Link(root, "class/net/lo", "../../devices/virtual/net/lo");
}

class SysSuperblock final : public vfs::Superblock {
 public:
  explicit SysSuperblock(unsigned cpus) {
    Builder b(*this, 1);
    Ref<TableDirectory> root = b.MakeDirectory();
    AddCpus(b, *root, cpus);
    AddNode(b, *root, cpus);
    AddLoopback(b, *root);
    TableDirectory& huge = b.Directory(*root, "kernel/mm/transparent_hugepage");
    b.Constant(huge, "enabled", "always [madvise] never\n");
    b.Constant(huge, "defrag", "always defer defer+madvise [madvise] never\n");
    b.Constant(huge, "shmem_enabled", "always within_size advise [never] deny force\n");
    b.Constant(huge, "hpage_pmd_size", "2097152\n");
    b.Directory(*root, "kernel/mm/hugepages");
    b.Directory(*root, "kernel/security");
    b.Directory(*root, "kernel/debug");
    b.Directory(*root, "fs/cgroup");
    for (const char* empty : {"block", "bus", "class/block", "class/tty", "dev/block", "dev/char",
                              "firmware", "hypervisor", "module", "power"}) {
      b.Directory(*root, empty);
    }
    root_ = std::move(root);
  }
  std::string_view type_name() const override { return "sysfs"; }
  Ref<vfs::Inode> RootInode() override { return root_; }
  Result<vfs::FsStat> StatFs() override {
    vfs::FsStat s;
    s.type = SYSFS_MAGIC;
    return s;
  }

 private:
  ~SysSuperblock() override = default;
  Ref<vfs::Inode> root_;
};

class SysType final : public vfs::FilesystemType {
 public:
  explicit SysType(unsigned cpus) : cpus_(cpus) {}
  std::string_view name() const override { return "sysfs"; }
  bool user_mountable() const override { return true; }
  Result<Ref<vfs::Superblock>> Mount(vfs::Caller&, std::string_view,
                                     std::string_view options) override {
    if (!options.empty()) return Errno::kEINVAL;
    return NewSysSuperblock(cpus_);
  }

 private:
  const unsigned cpus_;
};

}  // namespace

std::unique_ptr<vfs::FilesystemType> MakeSysFilesystem(unsigned cpus) {
  return std::make_unique<SysType>(cpus);
}

Ref<vfs::Superblock> NewSysSuperblock(unsigned cpus) { return MakeRef<SysSuperblock>(cpus); }

}  // namespace sandboxd::sysfs
