// struct tcp_info (linux/tcp.h), which can't be seen together with netinet/tcp.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace sandboxd::net {

struct TcpFacts {
  int state = 0;
  uint32_t pending = 0, backlog = 0;  // of a listener
};

// TCP_INFO of a connection over the loopback interface, where nothing is ever lost.
std::vector<std::byte> TcpInfo(const TcpFacts& facts);

}  // namespace sandboxd::net
