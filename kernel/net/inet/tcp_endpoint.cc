#include "kernel/net/inet/tcp_endpoint.h"

#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

namespace sandboxd::net {
namespace {

constexpr wait::EventMask kReadable = EPOLLIN | EPOLLRDNORM;
constexpr wait::EventMask kWritable = EPOLLOUT | EPOLLWRNORM;
constexpr wait::EventMask kAllEvents = 0xffff;

}  // namespace

TcpEndpoint::TcpEndpoint(PortTable& ports) : ports_(ports) { binding_.owner = this; }

TcpEndpoint::~TcpEndpoint() { ports_.Release(binding_); }

// --- names ---

Result<void> TcpEndpoint::Bind(const InetAddress& local) {
  {
    MutexLock lock(mutex_);
    if (phase_ != Phase::kIdle || local_.port != 0) return Errno::kEINVAL;
  }
  InetAddress chosen = TRY(ports_.Bind(binding_, local));
  MutexLock lock(mutex_);
  local_ = chosen;
  // A port that nobody asked for is not kept when the connection ends.
  if (local.port != 0) bound_ = chosen;
  return Ok();
}

InetAddress TcpEndpoint::local() const {
  MutexLock lock(mutex_);
  return local_;
}

Result<InetAddress> TcpEndpoint::remote() const {
  MutexLock lock(mutex_);
  if (phase_ != Phase::kConnected || Finished()) return Errno::kENOTCONN;
  return remote_;
}

int TcpEndpoint::StateLocked() const {
  switch (phase_) {
    case Phase::kIdle:
      return TCP_CLOSE;
    case Phase::kListening:
      return TCP_LISTEN;
    case Phase::kConnecting:
      return TCP_SYN_SENT;
    case Phase::kConnected:
      break;
  }
  if (Finished()) return TCP_CLOSE;
  if (fin_out_) return TCP_FIN_WAIT2;
  return fin_in_ ? TCP_CLOSE_WAIT : TCP_ESTABLISHED;
}

int TcpEndpoint::state() const {
  MutexLock lock(mutex_);
  return StateLocked();
}

bool TcpEndpoint::fresh() const {
  MutexLock lock(mutex_);
  return phase_ == Phase::kIdle && told_ == Told::kUnconnected;
}

int TcpEndpoint::TakeError() {
  MutexLock lock(mutex_);
  return std::exchange(error_, 0);
}

// --- listening ---

Result<void> TcpEndpoint::Listen(size_t backlog) {
  InetAddress local;
  {
    MutexLock lock(mutex_);
    if (told_ != Told::kUnconnected) return Errno::kEINVAL;
    backlog_ = backlog;
    if (phase_ == Phase::kListening) return Ok();
    local = local_;
  }
  // listen(2) of a socket without a name gives it one.
  if (local.port == 0) TRY(Bind(InetAddress::Any(binding_.v6 ? AF_INET6 : AF_INET)));
  TRY(ports_.SetListening(binding_, true));
  MutexLock lock(mutex_);
  phase_ = Phase::kListening;
  fin_in_ = fin_out_ = false;
  return Ok();
}

Result<Ref<TcpEndpoint>> TcpEndpoint::TakePending() {
  Ref<TcpEndpoint> next;
  {
    MutexLock lock(mutex_);
    if (phase_ != Phase::kListening) return Errno::kEINVAL;
    if (accept_queue_.empty()) return Errno::kEAGAIN;
    next = std::move(accept_queue_.front());
    accept_queue_.pop_front();
  }
  // The next that found the backlog full; those that gave up meanwhile don't count.
  for (bool tried = false; !tried;) {
    Ref<TcpEndpoint> waiting;
    {
      MutexLock lock(mutex_);
      if (connecting_.empty()) break;
      waiting = std::move(connecting_.front());
      connecting_.pop_front();
    }
    tried = waiting->RetryConnecting();
  }
  return next;
}

void TcpEndpoint::AbortPending(std::deque<Ref<TcpEndpoint>> accepted,
                               std::deque<Ref<TcpEndpoint>> connecting) {
  for (auto& connection : accepted) connection->Close(Ending::kReset, 0);
  for (auto& client : connecting) client->FailConnecting(ECONNREFUSED);
}

void TcpEndpoint::StopListening() {
  // Setting it to false can't fail.
  MUST(ports_.SetListening(binding_, false));
  std::deque<Ref<TcpEndpoint>> accepted, connecting;
  {
    MutexLock lock(mutex_);
    if (phase_ != Phase::kListening) return;
    phase_ = Phase::kIdle;
    accepted.swap(accept_queue_);
    connecting.swap(connecting_);
  }
  AbortPending(std::move(accepted), std::move(connecting));
  queue_.Notify(kAllEvents);
}

// --- connecting ---

Result<void> TcpEndpoint::Connect(const InetAddress& source, const InetAddress& to,
                                  bool nonblocking) {
  bool fresh;
  {
    MutexLock lock(mutex_);
    if (told_ == Told::kConnected) return Errno::kEISCONN;
    fresh = told_ == Told::kUnconnected;
    if (fresh && phase_ != Phase::kIdle) return Errno::kEISCONN;
  }
  if (fresh) {
    TRY(StartConnecting(source, to));
    RetryConnecting();
    // Linux answers the first call before the handshake, even where that is a matter of
    // microseconds.
    if (nonblocking) return Errno::kEINPROGRESS;
  }
  MutexLock lock(mutex_);
  if (phase_ == Phase::kConnecting) return nonblocking ? Errno::kEALREADY : Errno::kEAGAIN;
  if (phase_ == Phase::kConnected) {
    told_ = Told::kConnected;
    return Ok();
  }
  told_ = Told::kUnconnected;
  int error = std::exchange(error_, 0);
  return error != 0 ? FromHostErrno(error) : Errno::kECONNABORTED;
}

Result<void> TcpEndpoint::StartConnecting(const InetAddress& source, const InetAddress& to) {
  bool need_port;
  {
    MutexLock lock(mutex_);
    if (phase_ != Phase::kIdle) return Errno::kEISCONN;
    phase_ = Phase::kConnecting;
    told_ = Told::kConnecting;
    remote_ = to;
    need_port = local_.port == 0;
    fin_in_ = fin_out_ = false;
    error_ = 0;
  }
  Result<InetAddress> local = InetAddress();
  if (need_port) local = ports_.Bind(binding_, source.WithPort(0), /*for_connect=*/true);
  MutexLock lock(mutex_);
  if (!local.ok()) {
    phase_ = Phase::kIdle;
    told_ = Told::kUnconnected;
    return local.error();
  }
  if (need_port) local_ = *local;
  if (local_.is_any()) local_ = source.WithPort(local_.port);
  return Ok();
}

// Looks for the listener, again if its backlog was full the last time.
bool TcpEndpoint::RetryConnecting() {
  InetAddress from, to;
  {
    MutexLock lock(mutex_);
    if (phase_ != Phase::kConnecting) return false;
    from = local_;
    to = remote_;
  }
  // Only endpoints are in this table.
  auto listener = StaticRefCast<TcpEndpoint>(ports_.Find(from, to));
  if (listener == nullptr && from == to) {
    ConnectToSelf();
  } else if (listener == nullptr || !ConnectTo(*listener).ok()) {
    FailConnecting(ECONNREFUSED);
  }
  return true;
}

Result<void> TcpEndpoint::ConnectTo(TcpEndpoint& listener) {
  auto embryo = MakeRef<TcpEndpoint>(ports_);
  InetAddress at;
  {
    MutexLock lock(mutex_);
    at = remote_;
  }
  ports_.Share(embryo->binding_, listener.binding_, at);
  {
    MutexLockPair lock(mutex_, listener.mutex_);
    if (phase_ != Phase::kConnecting) return Ok();
    if (listener.phase_ != Phase::kListening) return Errno::kECONNREFUSED;
    if (listener.accept_queue_.size() > listener.backlog_) {
      listener.connecting_.push_back(Ref<TcpEndpoint>(this));
      return Ok();
    }
    embryo->BecomeConnection(listener, Ref<TcpEndpoint>(this));
    phase_ = Phase::kConnected;
    peer_ = embryo;
    listener.accept_queue_.push_back(std::move(embryo));
  }
  listener.queue_.Notify(kReadable);
  queue_.Notify(kWritable);
  return Ok();
}

// Nobody else knows this endpoint yet; the client's and the listener's mutexes are held.
void TcpEndpoint::BecomeConnection(const TcpEndpoint& listener, Ref<TcpEndpoint> client) {
  phase_ = Phase::kConnected;
  told_ = Told::kConnected;
  local_ = client->remote_;
  remote_ = client->local_;
  receive_limit_ = listener.receive_limit_;
  peer_ = std::move(client);
}

// A socket that connects to its own address: RFC 9293's simultaneous open, with itself.
void TcpEndpoint::ConnectToSelf() {
  {
    MutexLock lock(mutex_);
    if (phase_ != Phase::kConnecting) return;
    phase_ = Phase::kConnected;
    peer_ = Ref<TcpEndpoint>(this);
  }
  queue_.Notify(kWritable);
}

void TcpEndpoint::FailConnecting(int error) {
  bool release;
  {
    MutexLock lock(mutex_);
    if (phase_ != Phase::kConnecting) return;
    phase_ = Phase::kIdle;
    error_ = error;
    fin_in_ = fin_out_ = true;
    local_ = bound_;
    release = bound_.port == 0;
  }
  if (release) ports_.Release(binding_);
  queue_.Notify(kAllEvents);
}

// --- ending ---

void TcpEndpoint::Disconnect() {
  StopListening();
  Ref<TcpEndpoint> peer;
  bool release;
  {
    MutexLock lock(mutex_);
    peer = std::move(peer_);
    error_ = StateLocked() == TCP_CLOSE ? 0 : ECONNRESET;
    phase_ = Phase::kIdle;
    told_ = Told::kUnconnected;
    fin_in_ = fin_out_ = false;
    received_.Clear();
    local_ = bound_;
    release = bound_.port == 0;
  }
  if (release) ports_.Release(binding_);
  if (peer != nullptr && peer.get() != this) peer->OnReset();
  queue_.Notify(kAllEvents);
}

Result<void> TcpEndpoint::Shutdown(int how) {
  if (how != SHUT_RD && how != SHUT_WR && how != SHUT_RDWR) return Errno::kEINVAL;
  const bool in = how != SHUT_WR, out = how != SHUT_RD;
  Ref<TcpEndpoint> peer;
  Phase phase;
  {
    MutexLock lock(mutex_);
    phase = phase_;
    if (phase == Phase::kConnected || phase == Phase::kIdle) {
      const bool connected = StateLocked() != TCP_CLOSE;
      if (out && !fin_out_) {
        peer = peer_;
        fin_out_first_ = !fin_in_;
      }
      fin_in_ = fin_in_ || in;
      fin_out_ = fin_out_ || out;
      // A socket without a connection is shut down all the same.
      if (!connected) return Errno::kENOTCONN;
    }
  }
  if (phase == Phase::kListening) {
    if (in) StopListening();
    return Ok();
  }
  if (phase == Phase::kConnecting) {
    FailConnecting(0);
    return Ok();
  }
  if (peer != nullptr) peer->OnFin();
  queue_.Notify(kAllEvents);
  return Ok();
}

void TcpEndpoint::OnFin() {
  {
    MutexLock lock(mutex_);
    fin_in_ = true;
  }
  queue_.Notify(kReadable | EPOLLRDHUP | EPOLLHUP);
}

void TcpEndpoint::OnReset() {
  Ref<TcpEndpoint> peer;
  {
    MutexLock lock(mutex_);
    if (phase_ != Phase::kConnected) return;
    // tcp_reset: who had seen the peer's FIN tried to write.
    error_ = fin_in_ && !fin_out_ ? EPIPE : ECONNRESET;
    phase_ = Phase::kIdle;
    fin_in_ = fin_out_ = true;
    peer = std::move(peer_);
  }
  queue_.Notify(kAllEvents);
}

void TcpEndpoint::Close(Ending ending, int linger2) {
  StopListening();
  Ref<TcpEndpoint> peer;
  bool lost, fin;
  int stays = 0;
  {
    MutexLock lock(mutex_);
    if (closed_) return;
    closed_ = true;
    lost = received_.size() > 0 || ending == Ending::kReset;
    fin = !fin_out_;
    // RFC 9293, 3.6: who ends a connection first keeps its port in TIME-WAIT, or in FIN-WAIT-2.
    if (phase_ == Phase::kConnected && !lost && (fin_out_ ? fin_out_first_ : !fin_in_)) {
      stays = fin_in_ ? kTimeWait : linger2;
    }
    peer = std::move(peer_);
    phase_ = Phase::kIdle;
    fin_in_ = fin_out_ = true;
    received_.Clear();
  }
  if (stays > 0) ports_.KeepTaken(binding_, std::chrono::seconds(stays));
  ports_.Release(binding_);
  // RFC 9293, 3.6: data that nobody will read any more is answered with a reset.
  if (peer != nullptr && peer.get() != this) {
    if (lost) {
      peer->OnReset();
    } else if (fin) {
      peer->OnFin();
    }
    // Who waits for room here waits in vain.
    peer->queue_.Notify(kWritable);
  }
  queue_.Notify(kAllEvents);
}

}  // namespace sandboxd::net
