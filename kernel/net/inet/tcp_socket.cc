#include "kernel/net/inet/tcp_socket.h"

#include <sys/epoll.h>
#include <sys/stat.h>

#include <algorithm>

#include "kernel/net/inet/loopback_stack.h"
#include "kernel/net/inet/tcp_info.h"
#include "kernel/vfs/caller.h"
#include "kernel/vfs/inode.h"

namespace sandboxd::net {
namespace {

constexpr int kMaxBacklog = 4096;  // net.core.somaxconn
// tcp(7): tcp_wmem and tcp_rmem, what a socket starts with; and what we let it hold as it grows.
constexpr uint32_t kSendBuffer = 16384, kReceiveBuffer = 131072;
constexpr size_t kGrownBuffer = 256 << 10;
constexpr uint32_t kConnectedSendBuffer = 2626560;  // what Linux says of a loopback connection
constexpr uint32_t kSegment = 65483;                // of the loopback interface

}  // namespace

Ref<TcpSocket> TcpSocket::Create(vfs::Vfs& vfs, LoopbackStack& stack, int family, int flags,
                                 Ref<TcpEndpoint> endpoint) {
  return MakeRef<TcpSocket>(vfs.AnonymousPath("socket", S_IFSOCK | 0777), vfs, stack, family, flags,
                            std::move(endpoint));
}

TcpSocket::TcpSocket(vfs::Path path, vfs::Vfs& vfs, LoopbackStack& stack, int family, int flags,
                     Ref<TcpEndpoint> endpoint)
    : InetSocket(std::move(path), stack, family, IPPROTO_TCP, flags),
      vfs_(vfs),
      endpoint_(std::move(endpoint)) {
  SetDefaultBuffers(kSendBuffer, kReceiveBuffer);
  endpoint_->binding().v6 = family == AF_INET6;
  stack.AddTcp(*this);
}

TcpSocket::~TcpSocket() {
  stack().RemoveTcp(*this);
  std::optional<int> seconds = linger();
  // socket(7), SO_LINGER: a time of 0 throws the connection away.
  endpoint_->Close(seconds == 0 ? TcpEndpoint::Ending::kReset : TcpEndpoint::Ending::kGraceful,
                   options().value(IPPROTO_TCP, TCP_LINGER2));
}

PortTable& TcpSocket::ports() { return stack().tcp_ports(); }

size_t TcpSocket::send_limit() const {
  uint32_t fixed = fixed_send_buffer_.load(std::memory_order_relaxed);
  return fixed != 0 ? fixed : kGrownBuffer;
}

// --- connections ---

Result<void> TcpSocket::Listen(vfs::Caller& c, int backlog) {
  if (local().port == 0) PrepareBinding(c);
  int limit = backlog < 0 || backlog > kMaxBacklog ? kMaxBacklog : backlog;
  return endpoint_->Listen(static_cast<size_t>(limit));
}

Result<void> TcpSocket::Connect(vfs::Caller& c, const SocketAddress& address) {
  if (address.length < sizeof(sa_family_t)) return Errno::kEINVAL;
  if (address.family() == AF_UNSPEC) {
    endpoint_->Disconnect();
    return Ok();
  }
  InetAddress to = TRY(Destination(address));
  const int state = endpoint_->state();
  if (state == TCP_CLOSE && endpoint_->fresh()) {
    TRY(CheckReach(to));
    if (local().port == 0) PrepareBinding(c);
  }
  return endpoint_->Connect(SourceFor(to), to, nonblocking());
}

Result<Ref<Socket>> TcpSocket::Accept(vfs::Caller&, int flags) {
  Ref<TcpEndpoint> connection = TRY(endpoint_->TakePending());
  Ref<TcpSocket> socket = Create(vfs_, stack(), family(), flags, std::move(connection));
  socket->CopyOptions(*this);
  socket->options().CopyFrom(options());
  socket->reno_.store(reno_.load(std::memory_order_relaxed), std::memory_order_relaxed);
  socket->fixed_send_buffer_.store(fixed_send_buffer_.load(std::memory_order_relaxed),
                                   std::memory_order_relaxed);
  return Ref<Socket>(std::move(socket));
}

Result<SocketAddress> TcpSocket::PeerAddress() { return TRY(endpoint_->remote()).Encode(family()); }

// --- data ---

Result<size_t> TcpSocket::Send(vfs::Caller&, mm::IoSource& data, SendRequest& request) {
  if ((request.flags & MSG_OOB) != 0) return Errno::kEOPNOTSUPP;
  return endpoint_->Send(data, send_limit());
}

Result<Received> TcpSocket::Receive(vfs::Caller&, mm::IoSink& data, int flags) {
  if ((flags & MSG_OOB) != 0) return Errno::kEINVAL;
  const bool wait = !nonblocking() && (flags & (MSG_DONTWAIT | MSG_PEEK)) == 0;
  Received r = TRY(endpoint_->Receive(data, flags, wait ? receive_low_water() : 1));
  if (tells_unread_.load(std::memory_order_relaxed)) {
    auto unread = static_cast<int32_t>(endpoint_->readable_bytes());
    ConstBytes bytes = AsBytes(unread);
    r.ancillary.messages.push_back({IPPROTO_TCP, TCP_INQ, {bytes.begin(), bytes.end()}});
  }
  return r;
}

// --- options ---

Result<std::vector<std::byte>> TcpSocket::GetOption(vfs::Caller& c, int level, int name,
                                                    size_t room) {
  if (level == SOL_SOCKET && name == SO_SNDBUF &&
      fixed_send_buffer_.load(std::memory_order_relaxed) == 0 && endpoint_->remote().ok()) {
    // Linux has let it grow by the time there is a connection.
    ConstBytes bytes = AsBytes(kConnectedSendBuffer);
    return std::vector<std::byte>(bytes.begin(), bytes.end());
  }
  if (level != IPPROTO_TCP) return InetSocket::GetOption(c, level, name, room);
  switch (name) {
    case TCP_INFO:
      return TcpInfo({.state = endpoint_->state(),
                      .pending = static_cast<uint32_t>(endpoint_->pending_connections()),
                      .backlog = static_cast<uint32_t>(endpoint_->backlog())});
    case TCP_CONGESTION: {
      constexpr char kCubic[16] = "cubic", kReno[16] = "reno";  // TCP_CA_NAME_MAX
      ConstBytes bytes = AsBytes(reno_.load(std::memory_order_relaxed) ? kReno : kCubic);
      return std::vector<std::byte>(bytes.begin(), bytes.end());
    }
    case TCP_MAXSEG: {
      if (!endpoint_->remote().ok()) break;
      ConstBytes bytes = AsBytes(kSegment);
      return std::vector<std::byte>(bytes.begin(), bytes.end());
    }
    case TCP_ULP:
    case TCP_SAVED_SYN:
      return std::vector<std::byte>();
  }
  return InetSocket::GetOption(c, level, name, room);
}

Result<void> TcpSocket::SetOption(vfs::Caller& c, int level, int name, ConstBytes value) {
  if (level == IPPROTO_TCP && name == TCP_CONGESTION) {
    std::string_view wanted(reinterpret_cast<const char*>(value.data()),
                            std::min<size_t>(value.size(), 15));
    wanted = wanted.substr(0, wanted.find('\0'));
    if (value.empty()) return Errno::kEINVAL;
    if (wanted != "cubic" && wanted != "reno") return Errno::kENOENT;
    reno_.store(wanted == "reno", std::memory_order_relaxed);
    return Ok();
  }
  if (level == IPPROTO_TCP && name == TCP_WINDOW_CLAMP && endpoint_->state() != TCP_CLOSE &&
      std::ranges::all_of(value, [](std::byte b) { return b == std::byte{0}; })) {
    return Errno::kEINVAL;
  }
  if (level == IPPROTO_TCP && name == TCP_ULP) return Errno::kENOENT;
  TRY(InetSocket::SetOption(c, level, name, value));
  if (level == IPPROTO_TCP && name == TCP_INQ) {
    tells_unread_.store(options().on(level, name), std::memory_order_relaxed);
  }
  if (level == SOL_SOCKET && (name == SO_SNDBUF || name == SO_SNDBUFFORCE)) {
    fixed_send_buffer_.store(send_buffer(), std::memory_order_relaxed);
    endpoint_->queue().Notify(EPOLLOUT | EPOLLWRNORM);  // there may be room now
  }
  if (level == SOL_SOCKET && (name == SO_RCVBUF || name == SO_RCVBUFFORCE)) {
    endpoint_->set_receive_limit(receive_buffer());
  }
  return Ok();
}

void TcpSocket::AddRow(std::vector<SocketRow>& rows) const {
  const int state = endpoint_->state();
  // Linux lists what is bound to a port by listening or by a connection.
  if (state == TCP_CLOSE) return;
  SocketRow row;
  row.local = local();
  Result<InetAddress> to = remote();
  row.remote = to.ok() ? *to : InetAddress::Any(family());
  row.state = static_cast<uint8_t>(state);
  row.send_queue = state == TCP_LISTEN ? 0 : static_cast<uint32_t>(unsent_bytes());
  row.receive_queue = static_cast<uint32_t>(state == TCP_LISTEN ? endpoint_->pending_connections()
                                                                : readable_bytes());
  row.inode = inode()->ino();
  rows.push_back(row);
}

// --- readiness ---

wait::EventMask TcpSocket::Poll(wait::EventMask interest) {
  return endpoint_->Poll(send_limit(), receive_low_water()) & (interest | EPOLLERR | EPOLLHUP);
}

void TcpSocket::AddWaiter(wait::WaitEntry& entry, wait::EventMask mask, bool exclusive) {
  endpoint_->queue().Add(entry, mask, exclusive);
}

}  // namespace sandboxd::net
