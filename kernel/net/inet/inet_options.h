// The options of the levels IPPROTO_IP, IPPROTO_IPV6, IPPROTO_TCP and IPPROTO_UDP that are one
// number: ip(7), ipv6(7), tcp(7), udp(7). A socket remembers what was set; what an option changes
// is for the socket to ask.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "platform/base/mutex.h"
#include "platform/base/result.h"
#include "platform/base/types.h"

namespace sandboxd::net {

class InetOptions {
 public:
  // `protocol`: IPPROTO_TCP, IPPROTO_UDP.
  InetOptions(int family, int protocol) : family_(family), protocol_(protocol) {}
  int protocol() const { return protocol_; }

  // ENOPROTOOPT for an option that this kind of socket does not have, EINVAL for a value out of
  // range or too short, EPERM.
  Result<void> Set(int level, int name, ConstBytes value, bool privileged);
  Result<std::vector<std::byte>> Get(int level, int name, size_t room) const;

  int value(int level, int name) const;
  bool on(int level, int name) const { return value(level, name) != 0; }
  void CopyFrom(const InetOptions& other);

 private:
  const int family_;
  const int protocol_;
  mutable Mutex mutex_{LockRank::kLeaf};
  std::map<std::pair<int, int>, int> set_ GUARDED_BY(mutex_);
};

}  // namespace sandboxd::net
