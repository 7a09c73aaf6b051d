// NetworkStack: what answers for AF_INET and AF_INET6 in one network namespace. There are several
// ways to stand behind it (loopback inside the sandbox, sockets of the host's); the rest of the
// kernel sees this only.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "kernel/net/interface.h"
#include "kernel/net/socket.h"

namespace sandboxd::net {

// Its sockets hold it.
class NetworkStack : public RefCounted {
 public:
  // socket(2); `family` is AF_INET or AF_INET6, `type` and `flags` as Network::Create has them.
  virtual Result<Ref<Socket>> Create(vfs::Caller& c, int family, int type, int protocol,
                                     int flags) = 0;

  // Snapshots, for netlink, the SIOCGIF… ioctls and /proc/net.
  virtual std::vector<Interface> Interfaces() = 0;
  virtual std::vector<Route> Routes() = 0;
  // The sockets of one table of /proc/net, "tcp", "udp6"…, without its heading.
  virtual std::vector<SocketRow> Sockets(std::string_view table) = 0;
};

}  // namespace sandboxd::net
