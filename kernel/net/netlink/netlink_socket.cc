#include "kernel/net/netlink/netlink_socket.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <linux/netlink.h>
#include <sys/epoll.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstring>

#include "kernel/net/netlink/netlink_message.h"
#include "kernel/net/netlink/route_requests.h"
#include "kernel/vfs/caller.h"

namespace sandboxd::net {
namespace {

constexpr size_t kDatagram = 3776;  // NLMSG_GOODSIZE: what any reader has room for
constexpr size_t kMaxRequest = 128 << 10;
constexpr uint32_t kFirstMadeUpPort = 0xffffefff;  // Linux counts down from here
constexpr int kSolNetlink = 270;
constexpr int kFirstBoolean = NETLINK_PKTINFO, kLastBoolean = NETLINK_GET_STRICT_CHK;

SocketAddress AddressOf(uint32_t port, uint32_t groups) {
  sockaddr_nl nl = {};
  nl.nl_family = AF_NETLINK;
  nl.nl_pid = port;
  nl.nl_groups = groups;
  SocketAddress a;
  memcpy(a.bytes.data(), &nl, sizeof(nl));
  a.length = sizeof(nl);
  return a;
}

Result<sockaddr_nl> Decode(const SocketAddress& address) {
  sockaddr_nl nl;
  if (address.length < sizeof(nl)) return Errno::kEINVAL;
  memcpy(&nl, address.bytes.data(), sizeof(nl));
  if (nl.nl_family != AF_NETLINK) return Errno::kEINVAL;
  return nl;
}

}  // namespace

bool NetlinkPorts::Claim(int protocol, uint32_t port) {
  MutexLock lock(mutex_);
  return used_.insert({protocol, port}).second;
}

void NetlinkPorts::Release(int protocol, uint32_t port) {
  MutexLock lock(mutex_);
  used_.erase({protocol, port});
}

Result<Ref<Socket>> NetlinkSocket::Create(vfs::Vfs& vfs, Ref<NetworkStack> stack,
                                          Ref<NetlinkPorts> ports, int type, int protocol,
                                          int flags) {
  if (type != SOCK_RAW && type != SOCK_DGRAM) return Errno::kESOCKTNOSUPPORT;
  if (protocol != NETLINK_ROUTE && protocol != NETLINK_KOBJECT_UEVENT) {
    return Errno::kEPROTONOSUPPORT;
  }
  return Ref<Socket>(MakeRef<NetlinkSocket>(vfs.AnonymousPath("socket", S_IFSOCK | 0777),
                                            std::move(stack), std::move(ports), type, protocol,
                                            flags));
}

NetlinkSocket::NetlinkSocket(vfs::Path path, Ref<NetworkStack> stack, Ref<NetlinkPorts> ports,
                             int type, int protocol, int flags)
    : Socket(std::move(path), O_RDWR | flags),
      stack_(std::move(stack)),
      ports_(std::move(ports)),
      type_(type),
      protocol_(protocol) {}

NetlinkSocket::~NetlinkSocket() {
  if (port() != 0) ports_->Release(protocol_, port());
}

uint32_t NetlinkSocket::port() const {
  MutexLock lock(mutex_);
  return port_;
}

// --- names ---

Result<void> NetlinkSocket::BindPort(uint32_t wanted) {
  if (!ports_->Claim(protocol_, wanted)) return Errno::kEADDRINUSE;
  {
    MutexLock lock(mutex_);
    if (port_ == 0) {
      port_ = wanted;
      return Ok();
    }
  }
  ports_->Release(protocol_, wanted);  // another thread was faster
  return Errno::kEINVAL;
}

// netlink(7): the first socket of a process gets its process id.
Result<void> NetlinkSocket::AutoBind(vfs::Caller& c) {
  if (port() != 0) return Ok();
  auto wanted = static_cast<uint32_t>(c.process_id());
  for (uint32_t made_up = kFirstMadeUpPort; BindPort(wanted).Is(Errno::kEADDRINUSE); made_up--) {
    wanted = made_up;
  }
  return Ok();
}

Result<void> NetlinkSocket::Bind(vfs::Caller& c, const SocketAddress& address) {
  const sockaddr_nl nl = TRY(Decode(address));
  const uint32_t bound = port();
  if (bound != 0 && nl.nl_pid != 0 && nl.nl_pid != bound) return Errno::kEINVAL;
  if (nl.nl_groups != 0 && protocol_ != NETLINK_ROUTE && protocol_ != NETLINK_KOBJECT_UEVENT &&
      !c.credentials()->CapableInit(CAP_NET_ADMIN)) {
    return Errno::kEPERM;
  }
  if (bound == 0) TRY(nl.nl_pid == 0 ? AutoBind(c) : BindPort(nl.nl_pid));
  MutexLock lock(mutex_);
  groups_ = nl.nl_groups;
  return Ok();
}

Result<void> NetlinkSocket::Connect(vfs::Caller& c, const SocketAddress& address) {
  if (address.length < sizeof(sa_family_t)) return Errno::kEINVAL;
  sockaddr_nl nl = {};
  if (address.family() != AF_UNSPEC) {
    nl = TRY(Decode(address));
    if ((nl.nl_groups != 0 || nl.nl_pid != 0) && !c.credentials()->CapableInit(CAP_NET_ADMIN)) {
      return Errno::kEPERM;
    }
    TRY(AutoBind(c));
  }
  MutexLock lock(mutex_);
  peer_port_ = nl.nl_pid;
  peer_groups_ = nl.nl_groups;
  return Ok();
}

Result<SocketAddress> NetlinkSocket::LocalAddress() {
  MutexLock lock(mutex_);
  return AddressOf(port_, groups_);
}

Result<SocketAddress> NetlinkSocket::PeerAddress() {
  MutexLock lock(mutex_);
  return AddressOf(peer_port_, peer_groups_);
}

// --- requests ---

Result<size_t> NetlinkSocket::Send(vfs::Caller& c, mm::IoSource& data, SendRequest& request) {
  if ((request.flags & MSG_OOB) != 0) return Errno::kEOPNOTSUPP;
  uint32_t to;
  {
    MutexLock lock(mutex_);
    to = peer_port_;
  }
  if (request.to != nullptr) {
    const sockaddr_nl nl = TRY(Decode(*request.to));
    if ((nl.nl_groups != 0 || nl.nl_pid != 0) && !c.credentials()->CapableInit(CAP_NET_ADMIN)) {
      return Errno::kEPERM;
    }
    to = nl.nl_pid;
  }
  TRY(AutoBind(c));
  const size_t size = data.remaining();
  if (size > std::min<size_t>(kMaxRequest, send_buffer() - 32)) return Errno::kEMSGSIZE;
  Datagram bytes(size);
  if (size > 0 && TRY(data.Get(bytes)) != size) return Errno::kEFAULT;
  if (to != 0) return Errno::kECONNREFUSED;  // only the kernel is there to be talked to
  ConstBytes rest(bytes);
  while (rest.size() >= sizeof(nlmsghdr)) {
    nlmsghdr header;
    memcpy(&header, rest.data(), sizeof(header));
    if (header.nlmsg_len < sizeof(header) || header.nlmsg_len > rest.size()) break;
    Answer(c, rest.first(header.nlmsg_len));
    rest = rest.subspan(std::min<size_t>(NLMSG_ALIGN(header.nlmsg_len), rest.size()));
  }
  return size;
}

NetlinkSocket::Datagram NetlinkSocket::Acknowledgement(ConstBytes request, int error) {
  nlmsghdr header;
  memcpy(&header, request.data(), sizeof(header));
  uint16_t flags = 0;
  bool whole;
  {
    MutexLock lock(mutex_);
    whole = error != 0 && ((options_ >> NETLINK_CAP_ACK) & 1) == 0;
  }
  if (!whole) flags |= NLM_F_CAPPED;
  // struct nlmsgerr: the error, then the request or its header alone.
  NetlinkMessage m(NLMSG_ERROR, flags, header, port(), int32_t{-error});
  m.Raw(whole ? request : request.first(sizeof(header)));
  return m.Finish();
}

void NetlinkSocket::Answer(vfs::Caller& c, ConstBytes message) {
  nlmsghdr header;
  memcpy(&header, message.data(), sizeof(header));
  const bool dump = (header.nlmsg_flags & NLM_F_DUMP) != 0;
  Result<NetlinkReplies> replies = NetlinkReplies();
  const bool request =
      (header.nlmsg_flags & NLM_F_REQUEST) != 0 && header.nlmsg_type >= NLMSG_MIN_TYPE;
  if (request && protocol_ == NETLINK_ROUTE) {
    replies = AnswerRouteRequest(*stack_, c, header, message.subspan(sizeof(header)), port());
  } else if (request) {
    replies = Errno::kECONNREFUSED;
  }
  if (!replies.ok()) {
    Queue({Acknowledgement(message, static_cast<int>(replies.error()))});
    return;
  }
  Queue(std::move(*replies));
  if (request && dump) {
    Queue({NetlinkMessage(NLMSG_DONE, NLM_F_MULTI, header, port(), int32_t{0}).Finish()});
  } else if ((header.nlmsg_flags & NLM_F_ACK) != 0) {
    Queue({Acknowledgement(message, 0)});
  }
}

void NetlinkSocket::Queue(std::vector<Datagram> messages) {
  {
    MutexLock lock(mutex_);
    Datagram datagram;
    for (Datagram& m : messages) {
      if (!datagram.empty() && datagram.size() + m.size() > kDatagram) {
        queue_.push_back(std::exchange(datagram, {}));
      }
      datagram.insert(datagram.end(), m.begin(), m.end());
    }
    if (!datagram.empty()) queue_.push_back(std::move(datagram));
  }
  waiters_.Notify(EPOLLIN | EPOLLRDNORM);
}

Result<Received> NetlinkSocket::Receive(vfs::Caller&, mm::IoSink& data, int flags) {
  if ((flags & MSG_OOB) != 0) return Errno::kEOPNOTSUPP;
  const bool peek = (flags & MSG_PEEK) != 0;
  Datagram datagram;
  {
    MutexLock lock(mutex_);
    if (queue_.empty()) return Errno::kEAGAIN;
    datagram = peek ? queue_.front() : std::move(queue_.front());
    if (!peek) queue_.pop_front();
  }
  Received r;
  r.length = std::min(datagram.size(), data.remaining());
  r.full_length = datagram.size();
  if (r.length > 0 && TRY(data.Put(ConstBytes(datagram).first(r.length))) < r.length) {
    return Errno::kEFAULT;
  }
  if (r.length < r.full_length) r.flags |= MSG_TRUNC;
  r.from = AddressOf(0, 0);  // the kernel
  r.ancillary.credentials = PeerCredentials{0, creds::kRootUid, creds::kRootGid};
  return r;
}

// --- options and readiness ---

Result<std::vector<std::byte>> NetlinkSocket::GetOption(vfs::Caller& c, int level, int name,
                                                        size_t room) {
  if (level != kSolNetlink) return Socket::GetOption(c, level, name, room);
  int32_t value;
  {
    MutexLock lock(mutex_);
    if (name == NETLINK_LIST_MEMBERSHIPS) {
      const uint64_t memberships = groups_;  // NETLINK_ROUTE has more than 32 groups
      ConstBytes bytes = AsBytes(memberships);
      return Datagram(bytes.begin(), bytes.end());
    }
    if (name < kFirstBoolean || name > kLastBoolean) return Errno::kENOPROTOOPT;
    value = static_cast<int32_t>((options_ >> name) & 1);
  }
  if (room < sizeof(value)) return Errno::kEINVAL;
  ConstBytes bytes = AsBytes(value);
  return Datagram(bytes.begin(), bytes.end());
}

Result<void> NetlinkSocket::SetOption(vfs::Caller& c, int level, int name, ConstBytes bytes) {
  if (level != kSolNetlink) return Socket::SetOption(c, level, name, bytes);
  uint32_t value = 0;
  if (bytes.size() >= sizeof(value)) memcpy(&value, bytes.data(), sizeof(value));
  MutexLock lock(mutex_);
  if (name == NETLINK_ADD_MEMBERSHIP || name == NETLINK_DROP_MEMBERSHIP) {
    if (value < 1 || value > 32) return Errno::kEINVAL;
    const uint32_t bit = uint32_t{1} << (value - 1);
    groups_ = name == NETLINK_ADD_MEMBERSHIP ? groups_ | bit : groups_ & ~bit;
    return Ok();
  }
  if (name < kFirstBoolean || name > kLastBoolean || name == NETLINK_LIST_MEMBERSHIPS) {
    return Errno::kENOPROTOOPT;
  }
  const uint32_t bit = uint32_t{1} << name;
  options_ = value != 0 ? options_ | bit : options_ & ~bit;
  return Ok();
}

wait::EventMask NetlinkSocket::Poll(wait::EventMask interest) {
  MutexLock lock(mutex_);
  wait::EventMask ready = EPOLLOUT | EPOLLWRNORM;
  if (!queue_.empty()) ready |= EPOLLIN | EPOLLRDNORM;
  return ready & (interest | EPOLLERR | EPOLLHUP);
}

void NetlinkSocket::AddWaiter(wait::WaitEntry& entry, wait::EventMask mask, bool exclusive) {
  waiters_.Add(entry, mask, exclusive);
}

}  // namespace sandboxd::net
