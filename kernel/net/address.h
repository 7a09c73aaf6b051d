// Socket addresses as bytes (struct sockaddr_storage), and credentials of peers.
#pragma once

#include <sys/socket.h>

#include <array>
#include <cstdint>
#include <cstring>

#include "kernel/creds/credentials.h"
#include "platform/base/types.h"

namespace sandboxd::net {

struct SocketAddress {
  std::array<std::byte, 128> bytes{};
  size_t length = 0;  // 0: none

  // AF_UNSPEC if it is too short to have a family.
  uint16_t family() const {
    uint16_t f = 0;
    if (length >= sizeof(f)) memcpy(&f, bytes.data(), sizeof(f));
    return f;
  }
};

// struct ucred in the kernel's own ids: the pid in the sandbox's initial namespace.
struct PeerCredentials {
  int32_t pid = 0;
  creds::KUid uid{creds::kOverflowId};
  creds::KGid gid{creds::kOverflowId};
  bool operator==(const PeerCredentials&) const = default;
};

}  // namespace sandboxd::net
