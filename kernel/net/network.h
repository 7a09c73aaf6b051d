// Network: the socket families of one network namespace. A family beyond AF_UNIX (INET stacks) adds
// its factory here.
#pragma once

#include <utility>

#include "kernel/net/socket.h"
#include "kernel/net/unix_domain.h"
#include "kernel/vfs/vfs.h"

namespace sandboxd::net {

class Network {
 public:
  explicit Network(vfs::Vfs& vfs) : vfs_(vfs) {}

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

 private:
  vfs::Vfs& vfs_;  // outlives us
  UnixDomain own_unix_domain_;
  UnixDomain* unix_domain_ = &own_unix_domain_;
  uint64_t number_ = 0;  // of the network namespace; 0: the sandbox's first
};

}  // namespace sandboxd::net
