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

  UnixDomain& unix_domain() { return unix_domain_; }

 private:
  vfs::Vfs& vfs_;  // outlives us
  UnixDomain unix_domain_;
};

}  // namespace sandboxd::net
