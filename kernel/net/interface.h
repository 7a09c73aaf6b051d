// What programs can ask about a network namespace: its interfaces, routes and sockets.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "kernel/net/inet/inet_address.h"

namespace sandboxd::net {

struct InterfaceAddress {
  InetAddress address;  // the port is 0
  int prefix = 0;       // bits, of the address's own family
  uint8_t scope = 0;    // RT_SCOPE_*
};

struct Interface {
  int index = 0;
  std::string name;
  uint32_t flags = 0;  // IFF_*
  uint16_t type = 0;   // ARPHRD_*
  uint32_t mtu = 0;
  uint32_t queue_length = 1000;
  std::array<uint8_t, 6> hardware{};
  std::array<uint8_t, 6> hardware_broadcast{};
  std::vector<InterfaceAddress> addresses;
  struct Counters {
    uint64_t rx_packets = 0, tx_packets = 0, rx_bytes = 0, tx_bytes = 0;
    uint64_t rx_errors = 0, tx_errors = 0, rx_dropped = 0, tx_dropped = 0;
  } counters;
};

struct Route {
  int family = 0;
  InetAddress destination;
  int prefix = 0;
  InetAddress gateway;    // unspecified: none
  InetAddress preferred;  // RTA_PREFSRC; unspecified: none
  int interface_index = 0;
  uint8_t table = 0;  // RT_TABLE_*
  uint8_t type = 0;   // RTN_*
  uint8_t scope = 0;  // RT_SCOPE_*
  uint8_t protocol = 0;
  uint32_t metric = 0;
};

// One line of /proc/net/tcp and its relatives.
struct SocketRow {
  InetAddress local, remote;
  uint8_t state = 0;  // TCP_ESTABLISHED…
  uint32_t send_queue = 0, receive_queue = 0;
  uint32_t uid = 0;
  uint64_t inode = 0;
};

}  // namespace sandboxd::net
