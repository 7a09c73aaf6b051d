#include "kernel/net/inet/inet_options.h"

#include <linux/in6.h>
#include <linux/udp.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

#include <algorithm>
#include <climits>
#include <cstring>

namespace sandboxd::net {
namespace {

enum class Kind : uint8_t {
  kBoolean,
  kNumber,
  kPrivilegedBoolean,  // on only with CAP_NET_ADMIN or CAP_NET_RAW
  kReadOnly,
};

struct Option {
  int level;
  int name;
  Kind kind = Kind::kBoolean;
  int initial = 0;
  int min = 0;
  int max = 1;
};

constexpr int kRecvFragmentSize = 25, kBindAddressNoPort = 24, kMulticastAll = 49;
constexpr int kV6MulticastAll = 29, kV6AddrPreferences = 72, kV6MinHopCount = 73;
constexpr int kV6ReceiveOriginalAddress = 74, kV6ReceiveFragmentSize = 77, kV6FreeBind = 78;
constexpr int kV6AutoFlowLabel = 70, kV6Transparent = 75, kV6Mtu = 24;

constexpr Option kOptions[] = {
    {IPPROTO_IP, IP_TOS, Kind::kNumber, 0, INT_MIN, INT_MAX},
    {IPPROTO_IP, IP_TTL, Kind::kNumber, 64, -1, 255},
    {IPPROTO_IP, IP_RECVTTL},
    {IPPROTO_IP, IP_RECVTOS},
    {IPPROTO_IP, IP_RECVOPTS},
    {IPPROTO_IP, IP_RETOPTS},
    {IPPROTO_IP, IP_PKTINFO},
    {IPPROTO_IP, IP_RECVERR},
    {IPPROTO_IP, IP_RECVORIGDSTADDR},
    {IPPROTO_IP, kRecvFragmentSize},
    {IPPROTO_IP, IP_FREEBIND},
    {IPPROTO_IP, IP_TRANSPARENT, Kind::kPrivilegedBoolean},
    {IPPROTO_IP, kBindAddressNoPort},
    {IPPROTO_IP, IP_MTU_DISCOVER, Kind::kNumber, IP_PMTUDISC_WANT, 0, 5},
    {IPPROTO_IP, IP_MINTTL, Kind::kNumber, 0, 0, 255},
    {IPPROTO_IP, IP_MULTICAST_TTL, Kind::kNumber, 1, -1, 255},
    {IPPROTO_IP, IP_MULTICAST_LOOP, Kind::kBoolean, 1},
    {IPPROTO_IP, kMulticastAll, Kind::kBoolean, 1},
    {IPPROTO_IPV6, IPV6_V6ONLY},
    {IPPROTO_IPV6, IPV6_UNICAST_HOPS, Kind::kNumber, 64, -1, 255},
    {IPPROTO_IPV6, IPV6_MULTICAST_HOPS, Kind::kNumber, 1, -1, 255},
    {IPPROTO_IPV6, IPV6_MULTICAST_LOOP, Kind::kNumber, 1, 0, 1},
    {IPPROTO_IPV6, kV6MulticastAll, Kind::kBoolean, 1},
    {IPPROTO_IPV6, IPV6_RECVPKTINFO},
    {IPPROTO_IPV6, IPV6_RECVHOPLIMIT},
    {IPPROTO_IPV6, IPV6_RECVTCLASS},
    {IPPROTO_IPV6, IPV6_RECVRTHDR},
    {IPPROTO_IPV6, IPV6_RECVHOPOPTS},
    {IPPROTO_IPV6, IPV6_RECVDSTOPTS},
    {IPPROTO_IPV6, IPV6_RECVPATHMTU},
    {IPPROTO_IPV6, IPV6_RECVERR},
    {IPPROTO_IPV6, kV6ReceiveOriginalAddress},
    {IPPROTO_IPV6, kV6ReceiveFragmentSize},
    {IPPROTO_IPV6, kV6FreeBind},
    {IPPROTO_IPV6, kV6Transparent, Kind::kPrivilegedBoolean},
    {IPPROTO_IPV6, kV6AutoFlowLabel, Kind::kBoolean, 1},
    {IPPROTO_IPV6, kV6MinHopCount, Kind::kNumber, 0, 0, 255},
    {IPPROTO_IPV6, kV6AddrPreferences, Kind::kNumber, 0, 0, 0x3f},
    {IPPROTO_IPV6, IPV6_TCLASS, Kind::kNumber, 0, -1, 255},
    {IPPROTO_IPV6, IPV6_DONTFRAG},
    {IPPROTO_IPV6, IPV6_FLOWINFO_SEND},
    {IPPROTO_IPV6, IPV6_FLOWINFO},
    {IPPROTO_IPV6, IPV6_MTU_DISCOVER, Kind::kNumber, IPV6_PMTUDISC_WANT, 0, 5},
    {IPPROTO_IPV6, kV6Mtu, Kind::kNumber, 0, 1280, INT_MAX},
    {IPPROTO_TCP, TCP_NODELAY},
    {IPPROTO_TCP, TCP_CORK},
    {IPPROTO_TCP, TCP_QUICKACK, Kind::kBoolean, 1},
    {IPPROTO_TCP, TCP_MAXSEG, Kind::kNumber, 536, 88, 32767},
    {IPPROTO_TCP, TCP_KEEPIDLE, Kind::kNumber, 7200, 1, 32767},
    {IPPROTO_TCP, TCP_KEEPINTVL, Kind::kNumber, 75, 1, 32767},
    {IPPROTO_TCP, TCP_KEEPCNT, Kind::kNumber, 9, 1, 127},
    {IPPROTO_TCP, TCP_SYNCNT, Kind::kNumber, 6, 1, 127},
    {IPPROTO_TCP, TCP_LINGER2, Kind::kNumber, 60, INT_MIN, INT_MAX},
    {IPPROTO_TCP, TCP_DEFER_ACCEPT, Kind::kNumber, 0, INT_MIN, INT_MAX},
    {IPPROTO_TCP, TCP_WINDOW_CLAMP, Kind::kNumber, 0, 0, INT_MAX},
    {IPPROTO_TCP, TCP_USER_TIMEOUT, Kind::kNumber, 0, 0, INT_MAX},
    {IPPROTO_TCP, TCP_FASTOPEN, Kind::kNumber, 0, 0, INT_MAX},
    {IPPROTO_TCP, TCP_FASTOPEN_CONNECT},
    {IPPROTO_TCP, TCP_FASTOPEN_NO_COOKIE},
    {IPPROTO_TCP, TCP_THIN_LINEAR_TIMEOUTS},
    {IPPROTO_TCP, TCP_THIN_DUPACK},
    {IPPROTO_TCP, TCP_NOTSENT_LOWAT, Kind::kNumber, 0, INT_MIN, INT_MAX},
    {IPPROTO_TCP, TCP_TIMESTAMP, Kind::kNumber, 0, INT_MIN, INT_MAX},
    {IPPROTO_TCP, TCP_SAVE_SYN, Kind::kNumber, 0, 0, 2},
    {IPPROTO_TCP, TCP_INQ},
    {IPPROTO_UDP, UDP_CORK},
    {IPPROTO_UDP, UDP_NO_CHECK6_TX},
    {IPPROTO_UDP, UDP_NO_CHECK6_RX},
    {IPPROTO_UDP, UDP_SEGMENT, Kind::kNumber, 0, 0, 65535},
    {IPPROTO_UDP, UDP_GRO},
};

const Option* Find(int level, int name) {
  for (const Option& o : kOptions) {
    if (o.level == level && o.name == name) return &o;
  }
  return nullptr;
}

// Linux doubles what is halved by its own rounding, and clamps what it does not refuse.
int Adjusted(const Option& o, int value) {
  if (o.level == IPPROTO_IP && o.name == IP_TTL && value == -1) return o.initial;
  if (o.level == IPPROTO_IP && o.name == IP_TOS) return value & 0xff;
  if (o.level == IPPROTO_IP && o.name == IP_MULTICAST_TTL && value == -1) return 1;
  if (o.level == IPPROTO_IPV6 && o.name == IPV6_UNICAST_HOPS && value == -1) return 64;
  if (o.level == IPPROTO_IPV6 && o.name == IPV6_MULTICAST_HOPS && value == -1) return 1;
  if (o.level == IPPROTO_IPV6 && o.name == IPV6_TCLASS && value == -1) return 0;
  if (o.level == IPPROTO_TCP && o.name == TCP_LINGER2) {
    constexpr int kMax = 120;  // TCP_FIN_TIMEOUT_MAX, in seconds
    if (value == 0) return o.initial;
    return value < 0 ? -1 : std::min(value, kMax);
  }
  if (o.level == IPPROTO_TCP && o.name == TCP_WINDOW_CLAMP && value != 0) {
    return std::max(value, 1152);  // half of the smallest receive buffer
  }
  // The time until the number of retransmissions that covers it: 1, 3, 7, 15… seconds.
  if (o.level == IPPROTO_TCP && o.name == TCP_DEFER_ACCEPT) {
    if (value <= 0) return 0;
    int covered = 1, timeout = 1;
    while (covered < value && covered < 1 << 20) {
      timeout = timeout * 2 > 120 ? 120 : timeout * 2;
      covered += timeout;
    }
    return covered;
  }
  return value;
}

}  // namespace

Result<void> InetOptions::Set(int level, int name, ConstBytes bytes, bool privileged) {
  const Option* o = Find(level, name);
  if (o == nullptr) return Errno::kENOPROTOOPT;
  if (level == IPPROTO_IPV6 && family_ != AF_INET6) return Errno::kENOPROTOOPT;
  if ((level == IPPROTO_TCP || level == IPPROTO_UDP) && level != protocol_) {
    return Errno::kENOPROTOOPT;
  }
  int value = 0;
  if (bytes.size() >= sizeof(value)) {
    memcpy(&value, bytes.data(), sizeof(value));
  } else if (level == IPPROTO_IP && !bytes.empty()) {
    value = static_cast<int>(bytes[0]);  // ip(7): a byte will do
  } else if (level != IPPROTO_IP || !bytes.empty()) {
    return Errno::kEINVAL;
  }
  switch (o->kind) {
    case Kind::kReadOnly:
      return Errno::kENOPROTOOPT;
    case Kind::kPrivilegedBoolean:
      if (value != 0 && !privileged) return Errno::kEPERM;
      [[fallthrough]];
    case Kind::kBoolean:
      value = value != 0 ? 1 : 0;
      break;
    case Kind::kNumber:
      if (level == IPPROTO_IP && name == IP_TTL && value == 0) return Errno::kEINVAL;
      if (level == IPPROTO_TCP && name == TCP_MAXSEG && value == 0) break;
      if (level == IPPROTO_IPV6 && name == kV6Mtu && value == 0) break;
      if (value < o->min || value > o->max) return Errno::kEINVAL;
      break;
  }
  value = Adjusted(*o, value);
  MutexLock lock(mutex_);
  set_[{level, name}] = value;
  return Ok();
}

Result<std::vector<std::byte>> InetOptions::Get(int level, int name, size_t room) const {
  const Option* o = Find(level, name);
  if (o == nullptr) return Errno::kENOPROTOOPT;
  if (level == IPPROTO_IPV6 && family_ != AF_INET6) return Errno::kENOPROTOOPT;
  if ((level == IPPROTO_TCP || level == IPPROTO_UDP) && level != protocol_) {
    return Errno::kENOPROTOOPT;
  }
  int number = value(level, name);
  ConstBytes bytes = AsBytes(number);
  // ip(7): who has room for a byte only gets a byte.
  if (level == IPPROTO_IP && room > 0 && room < sizeof(int) && number >= 0 && number <= 255) {
    bytes = bytes.first(1);
  }
  return std::vector<std::byte>(bytes.begin(), bytes.end());
}

int InetOptions::value(int level, int name) const {
  {
    MutexLock lock(mutex_);
    auto found = set_.find({level, name});
    if (found != set_.end()) return found->second;
  }
  const Option* o = Find(level, name);
  return o == nullptr ? 0 : o->initial;
}

void InetOptions::CopyFrom(const InetOptions& other) {
  std::map<std::pair<int, int>, int> copy;
  {
    MutexLock lock(other.mutex_);
    copy = other.set_;
  }
  MutexLock lock(mutex_);
  set_ = std::move(copy);
}

}  // namespace sandboxd::net
