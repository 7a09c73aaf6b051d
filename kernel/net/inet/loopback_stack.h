// LoopbackStack: AF_INET and AF_INET6 of a sandbox without a network (--network=none): the lo
// interface with 127.0.0.0/8 and ::1, TCP and UDP between sockets of the sandbox, and nothing else.
#pragma once

#include <map>
#include <set>

#include "kernel/net/inet/port_table.h"
#include "kernel/net/stack.h"
#include "kernel/vfs/vfs.h"
#include "platform/base/mutex.h"

namespace sandboxd::net {

class TcpSocket;
class UdpSocket;

class LoopbackStack final : public NetworkStack {
 public:
  explicit LoopbackStack(vfs::Vfs& vfs) : vfs_(vfs) {}

  Result<Ref<Socket>> Create(vfs::Caller& c, int family, int type, int protocol,
                             int flags) override;
  std::vector<Interface> Interfaces() override;
  std::vector<Route> Routes() override;
  std::vector<SocketRow> Sockets(std::string_view table) override;

  PortTable& tcp_ports() { return tcp_ports_; }
  PortTable& udp_ports() { return udp_ports_; }

  // The open sockets, for /proc/net.
  void AddTcp(TcpSocket& socket);
  void RemoveTcp(TcpSocket& socket);
  void AddUdp(UdpSocket& socket);
  void RemoveUdp(UdpSocket& socket);

  // IPv4 multicast groups, by how many memberships there are: one that nobody is in takes nothing.
  void JoinGroup(uint32_t group);
  void LeaveGroup(uint32_t group);
  bool IsJoined(uint32_t group);

 private:
  vfs::Vfs& vfs_;  // outlives us
  PortTable tcp_ports_{PortTable::Protocol::kTcp};
  PortTable udp_ports_{PortTable::Protocol::kUdp};
  Mutex mutex_{LockRank::kSocketTable};
  std::set<TcpSocket*> tcp_ GUARDED_BY(mutex_);
  std::set<UdpSocket*> udp_ GUARDED_BY(mutex_);
  std::map<uint32_t, int> groups_ GUARDED_BY(mutex_);
};

}  // namespace sandboxd::net
