#include "kernel/net/network.h"

#include "kernel/net/inet/loopback_stack.h"
#include "kernel/net/unix_socket.h"

namespace sandboxd::net {
namespace {

// What every family checks first.
Result<void> CheckFamily(int family, int type) {
  constexpr int kMaxType = 11;  // SOCK_MAX
  if (family < 0 || family >= AF_MAX) return Errno::kEAFNOSUPPORT;
  if (type < 0 || type >= kMaxType) return Errno::kEINVAL;
  return Ok();
}

// The type that AF_UNIX makes of it.
Result<int> UnixType(int type, int protocol) {
  if (protocol != 0 && protocol != PF_UNIX) return Errno::kEPROTONOSUPPORT;
  switch (type) {
    case SOCK_STREAM:
    case SOCK_DGRAM:
    case SOCK_SEQPACKET:
      return type;
    case SOCK_RAW:
      return SOCK_DGRAM;  // unix(7) does not say so, Linux does it
    default:
      return Errno::kESOCKTNOSUPPORT;
  }
}

}  // namespace

Network::Network(vfs::Vfs& vfs) : vfs_(vfs), stack_(MakeRef<LoopbackStack>(vfs)) {}
Network::~Network() = default;

Result<Ref<Socket>> Network::Create(vfs::Caller& c, int family, int type, int protocol, int flags) {
  TRY(CheckFamily(family, type));
  switch (family) {
    case AF_UNIX: {
      type = TRY(UnixType(type, protocol));
      auto endpoint = MakeRef<UnixEndpoint>(*unix_domain_, type, EffectiveCredentials(c), number_);
      return Ref<Socket>(UnixSocket::Create(vfs_, *unix_domain_, flags, std::move(endpoint)));
    }
    case AF_INET:
    case AF_INET6:
      return stack_->Create(c, family, type, protocol, flags);
    case AF_NETLINK:
      return NetlinkSocket::Create(vfs_, stack_, netlink_ports_, type, protocol, flags);
    default:
      return Errno::kEAFNOSUPPORT;
  }
}

Result<std::pair<Ref<Socket>, Ref<Socket>>> Network::CreatePair(vfs::Caller& c, int family,
                                                                int type, int protocol, int flags) {
  TRY(CheckFamily(family, type));
  if (family != AF_UNIX) {
    // socketpair(2) makes both sockets before it asks them to pair.
    TRY(Create(c, family, type, protocol, flags));
    return Errno::kEOPNOTSUPP;
  }
  type = TRY(UnixType(type, protocol));
  auto a = MakeRef<UnixEndpoint>(*unix_domain_, type, EffectiveCredentials(c), number_);
  auto b = MakeRef<UnixEndpoint>(*unix_domain_, type, EffectiveCredentials(c), number_);
  UnixEndpoint::ConnectPair(a, b);
  return std::pair<Ref<Socket>, Ref<Socket>>(
      UnixSocket::Create(vfs_, *unix_domain_, flags, std::move(a)),
      UnixSocket::Create(vfs_, *unix_domain_, flags, std::move(b)));
}

}  // namespace sandboxd::net
