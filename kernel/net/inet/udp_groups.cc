// UDP to more than one: IPv4 multicast groups and broadcast (ip(7)). There is one interface, lo.
#include <netinet/in.h>

#include <algorithm>
#include <cstring>

#include "kernel/net/inet/loopback_stack.h"
#include "kernel/net/inet/udp_socket.h"

namespace sandboxd::net {
namespace {

constexpr int kLoopbackIndex = 1;

struct GroupRequest {               // struct ip_mreqn; an ip_mreq has no index
  uint32_t group = 0, address = 0;  // network order
  int32_t index = 0;
};
static_assert(sizeof(GroupRequest) == 12);

bool IsLoopback(uint32_t wire_address) {
  return wire_address == 0 || InetAddress::V4(ntohl(wire_address)).is_loopback();
}

}  // namespace

// --- endpoints ---

bool UdpEndpoint::InGroup(uint32_t group) const {
  MutexLock lock(mutex_);
  return groups_.contains(group);
}

Result<void> UdpEndpoint::Join(uint32_t group) {
  MutexLock lock(mutex_);
  return groups_.insert(group).second ? Ok() : Result<void>(Errno::kEADDRINUSE);
}

Result<void> UdpEndpoint::Leave(uint32_t group) {
  MutexLock lock(mutex_);
  return groups_.erase(group) == 1 ? Ok() : Result<void>(Errno::kEADDRNOTAVAIL);
}

std::set<uint32_t> UdpEndpoint::groups() const {
  MutexLock lock(mutex_);
  return groups_;
}

// --- sockets ---

Result<void> UdpSocket::SetGroup(int name, ConstBytes value) {
  GroupRequest request;
  if (value.size() < 2 * sizeof(uint32_t)) return Errno::kEINVAL;
  memcpy(&request, value.data(), std::min(value.size(), sizeof(request)));
  const uint32_t group = ntohl(request.group);
  if (!IN_MULTICAST(group)) return Errno::kEINVAL;
  if (request.index != 0 ? request.index != kLoopbackIndex : !IsLoopback(request.address)) {
    return Errno::kENODEV;
  }
  if (name == IP_DROP_MEMBERSHIP) {
    TRY(endpoint_->Leave(group));
    stack().LeaveGroup(group);
    return Ok();
  }
  TRY(endpoint_->Join(group));
  stack().JoinGroup(group);
  return Ok();
}

Result<void> UdpSocket::SetGroupInterface(ConstBytes value) {
  GroupRequest request;
  if (value.size() < sizeof(uint32_t)) return Errno::kEINVAL;
  if (value.size() >= 2 * sizeof(uint32_t)) {
    memcpy(&request, value.data(), std::min(value.size(), sizeof(request)));
  } else {
    memcpy(&request.address, value.data(), sizeof(request.address));
  }
  if (request.index != 0 && request.index != kLoopbackIndex) return Errno::kEADDRNOTAVAIL;
  if (request.index == 0 && !IsLoopback(request.address)) return Errno::kEADDRNOTAVAIL;
  group_interface_.store(request.address, std::memory_order_relaxed);
  return Ok();
}

Result<std::vector<std::byte>> UdpSocket::GetOption(vfs::Caller& c, int level, int name,
                                                    size_t room) {
  if (level != IPPROTO_IP || name != IP_MULTICAST_IF) {
    return InetSocket::GetOption(c, level, name, room);
  }
  const uint32_t address = group_interface_.load(std::memory_order_relaxed);
  ConstBytes bytes = AsBytes(address);
  return std::vector<std::byte>(bytes.begin(), bytes.end());
}

void UdpSocket::TransmitToAll(const Datagram& datagram) {
  const bool multicast = datagram.to.is_multicast();
  const uint32_t group = datagram.to.v4();
  if (multicast && !stack().IsJoined(group)) return;
  for (auto& found : ports().FindAll(datagram.from, datagram.to)) {
    auto endpoint = StaticRefCast<UdpEndpoint>(std::move(found));
    // IP_MULTICAST_ALL, which is on: who is bound to any address hears what others have joined.
    if (!multicast || endpoint->InGroup(group) || endpoint->hears_all_groups()) {
      endpoint->Deliver(datagram);
    }
  }
}

}  // namespace sandboxd::net
