#include <sys/epoll.h>
#include <sys/socket.h>

#include <cerrno>

#include "kernel/net/inet/udp_socket.h"

namespace sandboxd::net {
namespace {
constexpr wait::EventMask kReadable = EPOLLIN | EPOLLRDNORM;
constexpr wait::EventMask kWritable = EPOLLOUT | EPOLLWRNORM | EPOLLWRBAND;
constexpr wait::EventMask kAllEvents = 0xffff;
constexpr size_t kOverhead = 768;  // what Linux counts for a small datagram beside its bytes
constexpr size_t kMaxErrors = 64;
}  // namespace

UdpEndpoint::UdpEndpoint(PortTable& ports) : ports_(ports) { binding_.owner = this; }

UdpEndpoint::~UdpEndpoint() { ports_.Release(binding_); }

Result<void> UdpEndpoint::Bind(const InetAddress& local) {
  InetAddress chosen = TRY(ports_.Bind(binding_, local));
  MutexLock lock(mutex_);
  local_ = chosen;
  // A port that nobody asked for is not kept when the socket is disconnected.
  if (local.port != 0) bound_ = chosen;
  return Ok();
}

InetAddress UdpEndpoint::local() const {
  MutexLock lock(mutex_);
  return local_;
}

Result<InetAddress> UdpEndpoint::remote() const {
  MutexLock lock(mutex_);
  if (remote_.port == 0) return Errno::kENOTCONN;
  return remote_;
}

Result<void> UdpEndpoint::Connect(const InetAddress& source, const InetAddress& to) {
  if (local().port == 0) {
    InetAddress chosen = TRY(ports_.Bind(binding_, source.WithPort(0), /*for_connect=*/true));
    MutexLock lock(mutex_);
    local_ = chosen;
  }
  InetAddress from;
  {
    MutexLock lock(mutex_);
    if (local_.is_any()) local_ = source.WithPort(local_.port);
    remote_ = to;
    error_ = 0;
    from = local_;
  }
  ports_.SetLocal(binding_, from);
  ports_.SetRemote(binding_, to);
  return Ok();
}

void UdpEndpoint::Disconnect() {
  InetAddress bound;
  {
    MutexLock lock(mutex_);
    remote_ = {};
    error_ = 0;
    local_ = bound = bound_;
  }
  if (bound.port == 0) {
    ports_.Release(binding_);
  } else {
    ports_.SetLocal(binding_, bound);
    ports_.SetRemote(binding_, {});
  }
}

Result<void> UdpEndpoint::Shutdown(int how) {
  if (how != SHUT_RD && how != SHUT_WR && how != SHUT_RDWR) return Errno::kEINVAL;
  bool connected;
  {
    MutexLock lock(mutex_);
    connected = remote_.port != 0;
    no_more_in_ = no_more_in_ || how != SHUT_WR;
    no_more_out_ = no_more_out_ || how != SHUT_RD;
  }
  queue_.Notify(kAllEvents);
  return connected ? Ok() : Result<void>(Errno::kENOTCONN);
}

void UdpEndpoint::Close() {
  ports_.Release(binding_);
  std::deque<Datagram> dropped;
  MutexLock lock(mutex_);
  closed_ = true;
  dropped.swap(queue_in_);
}

int UdpEndpoint::TakeError() {
  MutexLock lock(mutex_);
  return std::exchange(error_, 0);
}

Result<void> UdpEndpoint::CheckSend() {
  MutexLock lock(mutex_);
  if (error_ != 0) return FromHostErrno(std::exchange(error_, 0));
  if (no_more_out_) return Errno::kEPIPE;
  return Ok();
}

bool UdpEndpoint::Deliver(Datagram datagram) {
  {
    MutexLock lock(mutex_);
    if (closed_) return false;
    // udp(7): what finds no room is dropped, and nobody hears of it.
    if (queued_ > limit_) return true;
    queued_ += datagram.bytes.size() + kOverhead;
    queue_in_.push_back(std::move(datagram));
  }
  queue_.Notify(kReadable);
  return true;
}

void UdpEndpoint::Refused(DatagramError error, bool connected, bool keep) {
  {
    MutexLock lock(mutex_);
    if (!connected && !keep) return;
    error_ = ECONNREFUSED;
    if (keep && errors_.size() < kMaxErrors) errors_.push_back(std::move(error));
  }
  queue_.Notify(kReadable | EPOLLERR);
}

Result<Datagram> UdpEndpoint::Take(bool peek, bool nonblocking) {
  MutexLock lock(mutex_);
  if (error_ != 0) return FromHostErrno(std::exchange(error_, 0));
  if (queue_in_.empty()) return no_more_in_ && !nonblocking ? Errno::kENODATA : Errno::kEAGAIN;
  if (peek) return queue_in_.front();
  Datagram first = std::move(queue_in_.front());
  queue_in_.pop_front();
  queued_ -= first.bytes.size() + kOverhead;
  return first;
}

void UdpEndpoint::PutBack(Datagram datagram) {
  MutexLock lock(mutex_);
  queued_ += datagram.bytes.size() + kOverhead;
  queue_in_.push_front(std::move(datagram));
}

Result<DatagramError> UdpEndpoint::TakeQueuedError() {
  MutexLock lock(mutex_);
  if (errors_.empty()) return Errno::kEAGAIN;
  DatagramError first = std::move(errors_.front());
  errors_.pop_front();
  error_ = errors_.empty() ? 0 : ECONNREFUSED;
  return first;
}

wait::EventMask UdpEndpoint::Poll() const {
  MutexLock lock(mutex_);
  wait::EventMask ready = kWritable;
  if (!queue_in_.empty()) ready |= kReadable;
  if (error_ != 0 || !errors_.empty()) ready |= EPOLLERR;
  if (no_more_in_) ready |= kReadable | EPOLLRDHUP;
  if (no_more_in_ && no_more_out_) ready |= EPOLLHUP;
  return ready;
}

size_t UdpEndpoint::first_size() const {
  MutexLock lock(mutex_);
  return queue_in_.empty() ? 0 : queue_in_.front().bytes.size();
}

size_t UdpEndpoint::queued_bytes() const {
  MutexLock lock(mutex_);
  return queued_;
}

void UdpEndpoint::set_limit(size_t bytes) {
  MutexLock lock(mutex_);
  limit_ = bytes;
}

}  // namespace sandboxd::net
