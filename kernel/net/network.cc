#include "kernel/net/network.h"

#include "kernel/net/unix_socket.h"

namespace sandboxd::net {
namespace {

// Linux's checks, in its order: the type that AF_UNIX makes of it.
Result<int> CheckedType(int family, int type, int protocol) {
  constexpr int kMaxType = 11;  // SOCK_MAX
  if (family < 0 || family >= AF_MAX) return Errno::kEAFNOSUPPORT;
  if (type < 0 || type >= kMaxType) return Errno::kEINVAL;
  if (family != AF_UNIX) return Errno::kEAFNOSUPPORT;
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

Result<Ref<Socket>> Network::Create(vfs::Caller& c, int family, int type, int protocol, int flags) {
  type = TRY(CheckedType(family, type, protocol));
  auto endpoint = MakeRef<UnixEndpoint>(*unix_domain_, type, EffectiveCredentials(c), number_);
  return Ref<Socket>(UnixSocket::Create(vfs_, *unix_domain_, flags, std::move(endpoint)));
}

Result<std::pair<Ref<Socket>, Ref<Socket>>> Network::CreatePair(vfs::Caller& c, int family,
                                                                int type, int protocol, int flags) {
  type = TRY(CheckedType(family, type, protocol));
  auto a = MakeRef<UnixEndpoint>(*unix_domain_, type, EffectiveCredentials(c), number_);
  auto b = MakeRef<UnixEndpoint>(*unix_domain_, type, EffectiveCredentials(c), number_);
  UnixEndpoint::ConnectPair(a, b);
  return std::pair<Ref<Socket>, Ref<Socket>>(
      UnixSocket::Create(vfs_, *unix_domain_, flags, std::move(a)),
      UnixSocket::Create(vfs_, *unix_domain_, flags, std::move(b)));
}

}  // namespace sandboxd::net
