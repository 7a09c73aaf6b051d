// socket(2) and its relatives.
#include <fcntl.h>
#include <linux/netlink.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>

#include "kernel/net/network.h"
#include "kernel/syscalls/blocking_io.h"
#include "kernel/syscalls/deadlines.h"
#include "kernel/syscalls/families.h"
#include "kernel/syscalls/socket_message.h"

namespace sandboxd::syscalls {
namespace {

using net::Socket;
using net::SocketAddress;

constexpr int kTypeFlags = SOCK_CLOEXEC | SOCK_NONBLOCK;
constexpr uint64_t kMaxOption = 4096;  // bytes of an option that are looked at
constexpr uint32_t kMaxMessages = 1024;

// EBADF, ENOTSOCK.
Result<Ref<Socket>> GetSocket(Task& t, FdNum fd) {
  Ref<vfs::File> file = TRY(t.files().GetForIo(fd));
  Socket* socket = vfs::FileAs<Socket>(*file);
  if (socket == nullptr) return Errno::kENOTSOCK;
  return Ref<Socket>(socket);
}

// socket(7): a call with SO_RCVTIMEO or SO_SNDTIMEO is not restarted after a handler.
Errno Interrupted(Errno e, Nanos timeout) {
  return e == Errno::kERESTARTSYS && timeout != Nanos(0) ? Errno::kEINTR : e;
}

Result<uint64_t> SysSocket(Task& t, int32_t family, int32_t type, int32_t protocol) {
  if ((type & ~0xf & ~kTypeFlags) != 0) return Errno::kEINVAL;
  Ref<Socket> socket =
      TRY(t.net_ns()->network().Create(t, family, type & 0xf, protocol, type & SOCK_NONBLOCK));
  socket->set_network_namespace(t.net_ns());
  FdNum fd = TRY(t.files().Install(std::move(socket), (type & SOCK_CLOEXEC) != 0, t.fd_limit()));
  return static_cast<uint64_t>(fd.value);
}

Result<void> SysSocketpair(Task& t, int32_t family, int32_t type, int32_t protocol, UserAddr out) {
  if ((type & ~0xf & ~kTypeFlags) != 0) return Errno::kEINVAL;
  auto [a, b] =
      TRY(t.net_ns()->network().CreatePair(t, family, type & 0xf, protocol, type & SOCK_NONBLOCK));
  a->set_network_namespace(t.net_ns());
  b->set_network_namespace(t.net_ns());
  std::vector<FdNum> fds = TRY(t.files().InstallMany({std::move(a), std::move(b)},
                                                     (type & SOCK_CLOEXEC) != 0, t.fd_limit()));
  Result<void> written = t.memory().Write(out, std::array<int32_t, 2>{fds[0].value, fds[1].value});
  if (!written.ok()) {
    for (FdNum fd : fds) TRY(t.files().Close(t, fd));
  }
  return written;
}

Result<void> SysBind(Task& t, FdNum fd, UserAddr addr, int32_t length) {
  Ref<Socket> socket = TRY(GetSocket(t, fd));
  return socket->Bind(t, TRY(ReadAddress(t, addr, length)));
}

Result<void> SysListen(Task& t, FdNum fd, int32_t backlog) {
  return TRY(GetSocket(t, fd))->Listen(t, backlog);
}

Result<uint64_t> SysAccept4(Task& t, FdNum fd, UserAddr addr, UserAddr length, int32_t flags) {
  if ((flags & ~kTypeFlags) != 0) return Errno::kEINVAL;
  Ref<Socket> socket = TRY(GetSocket(t, fd));
  Nanos timeout = socket->receive_timeout();
  auto accepted = Blocking(t, *socket, EPOLLIN, socket->nonblocking(), TimeoutDeadline(timeout),
                           [&] { return socket->Accept(t, flags & SOCK_NONBLOCK); });
  if (!accepted.ok()) return Interrupted(accepted.error(), timeout);
  (*accepted)->set_network_namespace(socket->network_namespace());
  if (!addr.null()) {
    auto peer = (*accepted)->PeerAddress();
    if (!peer.ok()) return Errno::kECONNABORTED;
    TRY(WriteAddress(t, *peer, addr, length));
  }
  FdNum installed =
      TRY(t.files().Install(std::move(*accepted), (flags & SOCK_CLOEXEC) != 0, t.fd_limit()));
  return static_cast<uint64_t>(installed.value);
}

Result<uint64_t> SysAccept(Task& t, FdNum fd, UserAddr addr, UserAddr length) {
  return SysAccept4(t, fd, addr, length, 0);
}

Result<void> SysConnect(Task& t, FdNum fd, UserAddr addr, int32_t length) {
  Ref<Socket> socket = TRY(GetSocket(t, fd));
  SocketAddress address = TRY(ReadAddress(t, addr, length));
  Nanos timeout = socket->send_timeout();
  Result<void> r = Blocking(t, *socket, EPOLLOUT, socket->nonblocking(), TimeoutDeadline(timeout),
                            [&] { return socket->Connect(t, address); });
  // connect(2): a network connection that takes longer than SO_SNDTIMEO goes on.
  if (r.Is(Errno::kEAGAIN) && socket->family() != AF_UNIX) return Errno::kEINPROGRESS;
  if (!r.ok()) return Interrupted(r.error(), timeout);
  return Ok();
}

Result<void> SysShutdown(Task& t, FdNum fd, int32_t how) {
  return TRY(GetSocket(t, fd))->Shutdown(how);
}

Result<void> SysGetsockname(Task& t, FdNum fd, UserAddr addr, UserAddr length) {
  SocketAddress address = TRY(TRY(GetSocket(t, fd))->LocalAddress());
  if (addr.null()) return Errno::kEFAULT;
  return WriteAddress(t, address, addr, length);
}

Result<void> SysGetpeername(Task& t, FdNum fd, UserAddr addr, UserAddr length) {
  SocketAddress address = TRY(TRY(GetSocket(t, fd))->PeerAddress());
  if (addr.null()) return Errno::kEFAULT;
  return WriteAddress(t, address, addr, length);
}

// --- options ---

Result<void> SysGetsockopt(Task& t, FdNum fd, int32_t level, int32_t name, UserAddr value,
                           UserAddr length) {
  Ref<Socket> socket = TRY(GetSocket(t, fd));
  int32_t room = TRY(t.memory().Read<int32_t>(length));
  if (room < 0) return Errno::kEINVAL;
  std::vector<std::byte> bytes;
  if (level == SOL_SOCKET && name == SO_PEERCRED) {
    const net::PeerCredentials peer = TRY(socket->peer_credentials());
    UserCredentials user = ToUser(t, peer);
    // Nobody at the other end has no ids, rather than those of nobody.
    if (peer == net::PeerCredentials()) user = {0, UINT32_MAX, UINT32_MAX};
    ConstBytes view = AsBytes(user);
    bytes.assign(view.begin(), view.end());
  } else {
    bytes = TRY(socket->GetOption(t, level, name, static_cast<size_t>(room)));
  }
  const size_t full = bytes.size();
  bytes.resize(std::min(full, static_cast<size_t>(room)));
  TRY(t.memory().CopyOut(value, bytes));
  // netlink(7): the memberships' full length is told, so that one can ask for it.
  const bool full_length = level == SOL_NETLINK && name == NETLINK_LIST_MEMBERSHIPS;
  return t.memory().Write(length, static_cast<int32_t>(full_length ? full : bytes.size()));
}

Result<void> SysSetsockopt(Task& t, FdNum fd, int32_t level, int32_t name, UserAddr value,
                           int32_t length) {
  Ref<Socket> socket = TRY(GetSocket(t, fd));
  if (length < 0) return Errno::kEINVAL;
  std::vector<std::byte> bytes(std::min<uint64_t>(static_cast<uint64_t>(length), kMaxOption));
  TRY(t.memory().CopyIn(value, bytes));
  return socket->SetOption(t, level, name, bytes);
}

// --- sending ---

Result<uint64_t> Send(Task& t, Socket& socket, mm::IoSource& source, net::SendRequest& request) {
  const bool nonblocking = socket.nonblocking() || (request.flags & MSG_DONTWAIT) != 0;
  const Nanos timeout = socket.send_timeout();
  const wait::Deadline deadline = TimeoutDeadline(timeout);
  uint64_t total = 0;
  for (;;) {
    Result<size_t> n = Blocking(t, socket, EPOLLOUT, nonblocking, deadline,
                                [&] { return socket.Send(t, source, request); });
    if (!n.ok()) {
      // send(2): "MSG_NOSIGNAL: don't generate a SIGPIPE signal if the peer on a stream-oriented
      // socket has closed the connection".
      if (n.Is(Errno::kEPIPE) && socket.is_stream() && (request.flags & MSG_NOSIGNAL) == 0) {
        t.SendSignalToSelf(SIGPIPE);
      }
      if (total > 0) return total;
      return Interrupted(n.error(), timeout);
    }
    total += *n;
    if (!socket.is_stream() || source.remaining() == 0 || *n == 0) return total;
  }
}

Result<uint64_t> SysSendto(Task& t, FdNum fd, UserAddr buffer, uint64_t size, int32_t flags,
                           UserAddr addr, int32_t length) {
  Ref<Socket> socket = TRY(GetSocket(t, fd));
  net::SendRequest request;
  request.flags = flags;
  SocketAddress to;
  if (!addr.null()) {
    to = TRY(ReadAddress(t, addr, length));
    request.to = &to;
  }
  mm::UserSource source(t.memory(), buffer, std::min<uint64_t>(size, mm::kMaxRwCount));
  return Send(t, *socket, source, request);
}

Result<UserMsghdr> ReadHeader(Task& t, UserAddr message) {
  auto header = TRY(t.memory().Read<UserMsghdr>(message));
  if (header.name_length < 0) return Errno::kEINVAL;
  header.name_length = std::min<int32_t>(header.name_length, sizeof(sockaddr_storage));
  if (header.name == 0) header.name_length = 0;
  if (header.iov_count > mm::kIovMax) return Errno::kEMSGSIZE;
  return header;
}

Result<uint64_t> SendMessage(Task& t, Socket& socket, const UserMsghdr& header, int flags) {
  net::SendRequest request;
  request.flags = flags;
  SocketAddress to;
  if (header.name_length > 0) {
    to = TRY(ReadAddress(t, UserAddr(header.name), header.name_length));
    request.to = &to;
  }
  std::vector<mm::IoVec> iov = TRY(t.memory().ReadIoVec(UserAddr(header.iov), header.iov_count));
  request.ancillary = TRY(ReadControl(t, UserAddr(header.control), header.control_length));
  mm::UserSource source(t.memory(), std::move(iov));
  return Send(t, socket, source, request);
}

Result<uint64_t> SysSendmsg(Task& t, FdNum fd, UserAddr message, int32_t flags) {
  Ref<Socket> socket = TRY(GetSocket(t, fd));
  return SendMessage(t, *socket, TRY(ReadHeader(t, message)), flags);
}

Result<uint64_t> SysSendmmsg(Task& t, FdNum fd, UserAddr list, uint32_t count, int32_t flags) {
  Ref<Socket> socket = TRY(GetSocket(t, fd));
  count = std::min(count, kMaxMessages);
  for (uint32_t i = 0; i < count; i++) {
    UserAddr at = list + i * sizeof(UserMmsghdr);
    auto send = [&]() -> Result<void> {
      uint64_t n = TRY(SendMessage(t, *socket, TRY(ReadHeader(t, at)), flags));
      return t.memory().Write(at + offsetof(UserMmsghdr, length), static_cast<uint32_t>(n));
    };
    Result<void> r = send();
    // sendmmsg(2): an error after the first message is not reported.
    if (!r.ok()) return i > 0 ? Result<uint64_t>(i) : r.error();
  }
  return uint64_t{count};
}

// --- receiving ---

Result<net::Received> Receive(Task& t, Socket& socket, mm::IoSink& sink, int flags) {
  const bool nonblocking = socket.nonblocking() || (flags & MSG_DONTWAIT) != 0;
  const Nanos timeout = socket.receive_timeout();
  const wait::Deadline deadline = TimeoutDeadline(timeout);
  // recv(2): MSG_ERRQUEUE never waits.
  if ((flags & MSG_ERRQUEUE) != 0) return socket.ReceiveError(t, sink);
  auto receive = [&] {
    return Blocking(t, socket, EPOLLIN | EPOLLRDHUP, nonblocking, deadline,
                    [&] { return socket.Receive(t, sink, flags); });
  };
  Result<net::Received> first = receive();
  if (!first.ok()) return Interrupted(first.error(), timeout);
  if ((flags & MSG_WAITALL) == 0 || (flags & MSG_PEEK) != 0 || !socket.is_stream()) return first;
  while (sink.remaining() > 0 && first->length > 0 && first->ancillary.files.empty()) {
    Result<net::Received> more = receive();
    if (!more.ok() || more->length == 0) break;
    first->length += more->length;
    first->ancillary.files = std::move(more->ancillary.files);
  }
  return first;
}

uint64_t ReportedLength(const Socket& socket, const net::Received& r, int flags) {
  // recv(2): "MSG_TRUNC: return the real length of the packet".
  return (flags & MSG_TRUNC) != 0 && !socket.is_stream() ? r.full_length : r.length;
}

Result<uint64_t> SysRecvfrom(Task& t, FdNum fd, UserAddr buffer, uint64_t size, int32_t flags,
                             UserAddr addr, UserAddr length) {
  Ref<Socket> socket = TRY(GetSocket(t, fd));
  mm::UserSink sink(t.memory(), buffer, std::min<uint64_t>(size, mm::kMaxRwCount));
  net::Received r = TRY(Receive(t, *socket, sink, flags));
  TRY(WriteAddress(t, r.from, addr, length));
  return ReportedLength(*socket, r, flags);
}

Result<uint64_t> ReceiveMessage(Task& t, Socket& socket, UserAddr message, int flags) {
  UserMsghdr header = TRY(ReadHeader(t, message));
  std::vector<mm::IoVec> iov = TRY(t.memory().ReadIoVec(UserAddr(header.iov), header.iov_count));
  mm::UserSink sink(t.memory(), std::move(iov));
  net::Received r = TRY(Receive(t, socket, sink, flags));
  int out_flags = r.flags | (flags & MSG_CMSG_CLOEXEC);
  auto cloexec = (flags & MSG_CMSG_CLOEXEC) != 0 ? CloseOnExec::kYes : CloseOnExec::kNo;
  uint64_t control = WriteControl(t, socket, std::move(r.ancillary), UserAddr(header.control),
                                  header.control_length, cloexec, &out_flags);
  if (header.name != 0) {
    size_t n = std::min(static_cast<size_t>(header.name_length), r.from.length);
    TRY(t.memory().CopyOut(UserAddr(header.name), ConstBytes(r.from.bytes).first(n)));
    TRY(t.memory().Write(message + offsetof(UserMsghdr, name_length),
                         static_cast<int32_t>(r.from.length)));
  }
  TRY(t.memory().Write(message + offsetof(UserMsghdr, flags), static_cast<uint32_t>(out_flags)));
  TRY(t.memory().Write(message + offsetof(UserMsghdr, control_length), control));
  return ReportedLength(socket, r, flags);
}

Result<uint64_t> SysRecvmsg(Task& t, FdNum fd, UserAddr message, int32_t flags) {
  Ref<Socket> socket = TRY(GetSocket(t, fd));
  return ReceiveMessage(t, *socket, message, flags);
}

Result<uint64_t> SysRecvmmsg(Task& t, FdNum fd, UserAddr list, uint32_t count, int32_t flags,
                             UserAddr timeout) {
  wait::Deadline deadline = TRY(ReadRelativeTimeout(t, timeout));
  Ref<Socket> socket = TRY(GetSocket(t, fd));
  count = std::min(count, kMaxMessages);
  uint32_t done = 0;
  while (done < count) {
    UserAddr at = list + done * sizeof(UserMmsghdr);
    auto receive = [&]() -> Result<void> {
      uint64_t n = TRY(ReceiveMessage(t, *socket, at, flags & ~MSG_WAITFORONE));
      return t.memory().Write(at + offsetof(UserMmsghdr, length), static_cast<uint32_t>(n));
    };
    Result<void> r = receive();
    if (!r.ok()) {
      if (done == 0) return r.error();
      break;
    }
    done++;
    if ((flags & MSG_WAITFORONE) != 0) flags |= MSG_DONTWAIT;
    // recvmmsg(2), BUGS: "the timeout is checked only after the receipt of each datagram".
    if (deadline.has_value() && TimeLeft(*deadline) == Nanos(0)) break;
  }
  if (deadline.has_value()) {
    TRY(t.memory().Write(timeout, time::Timespec::From(TimeLeft(*deadline))));
  }
  return uint64_t{done};
}

constexpr Row kRows[] = {
    Partial<SysSocket>(SYS_socket, "socket",
                       "AF_UNIX, AF_INET and AF_INET6 (TCP and UDP), AF_NETLINK "
                       "(NETLINK_ROUTE); other families give EAFNOSUPPORT"),
    Full<SysSocketpair>(SYS_socketpair, "socketpair"),
    Full<SysBind>(SYS_bind, "bind"),
    Full<SysListen>(SYS_listen, "listen"),
    Full<SysAccept>(SYS_accept, "accept"),
    Full<SysAccept4>(SYS_accept4, "accept4"),
    Full<SysConnect>(SYS_connect, "connect"),
    Full<SysShutdown>(SYS_shutdown, "shutdown"),
    Full<SysGetsockname>(SYS_getsockname, "getsockname"),
    Full<SysGetpeername>(SYS_getpeername, "getpeername"),
    Partial<SysGetsockopt>(SYS_getsockopt, "getsockopt",
                           "no SO_PEERGROUPS, SO_PEERSEC, SO_PEEK_OFF, filters"),
    Partial<SysSetsockopt>(SYS_setsockopt, "setsockopt", "no SO_PEEK_OFF, filters"),
    Partial<SysSendto>(SYS_sendto, "sendto", "MSG_OOB gives EOPNOTSUPP"),
    Partial<SysRecvfrom>(SYS_recvfrom, "recvfrom", "MSG_OOB gives EOPNOTSUPP"),
    Full<SysSendmsg>(SYS_sendmsg, "sendmsg"),
    Full<SysRecvmsg>(SYS_recvmsg, "recvmsg"),
    Full<SysSendmmsg>(SYS_sendmmsg, "sendmmsg"),
    Full<SysRecvmmsg>(SYS_recvmmsg, "recvmmsg"),
};

}  // namespace

std::span<const Row> SocketRows() { return kRows; }

}  // namespace sandboxd::syscalls
