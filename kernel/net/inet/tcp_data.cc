// TcpEndpoint: sending, receiving, readiness.
#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "kernel/net/inet/tcp_endpoint.h"

namespace sandboxd::net {
namespace {

constexpr wait::EventMask kReadable = EPOLLIN | EPOLLRDNORM;
constexpr wait::EventMask kWritable = EPOLLOUT | EPOLLWRNORM;
constexpr size_t kCopied = 2048;  // sends up to this are copied into the last chunk

// As Linux: a stream is worth writing to again when a third of its buffer is free.
bool WorthWriting(size_t queued, size_t limit) { return queued <= limit / 3 * 2; }

}  // namespace

// --- sending ---

Result<Ref<TcpEndpoint>> TcpEndpoint::SendTarget() {
  MutexLock lock(mutex_);
  if (error_ != 0) return FromHostErrno(std::exchange(error_, 0));
  if (phase_ == Phase::kConnecting) return Errno::kEAGAIN;
  if (phase_ != Phase::kConnected || fin_out_) return Errno::kEPIPE;
  return peer_;
}

Result<size_t> TcpEndpoint::RoomFor(size_t send_limit) {
  MutexLock lock(mutex_);
  if (closed_) return Errno::kECONNRESET;
  limit_ = receive_limit_ + send_limit;
  if (received_.size() < limit_) return limit_ - received_.size();
  sender_waits_ = true;
  return Errno::kEAGAIN;
}

Result<void> TcpEndpoint::OnData(ConstBytes bytes) {
  {
    MutexLock lock(mutex_);
    if (closed_) return Errno::kECONNRESET;
    received_.AppendCopy(bytes);
  }
  queue_.Notify(kReadable);
  return Ok();
}

Result<void> TcpEndpoint::OnChunk(ByteView view) {
  {
    MutexLock lock(mutex_);
    if (closed_) return Errno::kECONNRESET;
    received_.Append(std::move(view));
  }
  queue_.Notify(kReadable);
  return Ok();
}

Result<size_t> TcpEndpoint::Send(mm::IoSource& data, size_t send_limit) {
  Ref<TcpEndpoint> peer = TRY(SendTarget());
  size_t done = 0;
  while (data.remaining() > 0) {
    auto stop = [&](Errno e) { return done > 0 ? Result<size_t>(done) : Result<size_t>(e); };
    Result<size_t> room = peer->RoomFor(send_limit);
    if (room.Is(Errno::kEAGAIN)) return stop(Errno::kEAGAIN);
    const size_t want = std::min(data.remaining(), room.ok() ? *room : ByteChunk::kLargest);
    Result<size_t> got = size_t{0};
    Result<void> sent = Ok();
    if (want <= kCopied) {
      std::array<std::byte, kCopied> bounce;
      got = data.Get(Bytes(bounce).first(want));
      if (got.ok()) sent = peer->OnData(ConstBytes(bounce).first(*got));
    } else {
      ByteView view{ByteChunk::Create(want)};
      got = data.Get(Bytes(view.chunk->data(), std::min(want, view.chunk->capacity())));
      if (got.ok()) {
        view.end = *got;
        sent = peer->OnChunk(std::move(view));
      }
    }
    if (!got.ok()) return stop(got.error());
    done += *got;
    if (!sent.ok()) {
      // The other end is closed: what was sent is lost, and its reset arrives.
      OnReset();
      return done;
    }
  }
  return done;
}

// --- receiving ---

Errno TcpEndpoint::NothingToReceive() {
  if (error_ != 0) return FromHostErrno(std::exchange(error_, 0));
  if (phase_ == Phase::kConnecting) return Errno::kEAGAIN;
  if (phase_ != Phase::kConnected) return Errno::kENOTCONN;
  return Errno::kEAGAIN;
}

Result<Received> TcpEndpoint::Receive(mm::IoSink& data, int flags, size_t low_water) {
  const bool peek = (flags & MSG_PEEK) != 0;
  std::vector<ByteView> views;
  Received r;
  Ref<TcpEndpoint> room_for;
  {
    MutexLock lock(mutex_);
    if (received_.size() == 0) {
      if (data.remaining() == 0 && phase_ != Phase::kListening) return r;
      if (fin_in_ && error_ == 0) return r;
      return NothingToReceive();
    }
    if (received_.size() < std::min(low_water, data.remaining()) && !fin_in_ && error_ == 0) {
      return Errno::kEAGAIN;
    }
    views = peek ? received_.Peek(data.remaining()) : received_.Take(data.remaining());
    if (!peek && sender_waits_ && WorthWriting(received_.size(), limit_)) {
      sender_waits_ = false;
      room_for = peer_;
    }
  }
  if (room_for != nullptr) room_for->queue_.Notify(kWritable);
  for (size_t i = 0; i < views.size(); i++) {
    ByteView& view = views[i];
    // tcp(7): "MSG_TRUNC … causes the received bytes of data to be discarded".
    Result<size_t> stored = view.size();
    if ((flags & MSG_TRUNC) == 0) stored = data.Put(view.bytes());
    size_t n = stored.ok() ? *stored : 0;
    r.length += n;
    view.begin += n;
    if (view.size() == 0) continue;
    if (!peek) {
      MutexLock lock(mutex_);
      received_.PutBack({views.begin() + static_cast<ptrdiff_t>(i), views.end()});
    }
    if (r.length == 0) return Errno::kEFAULT;
    break;
  }
  r.full_length = r.length;
  return r;
}

// --- readiness ---

bool TcpEndpoint::Writable(size_t send_limit) {
  MutexLock lock(mutex_);
  limit_ = receive_limit_ + send_limit;
  if (closed_ || WorthWriting(received_.size(), limit_)) return true;
  sender_waits_ = true;
  return false;
}

wait::EventMask TcpEndpoint::Poll(size_t send_limit, size_t low_water) {
  wait::EventMask ready = 0;
  Ref<TcpEndpoint> peer;
  {
    MutexLock lock(mutex_);
    if (error_ != 0) ready |= EPOLLERR;
    if (phase_ == Phase::kListening) return accept_queue_.empty() ? 0u : kReadable;
    if (phase_ == Phase::kConnecting) return ready;
    if (phase_ == Phase::kIdle || Finished()) ready |= EPOLLHUP;
    if (fin_in_) ready |= kReadable | EPOLLRDHUP;
    if (received_.size() >= low_water) ready |= kReadable;
    if (!fin_out_) peer = peer_;
  }
  if (peer == nullptr || peer->Writable(send_limit)) ready |= kWritable;
  return ready;
}

size_t TcpEndpoint::readable_bytes() const {
  MutexLock lock(mutex_);
  return received_.size();
}

size_t TcpEndpoint::unread_by_peer() const {
  Ref<TcpEndpoint> peer;
  {
    MutexLock lock(mutex_);
    peer = peer_;
  }
  return peer == nullptr ? 0 : peer->readable_bytes();
}

size_t TcpEndpoint::pending_connections() const {
  MutexLock lock(mutex_);
  return accept_queue_.size();
}

size_t TcpEndpoint::backlog() const {
  MutexLock lock(mutex_);
  return backlog_;
}

void TcpEndpoint::set_receive_limit(size_t bytes) {
  MutexLock lock(mutex_);
  receive_limit_ = bytes;
}

}  // namespace sandboxd::net
