#include "kernel/net/inet/udp_socket.h"

#include <linux/errqueue.h>
#include <linux/in6.h>
#include <linux/sockios.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <time.h>

#include <algorithm>
#include <array>

#include "kernel/net/inet/loopback_stack.h"
#include "kernel/vfs/caller.h"
#include "kernel/vfs/inode.h"

namespace sandboxd::net {
namespace {

constexpr size_t kMaxV4 = 65507, kMaxV6 = 65527;  // what fits an IP packet
constexpr int kLoopbackIndex = 1;
constexpr uint32_t kGetTime = SIOCGSTAMP_OLD, kGetTimeNs = SIOCGSTAMPNS_OLD;

struct InPktInfo {  // struct in_pktinfo
  int32_t index;
  uint8_t specific[4];
  uint8_t address[4];
};
struct In6PktInfo {  // struct in6_pktinfo
  uint8_t address[16];
  int32_t index;
};
static_assert(sizeof(InPktInfo) == 12 && sizeof(In6PktInfo) == 20);

template <typename T>
ControlMessage Message(int level, int type, const T& value) {
  ConstBytes bytes = AsBytes(value);
  return {level, type, {bytes.begin(), bytes.end()}};
}

Nanos RealtimeNow() {
  timespec now = {};
  clock_gettime(CLOCK_REALTIME, &now);
  return Nanos(now.tv_sec * 1'000'000'000 + now.tv_nsec);
}

}  // namespace

Ref<UdpSocket> UdpSocket::Create(vfs::Vfs& vfs, LoopbackStack& stack, int family, int flags) {
  return MakeRef<UdpSocket>(vfs.AnonymousPath("socket", S_IFSOCK | 0777), stack, family, flags);
}

UdpSocket::UdpSocket(vfs::Path path, LoopbackStack& stack, int family, int flags)
    : InetSocket(std::move(path), stack, family, IPPROTO_UDP, flags),
      endpoint_(MakeRef<UdpEndpoint>(stack.udp_ports())) {
  endpoint_->binding().v6 = family == AF_INET6;
  stack.AddUdp(*this);
}

UdpSocket::~UdpSocket() {
  stack().RemoveUdp(*this);
  for (uint32_t group : endpoint_->groups()) stack().LeaveGroup(group);
  endpoint_->Close();
}

PortTable& UdpSocket::ports() { return stack().udp_ports(); }

bool UdpSocket::keeps_errors() const {
  return options().on(IPPROTO_IP, IP_RECVERR) ||
         (family() == AF_INET6 && options().on(IPPROTO_IPV6, IPV6_RECVERR));
}

// --- names ---

Result<void> UdpSocket::Connect(vfs::Caller& c, const SocketAddress& address) {
  if (address.length < sizeof(sa_family_t)) return Errno::kEINVAL;
  if (address.family() == AF_UNSPEC) {
    endpoint_->Disconnect();
    return Ok();
  }
  InetAddress to = TRY(TargetOf(address));
  if (to.is_broadcast() && !option(SO_BROADCAST)) return Errno::kEACCES;
  TRY(CheckReach(to));
  if (local().port == 0) PrepareBinding(c);
  return endpoint_->Connect(SourceFor(to), to);
}

Result<SocketAddress> UdpSocket::PeerAddress() { return TRY(endpoint_->remote()).Encode(family()); }

// --- sending ---

Result<InetAddress> UdpSocket::TargetOf(const SocketAddress& address) const {
  const uint16_t given = address.family();
  // An AF_INET6 socket takes an IPv4 address too, an AF_INET one an address without a family.
  const bool as_v4 =
      (family() == AF_INET6 && given == AF_INET) || (family() == AF_INET && given == AF_UNSPEC);
  if (!as_v4) return Destination(address);
  SocketAddress inet = address;
  uint16_t af_inet = AF_INET;
  memcpy(inet.bytes.data(), &af_inet, sizeof(af_inet));
  InetAddress to = TRY(InetAddress::Decode(inet, AF_INET));
  return to.is_any() ? InetAddress::Loopback(AF_INET).WithPort(to.port) : to;
}

Result<InetAddress> UdpSocket::Target(const SendRequest& request) const {
  if (request.to == nullptr) {
    Result<InetAddress> connected = endpoint_->remote();
    return connected.ok() ? connected : Errno::kEDESTADDRREQ;
  }
  InetAddress to = TRY(TargetOf(*request.to));
  if (to.port == 0) return Errno::kEINVAL;
  return to;
}

Result<void> UdpSocket::ApplyControl(const SendRequest& request, Datagram& datagram) const {
  for (const ControlMessage& m : request.ancillary.messages) {
    auto number = [&]() -> Result<int> {
      int value;
      if (m.data.size() != sizeof(value)) return Errno::kEINVAL;
      memcpy(&value, m.data.data(), sizeof(value));
      return value;
    };
    if (m.level == IPPROTO_IP) {
      if (m.type == IP_TTL) {
        datagram.ttl = TRY(number());
        if (datagram.ttl < 1 || datagram.ttl > 255) return Errno::kEINVAL;
      } else if (m.type == IP_TOS) {
        if (m.data.size() != 1) TRY(number());
        datagram.traffic_class = static_cast<uint8_t>(m.data[0]);
      } else if (m.type == IP_PKTINFO) {
        if (m.data.size() != sizeof(InPktInfo)) return Errno::kEINVAL;
      } else {
        return Errno::kEINVAL;
      }
    } else if (m.level == IPPROTO_IPV6 && family() == AF_INET6) {
      if (m.type == IPV6_HOPLIMIT) {
        datagram.ttl = TRY(number());
        if (datagram.ttl < -1 || datagram.ttl > 255) return Errno::kEINVAL;
        if (datagram.ttl == -1) datagram.ttl = 64;
      } else if (m.type == IPV6_TCLASS) {
        datagram.traffic_class = TRY(number());
        if (datagram.traffic_class < -1 || datagram.traffic_class > 255) return Errno::kEINVAL;
        datagram.traffic_class = std::max(datagram.traffic_class, 0);
      } else if (m.type == IPV6_PKTINFO) {
        if (m.data.size() < sizeof(In6PktInfo)) return Errno::kEINVAL;
      } else {
        return Errno::kEINVAL;
      }
    }
  }
  return Ok();
}

Result<size_t> UdpSocket::Send(vfs::Caller& c, mm::IoSource& data, SendRequest& request) {
  const size_t size = data.remaining();
  if (size > 0xffff) return Errno::kEMSGSIZE;
  if ((request.flags & MSG_OOB) != 0) return Errno::kEOPNOTSUPP;
  Datagram datagram;
  datagram.to = TRY(Target(request));
  TRY(endpoint_->CheckSend());
  const bool v4 = datagram.to.is_v4();
  datagram.ttl =
      v4 ? options().value(IPPROTO_IP, IP_TTL) : options().value(IPPROTO_IPV6, IPV6_UNICAST_HOPS);
  datagram.traffic_class =
      v4 ? options().value(IPPROTO_IP, IP_TOS) : options().value(IPPROTO_IPV6, IPV6_TCLASS);
  TRY(ApplyControl(request, datagram));
  if (datagram.to.is_broadcast() && !option(SO_BROADCAST)) return Errno::kEACCES;
  TRY(CheckReach(datagram.to));
  if (size > (v4 ? kMaxV4 : kMaxV6)) return Errno::kEMSGSIZE;
  if (local().port == 0) {
    PrepareBinding(c);
    Result<void> bound = endpoint_->Bind(InetAddress::Any(family()));
    if (!bound.ok()) return Errno::kEAGAIN;
  }
  datagram.from = SourceFor(datagram.to);
  datagram.bytes.resize(size);
  if (size > 0) {
    size_t got = TRY(data.Get(std::as_writable_bytes(std::span(datagram.bytes))));
    if (got != size) return Errno::kEFAULT;
  }
  return Transmit(std::move(datagram));
}

Result<size_t> UdpSocket::Transmit(Datagram datagram) {
  const size_t size = datagram.bytes.size();
  datagram.time = RealtimeNow();
  if (datagram.to.is_multicast() || datagram.to.is_broadcast()) {
    TransmitToAll(datagram);
    return size;
  }
  auto target = StaticRefCast<UdpEndpoint>(ports().Find(datagram.from, datagram.to));
  if (target != nullptr) {
    target->Deliver(std::move(datagram));
    return size;
  }
  Result<InetAddress> peer = endpoint_->remote();
  const bool connected = peer.ok() && *peer == datagram.to;
  endpoint_->Refused({std::move(datagram.bytes), datagram.to}, connected, keeps_errors());
  return size;
}

// --- receiving ---

void UdpSocket::AddControl(const Datagram& datagram, Received& r) const {
  auto& messages = r.ancillary.messages;
  if (option(SO_TIMESTAMPNS)) {
    std::array<int64_t, 2> time = {datagram.time.count() / 1'000'000'000,
                                   datagram.time.count() % 1'000'000'000};
    messages.push_back(Message(SOL_SOCKET, SO_TIMESTAMPNS, time));
  } else if (option(SO_TIMESTAMP)) {
    std::array<int64_t, 2> time = {datagram.time.count() / 1'000'000'000,
                                   datagram.time.count() % 1'000'000'000 / 1000};
    messages.push_back(Message(SOL_SOCKET, SO_TIMESTAMP, time));
  }
  const InetOptions& o = options();
  if (datagram.to.is_v4()) {
    if (o.on(IPPROTO_IP, IP_PKTINFO)) {
      InPktInfo info = {kLoopbackIndex, {}, {}};
      memcpy(info.specific, datagram.to.ip.data() + 12, 4);
      memcpy(info.address, datagram.to.ip.data() + 12, 4);
      messages.push_back(Message(IPPROTO_IP, IP_PKTINFO, info));
    }
    if (o.on(IPPROTO_IP, IP_RECVTTL)) messages.push_back(Message(IPPROTO_IP, IP_TTL, datagram.ttl));
    if (o.on(IPPROTO_IP, IP_RECVTOS)) {
      messages.push_back(Message(IPPROTO_IP, IP_TOS, static_cast<uint8_t>(datagram.traffic_class)));
    }
    if (o.on(IPPROTO_IP, IP_RECVORIGDSTADDR)) {
      SocketAddress to = datagram.to.Encode(AF_INET);
      messages.push_back({IPPROTO_IP, IP_ORIGDSTADDR, {to.bytes.begin(), to.bytes.begin() + 16}});
    }
  }
  if (family() != AF_INET6) return;
  if (o.on(IPPROTO_IPV6, IPV6_RECVPKTINFO)) {
    In6PktInfo info = {{}, kLoopbackIndex};
    std::ranges::copy(datagram.to.ip, info.address);
    messages.push_back(Message(IPPROTO_IPV6, IPV6_PKTINFO, info));
  }
  if (datagram.to.is_v4()) return;
  if (o.on(IPPROTO_IPV6, IPV6_RECVHOPLIMIT)) {
    messages.push_back(Message(IPPROTO_IPV6, IPV6_HOPLIMIT, datagram.ttl));
  }
  if (o.on(IPPROTO_IPV6, IPV6_RECVTCLASS)) {
    messages.push_back(Message(IPPROTO_IPV6, IPV6_TCLASS, datagram.traffic_class));
  }
}

Result<Received> UdpSocket::Receive(vfs::Caller&, mm::IoSink& data, int flags) {
  if ((flags & MSG_OOB) != 0) return Errno::kEOPNOTSUPP;
  const bool peek = (flags & MSG_PEEK) != 0;
  Received r;
  const bool nowait = nonblocking() || (flags & MSG_DONTWAIT) != 0;
  Result<Datagram> first = endpoint_->Take(peek, nowait);
  if (first.Is(Errno::kENODATA)) return r;  // SHUT_RD
  Datagram datagram = TRY(std::move(first));
  const size_t n = std::min(datagram.bytes.size(), data.remaining());
  if (n > 0) {
    Result<size_t> stored = data.Put(std::as_bytes(std::span(datagram.bytes)).first(n));
    if (!stored.ok() || *stored < n) {
      if (!peek) endpoint_->PutBack(std::move(datagram));
      return Errno::kEFAULT;
    }
  }
  r.length = n;
  r.full_length = datagram.bytes.size();
  if (n < r.full_length) r.flags |= MSG_TRUNC;
  r.from = datagram.from.Encode(family());
  if (!option(SO_TIMESTAMP) && !option(SO_TIMESTAMPNS)) {
    last_time_.store(datagram.time.count(), std::memory_order_relaxed);
  }
  AddControl(datagram, r);
  return r;
}

// ip(7), IP_RECVERR.
Result<Received> UdpSocket::ReceiveError(vfs::Caller&, mm::IoSink& data) {
  DatagramError error = TRY(endpoint_->TakeQueuedError());
  Received r;
  r.length = std::min(error.bytes.size(), data.remaining());
  if (r.length > 0) TRY(data.Put(std::as_bytes(std::span(error.bytes)).first(r.length)));
  r.full_length = error.bytes.size();
  r.flags = MSG_ERRQUEUE | (r.length < r.full_length ? MSG_TRUNC : 0);
  r.from = error.to.Encode(family());
  const bool v4 = error.to.is_v4();
  sock_extended_err info = {};
  info.ee_errno = ECONNREFUSED;
  info.ee_origin = v4 ? SO_EE_ORIGIN_ICMP : SO_EE_ORIGIN_ICMP6;
  info.ee_type = v4 ? ICMP_DEST_UNREACH : ICMP6_DST_UNREACH;
  info.ee_code = v4 ? ICMP_PORT_UNREACH : ICMP6_DST_UNREACH_NOPORT;
  SocketAddress offender = error.to.WithPort(0).Encode(v4 ? AF_INET : AF_INET6);
  ControlMessage message =
      Message(v4 ? IPPROTO_IP : IPPROTO_IPV6, v4 ? IP_RECVERR : IPV6_RECVERR, info);
  message.data.insert(message.data.end(), offender.bytes.begin(),
                      offender.bytes.begin() + static_cast<ptrdiff_t>(offender.length));
  r.ancillary.messages.push_back(std::move(message));
  return r;
}

// --- options and readiness ---

Result<void> UdpSocket::SetOption(vfs::Caller& c, int level, int name, ConstBytes value) {
  if (level == IPPROTO_IP && (name == IP_ADD_MEMBERSHIP || name == IP_DROP_MEMBERSHIP)) {
    return SetGroup(name, value);
  }
  if (level == IPPROTO_IP && name == IP_MULTICAST_IF) return SetGroupInterface(value);
  TRY(InetSocket::SetOption(c, level, name, value));
  if (level == IPPROTO_IP) {
    endpoint_->set_hears_all_groups(options().on(level, 49));  // IP_MULTICAST_ALL
  }
  if (level == SOL_SOCKET && (name == SO_RCVBUF || name == SO_RCVBUFFORCE)) {
    endpoint_->set_limit(receive_buffer());
  }
  return Ok();
}

// socket(7), SIOCGSTAMP.
Result<uint64_t> UdpSocket::TellTime(vfs::Caller& c, uint32_t command, uint64_t argument) {
  const int64_t time = last_time_.load(std::memory_order_relaxed);
  if (time < 0) return Errno::kENOENT;
  const int64_t unit = command == kGetTime ? 1000 : 1;
  std::array<int64_t, 2> value = {time / 1'000'000'000, time % 1'000'000'000 / unit};
  TRY(c.memory().Write(UserAddr(argument), value));
  return uint64_t{0};
}

Result<uint64_t> UdpSocket::Ioctl(vfs::Caller& c, uint32_t command, uint64_t argument) {
  if (command == kGetTime || command == kGetTimeNs) return TellTime(c, command, argument);
  return InetSocket::Ioctl(c, command, argument);
}

void UdpSocket::AddRow(std::vector<SocketRow>& rows) const {
  SocketRow row;
  row.local = local();
  if (row.local.port == 0) return;
  Result<InetAddress> to = remote();
  row.remote = to.ok() ? *to : InetAddress::Any(family());
  row.state = static_cast<uint8_t>(to.ok() ? TCP_ESTABLISHED : TCP_CLOSE);
  row.receive_queue = static_cast<uint32_t>(endpoint_->queued_bytes());
  row.inode = inode()->ino();
  rows.push_back(row);
}

wait::EventMask UdpSocket::Poll(wait::EventMask interest) {
  return endpoint_->Poll() & (interest | EPOLLERR | EPOLLHUP);
}

void UdpSocket::AddWaiter(wait::WaitEntry& entry, wait::EventMask mask, bool exclusive) {
  endpoint_->queue().Add(entry, mask, exclusive);
}

}  // namespace sandboxd::net
