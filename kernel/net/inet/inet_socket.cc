#include "kernel/net/inet/inet_socket.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <cstring>

#include "kernel/net/inet/loopback_stack.h"
#include "kernel/vfs/caller.h"

namespace sandboxd::net {
namespace {

constexpr int kLoopbackMtu = 65536;
constexpr uint16_t kFirstUnprivilegedPort = 1024;

std::vector<std::byte> Number(int32_t value) {
  ConstBytes bytes = AsBytes(value);
  return {bytes.begin(), bytes.end()};
}

}  // namespace

InetSocket::InetSocket(vfs::Path path, LoopbackStack& stack, int family, int protocol, int flags)
    : Socket(std::move(path), O_RDWR | flags),
      stack_(&stack),
      family_(family),
      options_(family, protocol) {}

// --- addresses ---

void InetSocket::PrepareBinding(vfs::Caller& c) {
  PortBinding& b = binding();
  b.v6 = family_ == AF_INET6;
  b.v6_only = b.v6 && options_.on(IPPROTO_IPV6, IPV6_V6ONLY);
  b.uid = c.credentials()->euid;
  ports().SetReuse(b, option(SO_REUSEADDR), option(SO_REUSEPORT));
}

Result<void> InetSocket::Bind(vfs::Caller& c, const SocketAddress& address) {
  Result<InetAddress> decoded = InetAddress::Decode(address, family_);
  // AF_UNSPEC with "any" is a compatibility that Linux keeps for AF_INET.
  if (decoded.Is(Errno::kEAFNOSUPPORT) && family_ == AF_INET && address.family() == AF_UNSPEC) {
    SocketAddress as_inet = address;
    uint16_t inet = AF_INET;
    memcpy(as_inet.bytes.data(), &inet, sizeof(inet));
    decoded = InetAddress::Decode(as_inet, family_);
    if (decoded.ok() && !decoded->is_any()) return Errno::kEAFNOSUPPORT;
  }
  InetAddress at = TRY(decoded);
  at.scope = 0;
  const bool free_bind = options_.on(IPPROTO_IP, IP_FREEBIND) ||
                         options_.on(IPPROTO_IP, IP_TRANSPARENT) ||
                         (family_ == AF_INET6 && options_.on(IPPROTO_IPV6, 78));  // IPV6_FREEBIND
  const bool v4_on_v6_only = family_ == AF_INET6 && at.is_v4();
  if (v4_on_v6_only && options_.on(IPPROTO_IPV6, IPV6_V6ONLY)) return Errno::kEINVAL;
  const bool group = type() != SOCK_STREAM && (at.is_multicast() || at.is_broadcast());
  if (!at.is_any() && !at.is_loopback() && !group && !free_bind) return Errno::kEADDRNOTAVAIL;
  if (at.port != 0 && at.port < kFirstUnprivilegedPort &&
      !c.credentials()->CapableInit(CAP_NET_BIND_SERVICE)) {
    return Errno::kEACCES;
  }
  if (local().port != 0) return Errno::kEINVAL;
  PrepareBinding(c);
  return BindTo(at);
}

Result<SocketAddress> InetSocket::LocalAddress() {
  InetAddress at = local();
  if (at.port == 0) at = InetAddress::Any(family_);
  return at.Encode(family_);
}

Result<void> InetSocket::CheckReach(const InetAddress& to) const {
  if (family_ == AF_INET6) {
    if (to.is_v4() && options_.on(IPPROTO_IPV6, IPV6_V6ONLY)) return Errno::kENETUNREACH;
    const InetAddress from = local();
    if (from.port != 0 && from.is_v4() && !to.is_v4()) return Errno::kEAFNOSUPPORT;
    if (from.port != 0 && !from.is_any() && !from.is_v4() && to.is_v4()) {
      return Errno::kENETUNREACH;
    }
  }
  if (type() != SOCK_STREAM && to.is_v4() && (to.is_multicast() || to.is_broadcast())) return Ok();
  const bool here = to.is_loopback() && !to.is_broadcast();
  return here ? Ok() : Result<void>(Errno::kENETUNREACH);
}

Result<InetAddress> InetSocket::Destination(const SocketAddress& address) const {
  InetAddress to = TRY(InetAddress::Decode(address, family_));
  to.scope = 0;
  // connect(2) to "any" is to this host.
  if (to.is_any()) {
    const InetAddress bound = local();
    const bool v4 = to.is_v4() || (bound.port != 0 && bound.is_v4());
    to = InetAddress::Loopback(v4 ? AF_INET : AF_INET6).WithPort(to.port);
  }
  return to;
}

InetAddress InetSocket::SourceFor(const InetAddress& to) const {
  InetAddress bound = local();
  if (bound.port != 0 && !bound.is_any()) return bound;
  return InetAddress::Loopback(to.is_v4() ? AF_INET : AF_INET6).WithPort(bound.port);
}

// --- options ---

Result<std::vector<std::byte>> InetSocket::GetIpOption(int level, int name, size_t room) const {
  if (level == IPPROTO_IP && (name == IP_OPTIONS || name == IP_PKTOPTIONS)) {
    return std::vector<std::byte>();
  }
  if (level == IPPROTO_IP && name == IP_MTU) {
    if (!remote().ok()) return Errno::kENOTCONN;
    return Number(kLoopbackMtu);
  }
  if (level == IPPROTO_IPV6 && name == IPV6_MTU) {
    if (family_ != AF_INET6) return Errno::kENOPROTOOPT;
    if (!remote().ok()) return Errno::kENOTCONN;
    return Number(kLoopbackMtu);
  }
  if (family_ == AF_INET && level != IPPROTO_IP && level != protocol()) return Errno::kEOPNOTSUPP;
  return options_.Get(level, name, room);
}

Result<std::vector<std::byte>> InetSocket::GetOption(vfs::Caller& c, int level, int name,
                                                     size_t room) {
  switch (level) {
    case IPPROTO_IP:
    case IPPROTO_IPV6:
    case IPPROTO_TCP:
    case IPPROTO_UDP:
      return GetIpOption(level, name, room);
    default:
      if (level != SOL_SOCKET || name != SO_BINDTODEVICE) break;
      // socket(7): the name of the device, if there is one.
      if (!on_loopback_device_.load(std::memory_order_relaxed)) return std::vector<std::byte>();
      if (room < IFNAMSIZ) return Errno::kEINVAL;
      return std::vector<std::byte>{std::byte{'l'}, std::byte{'o'}, std::byte{0}};
  }
  return Socket::GetOption(c, level, name, room);
}

// The loopback device is the only one, so that a socket on it misses nothing.
Result<void> InetSocket::BindToDevice(vfs::Caller& c, ConstBytes value) {
  if (!c.credentials()->CapableInit(CAP_NET_RAW)) return Errno::kEPERM;
  std::string_view name(reinterpret_cast<const char*>(value.data()),
                        std::min<size_t>(value.size(), IFNAMSIZ - 1));
  name = name.substr(0, name.find('\0'));
  if (!name.empty() && name != "lo") return Errno::kENODEV;
  on_loopback_device_.store(!name.empty(), std::memory_order_relaxed);
  return Ok();
}

Result<void> InetSocket::SetOption(vfs::Caller& c, int level, int name, ConstBytes value) {
  if (level == SOL_SOCKET && name == SO_BINDTODEVICE) return BindToDevice(c, value);
  if (level == SOL_SOCKET) {
    TRY(Socket::SetOption(c, level, name, value));
    if (name == SO_REUSEADDR || name == SO_REUSEPORT) {
      ports().SetReuse(binding(), option(SO_REUSEADDR), option(SO_REUSEPORT));
    }
    return Ok();
  }
  if (level != IPPROTO_IP && level != IPPROTO_IPV6 && level != IPPROTO_TCP &&
      level != IPPROTO_UDP) {
    return Errno::kENOPROTOOPT;
  }
  if (level == IPPROTO_IP && name == IP_OPTIONS) return value.empty() ? Ok() : Errno::kEINVAL;
  // ipv6(7): "This flag can be … set only before binding".
  if (level == IPPROTO_IPV6 && name == IPV6_V6ONLY && local().port != 0) return Errno::kEINVAL;
  const bool privileged =
      c.credentials()->CapableInit(CAP_NET_ADMIN) || c.credentials()->CapableInit(CAP_NET_RAW);
  return options_.Set(level, name, value, privileged);
}

Result<uint64_t> InetSocket::Ioctl(vfs::Caller& c, uint32_t command, uint64_t argument) {
  size_t value;
  switch (command) {
    case FIONREAD:  // SIOCINQ
      if (listening()) return Errno::kEINVAL;
      value = readable_bytes();
      break;
    case SIOCOUTQ:
    case SIOCOUTQNSD:
      if (listening()) return Errno::kEINVAL;
      value = command == SIOCOUTQ ? unsent_bytes() : 0;
      break;
    default:
      return Errno::kENOTTY;
  }
  TRY(c.memory().Write(UserAddr(argument), static_cast<int32_t>(value)));
  return uint64_t{0};
}

}  // namespace sandboxd::net
