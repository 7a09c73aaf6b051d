// Network: the socket families of one network namespace.
#pragma once

#include <memory>
#include <utility>

#include "kernel/net/netlink/netlink_socket.h"
#include "kernel/net/socket.h"
#include "kernel/net/stack.h"
#include "kernel/net/unix_domain.h"
#include "kernel/vfs/vfs.h"

namespace sandboxd::net {

class Network {
 public:
  // Starts with the loopback stack.
  explicit Network(vfs::Vfs& vfs);
  ~Network();

  // socket(2) and socketpair(2); `type` without SOCK_CLOEXEC and SOCK_NONBLOCK, `flags`: O_NONBLOCK
  // or 0. EAFNOSUPPORT, EINVAL, ESOCKTNOSUPPORT, EPROTONOSUPPORT, EOPNOTSUPP.
  Result<Ref<Socket>> Create(vfs::Caller& c, int family, int type, int protocol, int flags);
  Result<std::pair<Ref<Socket>, Ref<Socket>>> CreatePair(vfs::Caller& c, int family, int type,
                                                         int protocol, int flags);

  UnixDomain& unix_domain() { return *unix_domain_; }
  // For a network namespace beside `first`: files in flight and pathname sockets are one world,
  // abstract names are told apart by `number`. Before the first socket.
  void ShareUnixDomain(Network& first, uint64_t number) {
    unix_domain_ = first.unix_domain_;
    number_ = number;
  }
  NetworkStack& stack() { return *stack_; }
  // Before the first socket.
  void set_stack(Ref<NetworkStack> stack) { stack_ = std::move(stack); }

 private:
  vfs::Vfs& vfs_;  // outlives us
  UnixDomain own_unix_domain_;
  UnixDomain* unix_domain_ = &own_unix_domain_;
  uint64_t number_ = 0;  // of the network namespace; 0: the sandbox's first
  // Sockets keep them beyond the namespace.
  Ref<NetworkStack> stack_;
  const Ref<NetlinkPorts> netlink_ports_ = MakeRef<NetlinkPorts>();
};

}  // namespace sandboxd::net
