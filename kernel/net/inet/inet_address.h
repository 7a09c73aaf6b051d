// An address and port of either internet family. An IPv4 address is kept as the v4-mapped IPv6
// address that it is (RFC 4291, 2.5.5.2), so that both families meet in one form.
#pragma once

#include <netinet/in.h>

#include <array>
#include <compare>
#include <cstdint>
#include <string>

#include "kernel/net/address.h"
#include "platform/base/result.h"

namespace sandboxd::net {

struct InetAddress {
  std::array<uint8_t, 16> ip{};
  uint16_t port = 0;   // host byte order
  uint32_t scope = 0;  // sin6_scope_id

  auto operator<=>(const InetAddress&) const = default;

  static InetAddress V4(uint32_t host_order, uint16_t port = 0);
  static InetAddress V6(const std::array<uint8_t, 16>& ip, uint16_t port = 0);
  static InetAddress Any(int family) { return family == AF_INET ? V4(0) : InetAddress(); }
  static InetAddress Loopback(int family);

  // sockaddr_in or sockaddr_in6. EINVAL if it is too short for `family`; EAFNOSUPPORT if it is
  // of another.
  static Result<InetAddress> Decode(const SocketAddress& address, int family);
  // As a socket of `family` reports it.
  SocketAddress Encode(int family) const;

  bool is_v4() const;         // v4-mapped
  uint32_t v4() const;        // host order; of a v4-mapped one
  bool is_any() const;        // 0.0.0.0 or ::
  bool is_loopback() const;   // 127.0.0.0/8 or ::1
  bool is_multicast() const;  // 224.0.0.0/4 or ff00::/8
  bool is_broadcast() const;  // 255.255.255.255, and 127.255.255.255 of lo
  bool SameIp(const InetAddress& other) const { return ip == other.ip; }
  InetAddress WithPort(uint16_t p) const;
  // "0100007F:1F90", as /proc/net/tcp writes it; the long form for tcp6.
  std::string ProcText(int family) const;
};

}  // namespace sandboxd::net
