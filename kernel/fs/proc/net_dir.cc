// /proc/PID/net: tables of the network, which are empty unless the network's floor fills them.
#include <dirent.h>
#include <sys/stat.h>

#include "kernel/fs/proc/task_ref.h"

namespace sandboxd::proc {
namespace {

struct Table {
  const char* name;
  const char* header;
};

constexpr char kSocketHeader[] =
    "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout "
    "inode\n";
constexpr char kSocket6Header[] =
    "  sl  local_address                         remote_address                        st tx_queue "
    "rx_queue tr tm->when retrnsmt   uid  timeout inode\n";
constexpr char kDatagramHeader[] =
    "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout "
    "inode ref pointer drops\n";

constexpr Table kTables[] = {
    {"dev",
     "Inter-|   Receive                                                |  Transmit\n"
     " face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop "
     "fifo colls carrier compressed\n"
     "    lo:       0       0    0    0    0     0          0         0        0       0    0    0 "
     "   0     0       0          0\n"},
    {"tcp", kSocketHeader},
    {"tcp6", kSocket6Header},
    {"udp", kDatagramHeader},
    {"udp6", kSocket6Header},
    {"raw", kDatagramHeader},
    {"raw6", kSocket6Header},
    {"unix", "Num       RefCount Protocol Flags    Type St Inode Path\n"},
    {"route",
     "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"},
    {"arp", "IP address       HW type     Flags       HW address            Mask     Device\n"},
    {"packet", "sk               RefCnt Type Proto  Iface R Rmem   User   Inode\n"},
    {"netlink",
     "sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    "
     "Inode\n"},
    {"sockstat", "sockets: used 0\nTCP: inuse 0 orphan 0 tw 0 alloc 0 mem 0\nUDP: inuse 0 mem 0\n"},
    {"sockstat6", ""},
    {"ptype", "Type Device      Function\n"},
    {"psched", "000003e8 00000040 000f4240 3b9aca00\n"},
    {"protocols", ""},
    {"if_inet6", ""},
    {"ipv6_route", ""},
    {"snmp", ""},
    {"netstat", ""},
    {"igmp", ""},
    {"dev_mcast", ""},
};

class NetDirectory final : public pseudo::DirectoryNode {
 public:
  NetDirectory(const TaskRef& ref, const Owner&, uint64_t ino)
      : DirectoryNode(*ref.sb, {ino, S_IFDIR | 0555, creds::kRootUid, creds::kRootGid}),
        ref_(ref) {}
  bool IsVolatile(std::string_view) const override { return true; }
  Result<Ref<vfs::Inode>> Lookup(std::string_view name) override {
    uint64_t n = 0;
    for (const Table& t : kTables) {
      n++;
      if (name == t.name) return MakeTable(t, InoOf(n));
    }
    return Errno::kENOENT;
  }
  Result<std::vector<Entry>> List(vfs::Caller&) override {
    std::vector<Entry> all;
    for (const Table& t : kTables) {
      uint64_t n = all.size() + 1;
      all.push_back({t.name, InoOf(n), DT_REG, static_cast<int64_t>(n) + 1});
    }
    return all;
  }

 private:
  ~NetDirectory() override = default;
  uint64_t InoOf(uint64_t n) const { return BaseIno(ref_) + 0x2000 + n; }
  Ref<vfs::Inode> MakeTable(const Table& t, uint64_t ino) {
    pseudo::TextOptions o;
    const auto& known = ref_.sb->options().net_files;
    auto it = known.find(t.name);
    if (it != known.end()) {
      o.generate = it->second;
    } else {
      o.generate = [&t](vfs::Caller&) -> Result<std::string> { return std::string(t.header); };
    }
    return MakeRef<pseudo::TextNode>(
        *ref_.sb, pseudo::NodeInfo{ino, S_IFREG | 0444, creds::kRootUid, creds::kRootGid},
        std::move(o));
  }
  const TaskRef ref_;
};

}  // namespace

Ref<vfs::Inode> MakeNetDirectory(const TaskRef& ref, task::Task& task, uint64_t ino) {
  return MakeRef<NetDirectory>(ref, OwnerOf(task), ino);
}

}  // namespace sandboxd::proc
