#include <algorithm>
#include <cstring>

#include "kernel/fs/pipe/pipe.h"

namespace sandboxd::pipe {

void PipeBuffer::Reserve(size_t bytes) {
  if (bytes <= allocated_) return;
  size_t grown = std::max(allocated_, kPipeBuf);
  while (grown < bytes) grown *= 2;
  auto ring = std::make_unique_for_overwrite<std::byte[]>(grown);
  size_t first = std::min(size_, allocated_ - head_);
  if (first > 0) memcpy(ring.get(), ring_.get() + head_, first);
  if (size_ > first) memcpy(ring.get() + first, ring_.get(), size_ - first);
  ring_ = std::move(ring);
  allocated_ = grown;
  head_ = 0;
}

void PipeBuffer::Push(ConstBytes bytes, bool as_packet) {
  if (bytes.empty()) return;
  Reserve(size_ + bytes.size());
  if (as_packet && segments_.empty() && size_ > 0) segments_.push_back({size_, false});
  if (as_packet) {
    segments_.push_back({bytes.size(), true});
  } else if (!segments_.empty()) {
    if (segments_.back().packet) segments_.push_back({0, false});
    segments_.back().length += bytes.size();
  }
  size_t tail = (head_ + size_) % allocated_;
  size_t first = std::min(bytes.size(), allocated_ - tail);
  memcpy(ring_.get() + tail, bytes.data(), first);
  memcpy(ring_.get(), bytes.data() + first, bytes.size() - first);
  size_ += bytes.size();
}

size_t PipeBuffer::Peek(Bytes out) const {
  size_t n = std::min(out.size(), segments_.empty() ? size_ : segments_.front().length);
  if (n == 0) return 0;
  size_t first = std::min(n, allocated_ - head_);
  memcpy(out.data(), ring_.get() + head_, first);
  memcpy(out.data() + first, ring_.get(), n - first);
  return n;
}

void PipeBuffer::Pop(size_t n) {
  if (packet_at_head()) n = segments_.front().length;
  n = std::min(n, size_);
  if (n == 0) return;
  head_ = (head_ + n) % allocated_;
  size_ -= n;
  for (size_t left = n; left > 0 && !segments_.empty();) {
    size_t part = std::min(left, segments_.front().length);
    segments_.front().length -= part;
    left -= part;
    if (segments_.front().length == 0) segments_.pop_front();
  }
}

Result<void> PipeBuffer::SetCapacity(size_t bytes) {
  if (size_ > bytes) return Errno::kEBUSY;
  capacity_ = bytes;
  return Ok();
}

void PipeBuffer::Clear() {
  ring_.reset();
  allocated_ = head_ = size_ = 0;
  segments_.clear();
}

}  // namespace sandboxd::pipe
