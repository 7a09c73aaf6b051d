#include "kernel/net/unix_socket.h"

#include <fcntl.h>
#include <linux/sockios.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <algorithm>

#include "kernel/vfs/caller.h"
#include "kernel/vfs/inode.h"
#include "kernel/vfs/mount.h"

namespace sandboxd::net {
namespace {

constexpr size_t kChunk = 65536;  // of a send, and of a receive:
constexpr size_t kReceiveChunk = 262144;
constexpr int kMaxBacklog = 4096;  // net.core.somaxconn

// sun_path of an address: "\0name", a path without its NUL, or "" for none. EINVAL as Linux checks
// it.
Result<std::string> NameOf(const SocketAddress& address) {
  constexpr size_t kHeader = offsetof(sockaddr_un, sun_path);
  if (address.length < kHeader || address.length > sizeof(sockaddr_un) ||
      address.family() != AF_UNIX) {
    return Errno::kEINVAL;
  }
  std::string name(reinterpret_cast<const char*>(address.bytes.data()) + kHeader,
                   address.length - kHeader);
  if (!name.empty() && name[0] != '\0') name.resize(strnlen(name.data(), name.size()));
  return name;
}

}  // namespace

PeerCredentials EffectiveCredentials(vfs::Caller& c) {
  creds::CredRef creds = c.credentials();
  return {c.process_id(), creds->euid, creds->egid};
}

Ref<UnixSocket> UnixSocket::Create(vfs::Vfs& vfs, UnixDomain& domain, int flags,
                                   Ref<UnixEndpoint> endpoint) {
  return MakeRef<UnixSocket>(vfs.AnonymousPath("socket", S_IFSOCK | 0777), vfs, domain, flags,
                             std::move(endpoint));
}

UnixSocket::UnixSocket(vfs::Path path, vfs::Vfs& vfs, UnixDomain& domain, int flags,
                       Ref<UnixEndpoint> endpoint)
    : Socket(std::move(path), O_RDWR | flags),
      vfs_(vfs),
      domain_(domain),
      endpoint_(std::move(endpoint)) {
  domain_.AddFile(*this);
}

UnixSocket::~UnixSocket() {
  domain_.RemoveFile(*this);
  std::string name = endpoint_->name();
  if (!name.empty() && name[0] == '\0') domain_.ReleaseName(name, *endpoint_);
  endpoint_->Close();
  domain_.Collect();
}

// --- names ---

Result<void> UnixSocket::Bind(vfs::Caller& c, const SocketAddress& address) {
  std::string name = TRY(NameOf(address));
  if (name.empty()) return AutoBind();
  const bool named = !endpoint_->name().empty();
  // Linux makes the node before it looks at the socket.
  if (named && name[0] != '\0' && vfs_.Resolve(c, name).ok()) return Errno::kEADDRINUSE;
  if (named) return Errno::kEINVAL;
  if (name[0] != '\0') return BindPath(c, name);
  TRY(domain_.ClaimName(name, *endpoint_));
  Result<void> set = endpoint_->SetName(name, {});
  if (!set.ok()) domain_.ReleaseName(name, *endpoint_);
  return set;
}

Result<void> UnixSocket::BindPath(vfs::Caller& c, const std::string& path) {
  // The node has the mode that fchmod(2) may have given the socket.
  const uint32_t mode = S_IFSOCK | (TRY(GetAttr()).mode & 07777);
  Result<vfs::Path> made = vfs_.MknodAt(c, path, {}, mode, {});
  if (made.Is(Errno::kEEXIST)) return Errno::kEADDRINUSE;
  vfs::Path place = TRY(std::move(made));
  TRY(endpoint_->SetName(path, place));
  place.dentry->inode()->SetAttachment(endpoint_);
  return Ok();
}

// unix(7), "Autobind feature". A name that is there already stays.
Result<void> UnixSocket::AutoBind() {
  if (!endpoint_->name().empty()) return Ok();
  std::string name = TRY(domain_.ClaimAnyName(*endpoint_));
  if (!endpoint_->SetName(name, {}).ok()) domain_.ReleaseName(name, *endpoint_);
  return Ok();
}

Result<SocketAddress> UnixSocket::PeerAddress() {
  Ref<UnixEndpoint> peer = endpoint_->peer();
  if (peer == nullptr) return Errno::kENOTCONN;
  return peer->address();
}

Result<Ref<UnixEndpoint>> UnixSocket::Find(vfs::Caller& c, const SocketAddress& address) {
  std::string name = TRY(NameOf(address));
  if (name.empty())
    return address.length > sizeof(sa_family_t) ? Errno::kECONNREFUSED : Errno::kEINVAL;
  Ref<UnixEndpoint> found;
  if (name[0] == '\0') {
    found = domain_.FindName(name, endpoint_->network());
  } else {
    vfs::Path place = TRY(vfs_.Resolve(c, name));
    vfs::Inode& inode = *place.dentry->inode();
    TRY(inode.CheckPermission(*c.credentials(), 2));  // MAY_WRITE
    // Only this file puts attachments on inodes of sockets.
    if (inode.type() == S_IFSOCK) found = StaticRefCast<UnixEndpoint>(inode.attachment());
  }
  if (found == nullptr || found->state() == UnixEndpoint::State::kClosed) {
    return Errno::kECONNREFUSED;
  }
  // Abstract names are looked up together with the type.
  if (found->type() != type()) return name[0] == '\0' ? Errno::kECONNREFUSED : Errno::kEPROTOTYPE;
  return found;
}

// --- connections ---

Result<void> UnixSocket::Listen(vfs::Caller& c, int backlog) {
  // A negative backlog is a very large one.
  int limit = backlog < 0 || backlog > kMaxBacklog ? kMaxBacklog : backlog;
  return endpoint_->Listen(static_cast<size_t>(limit), EffectiveCredentials(c));
}

Result<void> UnixSocket::Connect(vfs::Caller& c, const SocketAddress& address) {
  if (address.length < sizeof(sa_family_t)) return Errno::kEINVAL;
  const bool datagram = type() == SOCK_DGRAM;
  if (datagram && address.family() == AF_UNSPEC) return endpoint_->SetDatagramPeer(nullptr);
  Ref<UnixEndpoint> target = TRY(Find(c, address));
  if (pass_credentials()) TRY(AutoBind());
  if (!datagram) return endpoint_->ConnectTo(target, EffectiveCredentials(c));
  Ref<UnixEndpoint> theirs = target->peer();
  if (theirs != nullptr && theirs.get() != endpoint_.get()) return Errno::kEPERM;
  return endpoint_->SetDatagramPeer(std::move(target));
}

Result<Ref<Socket>> UnixSocket::Accept(vfs::Caller&, int flags) {
  if (type() == SOCK_DGRAM) return Errno::kEOPNOTSUPP;
  Ref<UnixEndpoint> connection = TRY(endpoint_->TakePending());
  connection->set_wants_credentials(pass_credentials());
  Ref<UnixSocket> socket = Create(vfs_, domain_, flags, std::move(connection));
  socket->SetBoolean(SO_PASSCRED, pass_credentials());
  return Ref<Socket>(std::move(socket));
}

// --- data ---

Result<size_t> UnixSocket::Send(vfs::Caller& c, mm::IoSource& data, SendRequest& request) {
  if ((request.flags & MSG_OOB) != 0) return Errno::kEOPNOTSUPP;
  if (type() == SOCK_STREAM) {
    if (request.to != nullptr) {
      return endpoint_->state() == UnixEndpoint::State::kConnected ? Errno::kEISCONN
                                                                   : Errno::kEOPNOTSUPP;
    }
    return SendStream(c, data, request);
  }
  if (type() == SOCK_SEQPACKET || request.to == nullptr) {
    Ref<UnixEndpoint> target = TRY(endpoint_->SendTarget());
    Result<size_t> sent = SendMessage(c, *target, data, request);
    // A datagram socket forgets a peer that is gone.
    if (sent.Is(Errno::kECONNREFUSED)) TRY(endpoint_->SetDatagramPeer(nullptr));
    return sent;
  }
  Ref<UnixEndpoint> target = TRY(Find(c, *request.to));
  if (pass_credentials()) TRY(AutoBind());
  return SendMessage(c, *target, data, request);
}

// Nothing if this socket has no name (recvfrom(2) then gives a length of 0).
SocketAddress UnixSocket::SenderAddress() const {
  std::string name = endpoint_->name();
  return name.empty() ? SocketAddress() : UnixEndpoint::AddressOf(name);
}

// Who sends is recorded where the sender says it, or one of the two wants to know.
std::optional<PeerCredentials> UnixSocket::CredentialsFor(vfs::Caller& c,
                                                          const UnixEndpoint& target,
                                                          const SendRequest& request) const {
  if (request.ancillary.credentials.has_value()) return request.ancillary.credentials;
  if (!pass_credentials() && !target.wants_credentials()) return std::nullopt;
  creds::CredRef creds = c.credentials();
  return PeerCredentials{c.process_id(), creds->ruid, creds->rgid};
}

Result<void> UnixSocket::SetOption(vfs::Caller& c, int level, int name, ConstBytes value) {
  TRY(Socket::SetOption(c, level, name, value));
  if (level == SOL_SOCKET && name == SO_PASSCRED) {
    endpoint_->set_wants_credentials(pass_credentials());
  }
  return Ok();
}

Result<size_t> UnixSocket::SendMessage(vfs::Caller& c, UnixEndpoint& target, mm::IoSource& data,
                                       SendRequest& request) {
  const size_t size = data.remaining();
  if (size > send_buffer() - 32) return Errno::kEMSGSIZE;
  TRY(target.CheckRoom(*endpoint_, size, send_buffer()));
  UnixMessage message;
  message.bytes.resize(size);
  if (size > 0) {
    size_t got = TRY(data.Get(std::as_writable_bytes(std::span(message.bytes))));
    if (got != size) return Errno::kEFAULT;
  }
  message.from = SenderAddress();
  message.ancillary.credentials = CredentialsFor(c, target, request);
  message.ancillary.files.swap(request.ancillary.files);
  Result<size_t> sent = target.Deliver(*endpoint_, message, send_buffer());
  if (!sent.ok()) {
    request.ancillary.files.swap(message.ancillary.files);
    data.Unget(size);
  }
  return sent;
}

Result<size_t> UnixSocket::SendStream(vfs::Caller& c, mm::IoSource& data, SendRequest& request) {
  Ref<UnixEndpoint> target = TRY(endpoint_->SendTarget());
  size_t done = 0;
  while (data.remaining() > 0) {
    auto result = [&](Errno e) { return done > 0 ? Result<size_t>(done) : Result<size_t>(e); };
    Result<size_t> room =
        target->CheckRoom(*endpoint_, std::min(kChunk, data.remaining()), send_buffer());
    if (!room.ok()) return result(room.error());
    UnixMessage message;
    message.bytes.resize(*room);
    Result<size_t> got = data.Get(std::as_writable_bytes(std::span(message.bytes)));
    if (!got.ok()) return result(got.error());
    message.bytes.resize(*got);
    message.from = SenderAddress();
    message.ancillary.credentials = CredentialsFor(c, *target, request);
    message.ancillary.files.swap(request.ancillary.files);
    Result<size_t> sent = target->Deliver(*endpoint_, message, send_buffer());
    if (!sent.ok()) {
      request.ancillary.files.swap(message.ancillary.files);
      data.Unget(*got);
      return result(sent.error());
    }
    done += *sent;
  }
  return done;
}

Result<Received> UnixSocket::Receive(vfs::Caller&, mm::IoSink& data, int flags) {
  if ((flags & MSG_OOB) != 0) return Errno::kEOPNOTSUPP;
  std::string bytes;
  size_t max = type() == SOCK_STREAM ? std::min(kReceiveChunk, data.remaining()) : data.remaining();
  Received r = TRY(endpoint_->Take(bytes, max, flags, pass_credentials()));
  // A stream tells the name that its sender has by now.
  if (type() == SOCK_STREAM && r.from.length == 0) {
    Ref<UnixEndpoint> peer = endpoint_->peer();
    if (peer != nullptr && !peer->name().empty()) r.from = peer->address();
  }
  size_t stored = TRY(data.Put(std::as_bytes(std::span(bytes))));
  if (stored < r.length) return Errno::kEFAULT;
  return r;
}

// --- readiness ---

wait::EventMask UnixSocket::Poll(wait::EventMask interest) {
  return endpoint_->Poll(send_buffer()) & (interest | EPOLLERR | EPOLLHUP);
}

void UnixSocket::AddWaiter(wait::WaitEntry& entry, wait::EventMask mask, bool exclusive) {
  endpoint_->queue().Add(entry, mask, exclusive);
}

Result<uint64_t> UnixSocket::Ioctl(vfs::Caller& c, uint32_t command, uint64_t argument) {
  size_t value;
  switch (command) {
    case FIONREAD:  // SIOCINQ
      if (listening()) return Errno::kEINVAL;
      value = endpoint_->readable_bytes();
      break;
    case SIOCOUTQ:
      if (listening()) return Errno::kEINVAL;
      value = endpoint_->unsent_bytes();
      break;
    default:
      return Errno::kENOTTY;
  }
  TRY(c.memory().Write(UserAddr(argument), static_cast<int32_t>(value)));
  return uint64_t{0};
}

}  // namespace sandboxd::net
