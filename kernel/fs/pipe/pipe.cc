#include "kernel/fs/pipe/pipe.h"

#include <sys/epoll.h>

#include <algorithm>
#include <array>

namespace sandboxd::pipe {

namespace {
constexpr size_t kChunk = 16 << 10;  // bounced through the stack at a time
constexpr wait::EventMask kReadable = EPOLLIN | EPOLLRDNORM;
constexpr wait::EventMask kWritable = EPOLLOUT | EPOLLWRNORM;
}  // namespace

void Pipe::AddEnd(End end) {
  {
    MutexLock lock(mutex_);
    if (Has(end, End::kRead)) {
      readers_++;
      opens_.readers++;
    }
    if (Has(end, End::kWrite)) {
      writers_++;
      opens_.writers++;
    }
  }
  // Whoever waits in open(2) for this end.
  queue_.Notify(kReadable | kWritable);
}

void Pipe::RemoveEnd(End end) {
  wait::EventMask events = 0;
  {
    MutexLock lock(mutex_);
    if (Has(end, End::kRead) && --readers_ == 0) events |= kWritable | EPOLLERR;
    if (Has(end, End::kWrite) && --writers_ == 0) events |= kReadable | EPOLLHUP;
    if (readers_ == 0 && writers_ == 0) buffer_.Clear();
  }
  if (events != 0) queue_.Notify(events);
}

bool Pipe::has_readers() const {
  MutexLock lock(mutex_);
  return readers_ > 0;
}

Result<size_t> Pipe::Read(mm::IoSink& dst) {
  if (dst.remaining() == 0) return size_t{0};
  std::array<std::byte, kChunk> bounce;
  size_t total = 0;
  MutexLock one_reader(read_mutex_);
  for (bool packet = false; dst.remaining() > 0 && !packet;) {
    size_t n;
    {
      MutexLock lock(mutex_);
      n = buffer_.Peek(Bytes(bounce).first(std::min(kChunk, dst.remaining())));
      packet = buffer_.packet_at_head();
      if (n == 0) {
        if (total > 0 || writers_ == 0) break;
        return Errno::kEAGAIN;
      }
    }
    if (packet && total > 0) break;
    Result<size_t> put = dst.Put(ConstBytes(bounce).first(n));
    if (!put.ok()) {
      if (total > 0) break;
      return put;
    }
    {
      MutexLock lock(mutex_);
      buffer_.Pop(*put);
    }
    total += *put;
    if (*put < n) break;
  }
  if (total > 0) queue_.Notify(kWritable);
  return total;
}

Result<size_t> Pipe::Write(mm::IoSource& src, bool packet) {
  std::array<std::byte, kChunk> bounce;
  size_t total = 0;
  Result<void> stopped = Ok();
  while (src.remaining() > 0) {
    size_t want = src.remaining();
    if (packet) want = std::min(want, kPipeBuf);
    bool atomic = want <= kPipeBuf && total == 0;
    auto room = [&]() REQUIRES(mutex_) -> Result<size_t> {
      if (readers_ == 0) return Errno::kEPIPE;
      size_t space = buffer_.space();
      if (space == 0 || ((atomic || packet) && space < want)) return Errno::kEAGAIN;
      return std::min({space, want, kChunk});
    };
    Result<size_t> n = [&] {
      MutexLock lock(mutex_);
      return room();
    }();
    if (!n.ok()) {
      stopped = n.error();
      break;
    }
    Result<size_t> got = src.Get(Bytes(bounce).first(*n));
    if (!got.ok()) {
      stopped = got.error();
      break;
    }
    size_t pushed = 0;
    {
      MutexLock lock(mutex_);
      Result<size_t> now = room();
      if (now.ok()) {
        pushed = std::min(*got, *now);
        buffer_.Push(ConstBytes(bounce).first(pushed), packet);
      }
    }
    if (pushed < *got) src.Unget(*got - pushed);
    if (pushed > 0) queue_.Notify(kReadable);
    total += pushed;
    if (*got < *n) break;  // memory ended
  }
  if (total > 0 || stopped.ok()) return total;
  return stopped.error();
}

Result<size_t> Pipe::Peek(Bytes dst) {
  MutexLock lock(mutex_);
  size_t n = buffer_.Peek(dst);
  if (n == 0 && writers_ > 0) return Errno::kEAGAIN;
  return n;
}

void Pipe::Discard(size_t n) {
  {
    MutexLock lock(mutex_);
    buffer_.Pop(n);
  }
  queue_.Notify(kWritable);
}

Result<size_t> Pipe::Append(ConstBytes bytes) {
  size_t n;
  {
    MutexLock lock(mutex_);
    if (readers_ == 0) return Errno::kEPIPE;
    n = std::min(bytes.size(), buffer_.space());
    if (n == 0) return Errno::kEAGAIN;
    buffer_.Push(bytes.first(n), /*as_packet=*/false);
  }
  queue_.Notify(kReadable);
  return n;
}

size_t Pipe::Space() const {
  MutexLock lock(mutex_);
  return buffer_.space();
}

size_t Pipe::Available() const {
  MutexLock lock(mutex_);
  return buffer_.size();
}

size_t Pipe::capacity() const {
  MutexLock lock(mutex_);
  return buffer_.capacity();
}

Result<void> Pipe::SetCapacity(size_t bytes) {
  {
    MutexLock lock(mutex_);
    TRY(buffer_.SetCapacity(bytes));
  }
  queue_.Notify(kWritable);
  return Ok();
}

Pipe::Opens Pipe::opens() const {
  MutexLock lock(mutex_);
  return opens_;
}

bool Pipe::OtherEndSeen(End end, const Opens& seen) const {
  MutexLock lock(mutex_);
  if (end == End::kBoth) return true;
  if (end == End::kRead) return writers_ > 0 || opens_.writers != seen.writers;
  return readers_ > 0 || opens_.readers != seen.readers;
}

wait::EventMask Pipe::Poll(End end, const Opens& seen) const {
  MutexLock lock(mutex_);
  wait::EventMask events = 0;
  if (Has(end, End::kRead)) {
    if (buffer_.size() > 0) events |= kReadable;
    // A fifo that has had no writer since it was opened is not hung up yet.
    if (writers_ == 0 && opens_.writers != seen.writers) events |= EPOLLHUP;
  }
  if (Has(end, End::kWrite)) {
    if (buffer_.space() >= kPipeBuf) events |= kWritable;
    if (readers_ == 0) events |= EPOLLERR;
  }
  return events;
}

}  // namespace sandboxd::pipe
