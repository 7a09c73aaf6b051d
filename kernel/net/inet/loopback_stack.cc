#include "kernel/net/inet/loopback_stack.h"

#include <linux/capability.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <net/if_arp.h>

#include "kernel/net/inet/tcp_socket.h"
#include "kernel/net/inet/udp_socket.h"
#include "kernel/vfs/caller.h"
#include "kernel/vfs/inode.h"

namespace sandboxd::net {
namespace {

constexpr int kLoopbackIndex = 1;

bool IsV6(std::string_view table) { return table.ends_with('6'); }

}  // namespace

Result<Ref<Socket>> LoopbackStack::Create(vfs::Caller& c, int family, int type, int protocol,
                                          int flags) {
  if (protocol < 0 || protocol > 255) {
    if (protocol != IPPROTO_MPTCP) return Errno::kEINVAL;
  }
  switch (type) {
    case SOCK_STREAM:
      if (protocol != 0 && protocol != IPPROTO_TCP) return Errno::kEPROTONOSUPPORT;
      return Ref<Socket>(
          TcpSocket::Create(vfs_, *this, family, flags, MakeRef<TcpEndpoint>(tcp_ports_)));
    case SOCK_DGRAM:
      // net.ipv4.ping_group_range lets nobody have ICMP sockets.
      if (protocol == IPPROTO_ICMP && family == AF_INET) return Errno::kEACCES;
      if (protocol == IPPROTO_ICMPV6 && family == AF_INET6) return Errno::kEACCES;
      if (protocol != 0 && protocol != IPPROTO_UDP) return Errno::kEPROTONOSUPPORT;
      return Ref<Socket>(UdpSocket::Create(vfs_, *this, family, flags));
    case SOCK_RAW:
      if (protocol == 0) return Errno::kEPROTONOSUPPORT;
      if (!c.credentials()->CapableInit(CAP_NET_RAW)) return Errno::kEPERM;
      return Errno::kESOCKTNOSUPPORT;
    default:
      return Errno::kESOCKTNOSUPPORT;
  }
}

// --- interfaces ---

std::vector<Interface> LoopbackStack::Interfaces() {
  Interface lo;
  lo.index = kLoopbackIndex;
  lo.name = "lo";
  lo.flags = IFF_UP | IFF_LOOPBACK | IFF_RUNNING | 0x10000;  // IFF_LOWER_UP
  lo.type = ARPHRD_LOOPBACK;
  lo.mtu = 65536;
  lo.addresses = {{InetAddress::Loopback(AF_INET), 8, RT_SCOPE_HOST},
                  {InetAddress::Loopback(AF_INET6), 128, RT_SCOPE_HOST}};
  return {lo};
}

std::vector<Route> LoopbackStack::Routes() {
  auto local = [](int family, const InetAddress& to, int prefix, uint8_t type, uint8_t scope) {
    Route r;
    r.family = family;
    r.destination = to;
    r.prefix = prefix;
    if (family == AF_INET) r.preferred = InetAddress::Loopback(AF_INET);
    r.interface_index = kLoopbackIndex;
    r.table = RT_TABLE_LOCAL;
    r.type = type;
    r.scope = scope;
    r.protocol = RTPROT_KERNEL;
    return r;
  };
  return {
      local(AF_INET, InetAddress::V4(0x7f000000), 8, RTN_LOCAL, RT_SCOPE_HOST),
      local(AF_INET, InetAddress::V4(0x7f000001), 32, RTN_LOCAL, RT_SCOPE_HOST),
      local(AF_INET, InetAddress::V4(0x7fffffff), 32, RTN_BROADCAST, RT_SCOPE_LINK),
      local(AF_INET6, InetAddress::Loopback(AF_INET6), 128, RTN_LOCAL, RT_SCOPE_UNIVERSE),
  };
}

// --- the open sockets ---

void LoopbackStack::AddTcp(TcpSocket& socket) {
  MutexLock lock(mutex_);
  tcp_.insert(&socket);
}
void LoopbackStack::RemoveTcp(TcpSocket& socket) {
  MutexLock lock(mutex_);
  tcp_.erase(&socket);
}
void LoopbackStack::AddUdp(UdpSocket& socket) {
  MutexLock lock(mutex_);
  udp_.insert(&socket);
}
void LoopbackStack::RemoveUdp(UdpSocket& socket) {
  MutexLock lock(mutex_);
  udp_.erase(&socket);
}

void LoopbackStack::JoinGroup(uint32_t group) {
  MutexLock lock(mutex_);
  groups_[group]++;
}
void LoopbackStack::LeaveGroup(uint32_t group) {
  MutexLock lock(mutex_);
  if (--groups_[group] <= 0) groups_.erase(group);
}
bool LoopbackStack::IsJoined(uint32_t group) {
  MutexLock lock(mutex_);
  return groups_.contains(group);
}

std::vector<SocketRow> LoopbackStack::Sockets(std::string_view table) {
  const int family = IsV6(table) ? AF_INET6 : AF_INET;
  std::vector<SocketRow> rows;
  // A socket on its way out waits for mutex_ in its destructor.
  if (table.starts_with("tcp")) {
    std::vector<Ref<TcpSocket>> sockets;
    {
      MutexLock lock(mutex_);
      for (TcpSocket* s : tcp_) {
        if (s->TryIncRef()) sockets.push_back(Ref<TcpSocket>::Adopt(s));
      }
    }
    for (const auto& s : sockets) {
      if (s->family() == family) s->AddRow(rows);
    }
  } else if (table.starts_with("udp")) {
    std::vector<Ref<UdpSocket>> sockets;
    {
      MutexLock lock(mutex_);
      for (UdpSocket* s : udp_) {
        if (s->TryIncRef()) sockets.push_back(Ref<UdpSocket>::Adopt(s));
      }
    }
    for (const auto& s : sockets) {
      if (s->family() == family) s->AddRow(rows);
    }
  }
  return rows;
}

}  // namespace sandboxd::net
