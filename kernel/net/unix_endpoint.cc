#include "kernel/net/unix_endpoint.h"

#include <sys/epoll.h>
#include <sys/un.h>

#include <algorithm>

#include "kernel/net/unix_domain.h"
#include "kernel/vfs/inode.h"
#include "kernel/vfs/mount.h"

namespace sandboxd::net {
namespace {

constexpr wait::EventMask kAllEvents = 0xffff;
constexpr size_t kMaxDatagrams = 512;  // net.unix.max_dgram_qlen

}  // namespace

UnixEndpoint::UnixEndpoint(UnixDomain& domain, int type, PeerCredentials owner, uint64_t network)
    : domain_(domain), type_(type), network_(network), owner_(owner) {
  domain_.Register(*this);
}

UnixEndpoint::~UnixEndpoint() { domain_.Unregister(*this); }

// --- names ---

std::string UnixEndpoint::name() const {
  MutexLock lock(mutex_);
  return name_;
}

SocketAddress UnixEndpoint::AddressOf(const std::string& name) {
  SocketAddress a;
  uint16_t family = AF_UNIX;
  memcpy(a.bytes.data(), &family, sizeof(family));
  size_t n = std::min(name.size(), sizeof(sockaddr_un::sun_path));
  memcpy(a.bytes.data() + sizeof(family), name.data(), n);
  a.length = sizeof(family) + n;
  if (n > 0 && name[0] != '\0') a.length++;  // the NUL of a path counts
  return a;
}

SocketAddress UnixEndpoint::address() const { return AddressOf(name()); }

Result<void> UnixEndpoint::SetName(std::string name, vfs::Path place) {
  MutexLock lock(mutex_);
  if (!name_.empty()) return Errno::kEINVAL;
  name_ = std::move(name);
  place_ = std::move(place);
  return Ok();
}

// --- connections ---

Ref<UnixEndpoint> UnixEndpoint::peer() const {
  MutexLock lock(mutex_);
  return peer_;
}

UnixEndpoint::State UnixEndpoint::state() const {
  MutexLock lock(mutex_);
  return state_;
}

Result<PeerCredentials> UnixEndpoint::peer_credentials() const {
  MutexLock lock(mutex_);
  // A socket that nobody is connected to answers with nobody's ids (unix(7)).
  if (state_ == State::kListening) return owner_;
  return peer_credentials_;
}

int UnixEndpoint::TakeError() {
  MutexLock lock(mutex_);
  return std::exchange(error_, 0);
}

Result<void> UnixEndpoint::Listen(size_t backlog, PeerCredentials owner) {
  std::vector<Ref<UnixEndpoint>> waiting;
  {
    MutexLock lock(mutex_);
    if (!connection_oriented()) return Errno::kEOPNOTSUPP;
    if (name_.empty()) return Errno::kEINVAL;
    if (state_ != State::kUnconnected && state_ != State::kListening) return Errno::kEINVAL;
    state_ = State::kListening;
    backlog_ = backlog;
    owner_ = owner;
    waiting.swap(waiting_);
  }
  for (auto& w : waiting) w->queue_.Notify(EPOLLOUT);
  return Ok();
}

Result<void> UnixEndpoint::ConnectTo(const Ref<UnixEndpoint>& listener, PeerCredentials self) {
  auto embryo = MakeRef<UnixEndpoint>(domain_, type_, self, listener->network_);
  {
    MutexLockPair lock(mutex_, listener->mutex_);
    if (state_ == State::kConnected) return Errno::kEISCONN;
    if (state_ != State::kUnconnected) return Errno::kEINVAL;
    if (listener->type_ != type_) return Errno::kEPROTOTYPE;
    if (listener->state_ != State::kListening || listener->no_more_in_) {
      return Errno::kECONNREFUSED;
    }
    if (listener->pending_.size() > listener->backlog_) {
      listener->waiting_.push_back(Ref<UnixEndpoint>(this));
      return Errno::kEAGAIN;
    }
    embryo->BeAcceptedFrom(*listener, Ref<UnixEndpoint>(this), self);
    state_ = State::kConnected;
    peer_ = embryo;
    peer_credentials_ = listener->owner_;
    listener->pending_.push_back(std::move(embryo));
  }
  listener->queue_.Notify(EPOLLIN | EPOLLRDNORM);
  queue_.Notify(EPOLLOUT | EPOLLWRNORM);
  return Ok();
}

void UnixEndpoint::BeAcceptedFrom(const UnixEndpoint& listener, Ref<UnixEndpoint> client,
                                  PeerCredentials theirs) {
  state_ = State::kConnected;
  peer_ = std::move(client);
  peer_credentials_ = theirs;
  owner_ = listener.owner_;
  name_ = listener.name_;
  set_wants_credentials(true);
}

Result<void> UnixEndpoint::SetDatagramPeer(Ref<UnixEndpoint> peer) {
  MutexLock lock(mutex_);
  std::swap(peer_, peer);  // the old one is dropped after the lock
  state_ = peer_ != nullptr ? State::kConnected : State::kUnconnected;
  if (peer_ == nullptr) peer_credentials_ = {};
  return Ok();
}

void UnixEndpoint::ConnectPair(const Ref<UnixEndpoint>& a, const Ref<UnixEndpoint>& b) {
  auto join = [](UnixEndpoint& one, const Ref<UnixEndpoint>& other) {
    PeerCredentials theirs;
    {
      MutexLock lock(other->mutex_);
      theirs = other->owner_;
    }
    MutexLock lock(one.mutex_);
    one.peer_ = other;
    one.peer_credentials_ = theirs;
    one.state_ = State::kConnected;
  };
  join(*a, b);
  join(*b, a);
}

Result<Ref<UnixEndpoint>> UnixEndpoint::TakePending() {
  Ref<UnixEndpoint> next;
  std::vector<Ref<UnixEndpoint>> waiting;
  {
    MutexLock lock(mutex_);
    if (state_ != State::kListening) return Errno::kEINVAL;
    if (pending_.empty()) return no_more_in_ ? Errno::kEINVAL : Errno::kEAGAIN;
    next = std::move(pending_.front());
    pending_.pop_front();
    waiting.swap(waiting_);
  }
  for (auto& w : waiting) w->queue_.Notify(EPOLLOUT);
  return next;
}

Result<void> UnixEndpoint::Shutdown(int how) {
  if (how != SHUT_RD && how != SHUT_WR && how != SHUT_RDWR) return Errno::kEINVAL;
  const bool in = how != SHUT_WR, out = how != SHUT_RD;
  Ref<UnixEndpoint> other;
  {
    MutexLock lock(mutex_);
    no_more_in_ = no_more_in_ || in;
    no_more_out_ = no_more_out_ || out;
    if (connection_oriented()) other = peer_;
  }
  queue_.Notify(kAllEvents);
  if (other == nullptr) return Ok();
  {
    MutexLock lock(other->mutex_);
    other->no_more_in_ = other->no_more_in_ || out;
    other->no_more_out_ = other->no_more_out_ || in;
  }
  other->queue_.Notify(kAllEvents);
  return Ok();
}

void UnixEndpoint::PeerClosed(bool lost_data) {
  {
    MutexLock lock(mutex_);
    no_more_in_ = no_more_out_ = true;
    if (lost_data) error_ = ECONNRESET;
  }
  queue_.Notify(kAllEvents);
}

void UnixEndpoint::Close() {
  Ref<UnixEndpoint> peer;
  std::deque<Ref<UnixEndpoint>> pending;
  std::vector<Ref<UnixEndpoint>> waiting;
  vfs::Path place;
  bool lost_data;
  {
    MutexLock lock(mutex_);
    if (state_ == State::kClosed) return;
    state_ = State::kClosed;
    no_more_in_ = no_more_out_ = true;
    peer = std::move(peer_);
    pending.swap(pending_);
    waiting.swap(waiting_);
    place = std::exchange(place_, vfs::Path());
    lost_data = !messages_.empty();
  }
  // The name stays in its folder and leads nowhere.
  if (place && place.dentry->inode()->attachment() == this) {
    place.dentry->inode()->SetAttachment(nullptr);
  }
  for (auto& w : waiting) w->queue_.Notify(kAllEvents);
  if (peer != nullptr && connection_oriented()) peer->PeerClosed(lost_data);
  for (auto& embryo : pending) {
    Ref<UnixEndpoint> client = embryo->peer();
    embryo->Close();
    if (client != nullptr) client->PeerClosed(true);
  }
  domain_.DropQueues(*this);
  queue_.Notify(kAllEvents);
}

// --- sending ---

Result<Ref<UnixEndpoint>> UnixEndpoint::SendTarget() const {
  MutexLock lock(mutex_);
  if (no_more_out_) return Errno::kEPIPE;
  if (state_ != State::kConnected || peer_ == nullptr) return Errno::kENOTCONN;
  return peer_;
}

Result<size_t> UnixEndpoint::CheckRoom(UnixEndpoint& from, size_t wanted, size_t limit) {
  MutexLock lock(mutex_);
  if (connection_oriented()) {
    if (state_ == State::kClosed || no_more_in_) return Errno::kEPIPE;
  } else {
    if (state_ == State::kClosed) return Errno::kECONNREFUSED;
    // unix(7): a connected datagram socket receives from its peer only.
    if (peer_ != nullptr && peer_ != &from) return Errno::kEPERM;
    if (no_more_in_) return Errno::kEPIPE;
  }
  bool full = queued_bytes_ >= limit || (type_ == SOCK_DGRAM && messages_.size() >= kMaxDatagrams);
  size_t room = full ? 0 : limit - queued_bytes_;
  // A message goes in whole, though the last one may then exceed the limit.
  if (type_ != SOCK_STREAM && !full) return wanted;
  if (!full) return std::min(wanted, room);
  if (std::ranges::none_of(waiting_, [&](const auto& w) { return w == &from; })) {
    waiting_.push_back(Ref<UnixEndpoint>(&from));
  }
  return Errno::kEAGAIN;
}

Result<size_t> UnixEndpoint::Deliver(UnixEndpoint& from, UnixMessage& message, size_t limit) {
  const size_t size = message.bytes.size();
  auto deliver = [&]() -> Result<size_t> {
    TRY(CheckRoom(from, size, limit));
    MutexLock lock(mutex_);
    if (state_ == State::kClosed) {
      return connection_oriented() ? Errno::kEPIPE : Errno::kECONNREFUSED;
    }
    queued_bytes_ += size;
    messages_.push_back(std::move(message));
    return size;
  };
  Result<size_t> done = message.ancillary.files.empty()
                            ? deliver()
                            : domain_.WithFilesInFlight(message.ancillary.files, deliver);
  if (done.ok()) queue_.Notify(EPOLLIN | EPOLLRDNORM);
  return done;
}

// --- receiving ---

void UnixEndpoint::TellSenders() {
  std::vector<Ref<UnixEndpoint>> waiting;
  Ref<UnixEndpoint> peer;
  {
    MutexLock lock(mutex_);
    waiting.swap(waiting_);
    peer = peer_;
  }
  for (auto& w : waiting) w->queue_.Notify(EPOLLOUT | EPOLLWRNORM);
  if (peer != nullptr) peer->queue_.Notify(EPOLLOUT | EPOLLWRNORM);
}

bool UnixEndpoint::HasQueuedFiles() const {
  return std::ranges::any_of(messages_, [](const auto& m) { return !m.ancillary.files.empty(); });
}

Result<Received> UnixEndpoint::Take(std::string& out, size_t max, int flags,
                                    bool same_sender_only) {
  auto take = [&](bool may_take_files) -> Result<Received> {
    MutexLock lock(mutex_);
    if (messages_.empty()) {
      if (error_ != 0) return FromHostErrno(std::exchange(error_, 0));
      if (type_ == SOCK_STREAM && (state_ == State::kUnconnected || state_ == State::kListening)) {
        return Errno::kEINVAL;
      }
      if (type_ == SOCK_SEQPACKET && state_ != State::kConnected) return Errno::kENOTCONN;
      if (no_more_in_) return Received();
      return Errno::kEAGAIN;
    }
    // Files leave a queue under the domain's in-flight mutex only.
    if (!may_take_files && HasQueuedFiles()) return Errno::kEBUSY;
    return type_ == SOCK_STREAM ? TakeStream(out, max, flags, same_sender_only)
                                : TakeMessage(out, max, flags);
  };
  Result<Received> r = take(false);
  if (r.Is(Errno::kEBUSY)) {
    r = domain_.WithFilesLanding([&] { return take(true); }, (flags & MSG_PEEK) != 0);
  }
  if (r.ok() && (flags & MSG_PEEK) == 0) TellSenders();
  return r;
}

Received UnixEndpoint::TakeStream(std::string& out, size_t max, int flags, bool same_sender_only) {
  const bool peek = (flags & MSG_PEEK) != 0;
  Received r;
  bool first = true;
  for (size_t i = 0; i < messages_.size() && (first || r.length < max);) {
    UnixMessage& m = messages_[i];
    if (!first && same_sender_only && m.ancillary.credentials != r.ancillary.credentials) {
      break;
    }
    if (std::exchange(first, false)) {
      r.ancillary.credentials = m.ancillary.credentials;
      r.from = m.from;
    }
    size_t n = std::min(max - r.length, m.left());
    out.append(m.bytes, m.taken, n);
    r.length += n;
    const bool with_files = !m.ancillary.files.empty();
    if (peek) {
      if (with_files) r.ancillary.files = m.ancillary.files;
      i++;
    } else {
      if (with_files) r.ancillary.files = std::exchange(m.ancillary.files, {});
      m.taken += n;
      queued_bytes_ -= n;
      if (m.left() == 0) messages_.erase(messages_.begin() + static_cast<ptrdiff_t>(i));
    }
    // Bytes behind a control message are for the next read (unix(7), "Ancillary messages").
    if (with_files) break;
  }
  r.full_length = r.length;
  return r;
}

Received UnixEndpoint::TakeMessage(std::string& out, size_t max, int flags) {
  Received r;
  UnixMessage& m = messages_.front();
  r.full_length = m.bytes.size();
  r.length = std::min(max, r.full_length);
  if (r.length < r.full_length) r.flags |= MSG_TRUNC;
  r.from = m.from;
  out.assign(m.bytes, 0, r.length);
  if ((flags & MSG_PEEK) != 0) {
    r.ancillary = m.ancillary;
    return r;
  }
  r.ancillary = std::move(m.ancillary);
  queued_bytes_ -= m.bytes.size();
  messages_.pop_front();
  return r;
}

// --- readiness ---

wait::EventMask UnixEndpoint::Poll(size_t send_limit) {
  wait::EventMask ready = 0;
  Ref<UnixEndpoint> peer;
  {
    MutexLock lock(mutex_);
    if (error_ != 0) ready |= EPOLLERR;
    if (no_more_in_ && no_more_out_) ready |= EPOLLHUP;
    if (no_more_in_) ready |= EPOLLRDHUP | EPOLLIN | EPOLLRDNORM;
    if (!messages_.empty() || !pending_.empty()) ready |= EPOLLIN | EPOLLRDNORM;
    if (connection_oriented() && state_ == State::kUnconnected) ready |= EPOLLHUP;
    if (state_ == State::kListening) return ready;
    peer = peer_;
  }
  bool writable = true;
  if (peer != nullptr) {
    MutexLock lock(peer->mutex_);
    writable = peer->queued_bytes_ * 4 <= send_limit || peer->no_more_in_;
    if (type_ == SOCK_DGRAM) writable = writable && peer->messages_.size() < kMaxDatagrams;
    if (!writable && std::ranges::none_of(peer->waiting_, [&](const auto& w) { return w == this; }))
      peer->waiting_.push_back(Ref<UnixEndpoint>(this));
  }
  if (writable) ready |= EPOLLOUT | EPOLLWRNORM | EPOLLWRBAND;
  return ready;
}

size_t UnixEndpoint::readable_bytes() const {
  MutexLock lock(mutex_);
  if (type_ == SOCK_STREAM || messages_.empty()) return queued_bytes_;
  return messages_.front().bytes.size();
}

size_t UnixEndpoint::unsent_bytes() const {
  Ref<UnixEndpoint> other = peer();
  if (other == nullptr) return 0;
  MutexLock lock(other->mutex_);
  return other->queued_bytes_;
}

// --- the collector ---

void UnixEndpoint::ForEachQueuedFile(const std::function<void(vfs::File&)>& visit) const {
  std::vector<Ref<UnixEndpoint>> pending;
  {
    MutexLock lock(mutex_);
    for (const UnixMessage& m : messages_) {
      for (const auto& file : m.ancillary.files) visit(*file);
    }
    pending.assign(pending_.begin(), pending_.end());
  }
  for (const auto& embryo : pending) embryo->ForEachQueuedFile(visit);
}

void UnixEndpoint::Purge(std::vector<Ref<vfs::File>>& files) {
  std::deque<UnixMessage> messages;
  MutexLock lock(mutex_);
  messages.swap(messages_);
  queued_bytes_ = 0;
  for (UnixMessage& m : messages) {
    for (auto& file : m.ancillary.files) files.push_back(std::move(file));
  }
}

}  // namespace sandboxd::net
