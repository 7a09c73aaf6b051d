#include "kernel/net/inet/inet_address.h"

#include <algorithm>
#include <cstring>

#include "platform/base/format.h"

namespace sandboxd::net {
namespace {
constexpr std::array<uint8_t, 12> kMappedPrefix = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
constexpr size_t kShortSockaddrIn6 = 24;  // SIN6_LEN_RFC2133: without sin6_scope_id
}  // namespace

InetAddress InetAddress::V4(uint32_t host_order, uint16_t port) {
  InetAddress a;
  std::ranges::copy(kMappedPrefix, a.ip.begin());
  uint32_t wire = htonl(host_order);
  memcpy(a.ip.data() + 12, &wire, sizeof(wire));
  a.port = port;
  return a;
}

InetAddress InetAddress::V6(const std::array<uint8_t, 16>& ip, uint16_t port) {
  InetAddress a;
  a.ip = ip;
  a.port = port;
  return a;
}

InetAddress InetAddress::Loopback(int family) {
  if (family == AF_INET) return V4(INADDR_LOOPBACK);
  InetAddress a;
  a.ip[15] = 1;
  return a;
}

Result<InetAddress> InetAddress::Decode(const SocketAddress& address, int family) {
  if (family == AF_INET) {
    if (address.length < sizeof(sockaddr_in)) return Errno::kEINVAL;
    if (address.family() != AF_INET) return Errno::kEAFNOSUPPORT;
    sockaddr_in in;
    memcpy(&in, address.bytes.data(), sizeof(in));
    return V4(ntohl(in.sin_addr.s_addr), ntohs(in.sin_port));
  }
  if (address.length < kShortSockaddrIn6) return Errno::kEINVAL;
  if (address.family() != AF_INET6) return Errno::kEAFNOSUPPORT;
  sockaddr_in6 in6 = {};
  memcpy(&in6, address.bytes.data(), std::min(address.length, sizeof(in6)));
  InetAddress a;
  memcpy(a.ip.data(), &in6.sin6_addr, a.ip.size());
  a.port = ntohs(in6.sin6_port);
  a.scope = in6.sin6_scope_id;
  return a;
}

SocketAddress InetAddress::Encode(int family) const {
  SocketAddress out;
  if (family == AF_INET) {
    sockaddr_in in = {};
    in.sin_family = AF_INET;
    in.sin_port = htons(port);
    memcpy(&in.sin_addr, ip.data() + 12, sizeof(in.sin_addr));
    memcpy(out.bytes.data(), &in, sizeof(in));
    out.length = sizeof(in);
    return out;
  }
  sockaddr_in6 in6 = {};
  in6.sin6_family = AF_INET6;
  in6.sin6_port = htons(port);
  memcpy(&in6.sin6_addr, ip.data(), ip.size());
  in6.sin6_scope_id = scope;
  memcpy(out.bytes.data(), &in6, sizeof(in6));
  out.length = sizeof(in6);
  return out;
}

bool InetAddress::is_v4() const {
  return std::equal(kMappedPrefix.begin(), kMappedPrefix.end(), ip.begin());
}

uint32_t InetAddress::v4() const {
  uint32_t wire;
  memcpy(&wire, ip.data() + 12, sizeof(wire));
  return ntohl(wire);
}

bool InetAddress::is_any() const {
  if (is_v4()) return v4() == INADDR_ANY;
  return std::ranges::all_of(ip, [](uint8_t b) { return b == 0; });
}

bool InetAddress::is_loopback() const {
  if (is_v4()) return v4() >> 24 == IN_LOOPBACKNET;
  return SameIp(Loopback(AF_INET6));
}

bool InetAddress::is_multicast() const {
  if (is_v4()) return IN_MULTICAST(v4());
  return ip[0] == 0xff;
}

bool InetAddress::is_broadcast() const {
  return is_v4() && (v4() == INADDR_BROADCAST || v4() == 0x7fffffff);
}

InetAddress InetAddress::WithPort(uint16_t p) const {
  InetAddress a = *this;
  a.port = p;
  return a;
}

std::string InetAddress::ProcText(int family) const {
  std::string text;
  for (size_t at = family == AF_INET ? 12 : 0; at < ip.size(); at += 4) {
    uint32_t word;
    memcpy(&word, ip.data() + at, sizeof(word));
    text += StrFormat("%08X", word);
  }
  return text + StrFormat(":%04X", port);
}

}  // namespace sandboxd::net
