#include "kernel/net/inet/byte_stream.h"

#include <algorithm>
#include <cstring>

#include "platform/base/mutex.h"

namespace sandboxd::net {
namespace {

constexpr size_t kSmallest = 2048;

// Large chunks come and go at the speed of a bulk transfer: a few are kept, with their pages.
class ChunkPool {
 public:
  std::unique_ptr<std::byte[]> Get() {
    {
      MutexLock lock(mutex_);
      if (!free_.empty()) {
        auto memory = std::move(free_.back());
        free_.pop_back();
        return memory;
      }
    }
    return std::unique_ptr<std::byte[]>(new std::byte[ByteChunk::kLargest]);
  }
  void Put(std::unique_ptr<std::byte[]> memory) {
    MutexLock lock(mutex_);
    if (free_.size() < kKept) free_.push_back(std::move(memory));
  }

 private:
  static constexpr size_t kKept = 8;
  Mutex mutex_{LockRank::kLeaf};
  std::vector<std::unique_ptr<std::byte[]>> free_ GUARDED_BY(mutex_);
};

ChunkPool& Pool() {
  static ChunkPool& pool = *new ChunkPool;  // chunks may outlive every static
  return pool;
}

}  // namespace

Ref<ByteChunk> ByteChunk::Create(size_t n) {
  size_t capacity = kSmallest;
  while (capacity < n && capacity < kLargest) capacity *= 2;
  return MakeRef<ByteChunk>(capacity);
}

ByteChunk::ByteChunk(size_t capacity)
    : capacity_(capacity), data_(capacity == kLargest ? Pool().Get() : nullptr) {
  if (data_ == nullptr) data_.reset(new std::byte[capacity]);
}

ByteChunk::~ByteChunk() {
  if (capacity_ == kLargest) Pool().Put(std::move(data_));
}

void ByteStream::Append(ByteView view) {
  size_ += view.size();
  views_.push_back(std::move(view));
}

void ByteStream::AppendCopy(ConstBytes bytes) {
  size_ += bytes.size();
  // Bytes behind the end of the last view are nobody's yet.
  if (!views_.empty() && !views_.back().sealed) {
    ByteView& last = views_.back();
    size_t n = std::min(bytes.size(), last.chunk->capacity() - last.end);
    memcpy(last.chunk->data() + last.end, bytes.data(), n);
    last.end += n;
    bytes = bytes.subspan(n);
  }
  while (!bytes.empty()) {
    // The more there is, the larger the pieces.
    ByteView view{ByteChunk::Create(std::max(bytes.size(), size_))};
    size_t n = std::min(bytes.size(), view.chunk->capacity());
    memcpy(view.chunk->data(), bytes.data(), n);
    view.end = n;
    bytes = bytes.subspan(n);
    views_.push_back(std::move(view));
  }
}

std::vector<ByteView> ByteStream::Peek(size_t max) const {
  std::vector<ByteView> out;
  for (const ByteView& view : views_) {
    if (max == 0) break;
    size_t n = std::min(max, view.size());
    out.push_back({view.chunk, view.begin, view.begin + n});
    max -= n;
  }
  return out;
}

std::vector<ByteView> ByteStream::Take(size_t max) {
  std::vector<ByteView> out;
  while (max > 0 && !views_.empty()) {
    ByteView& head = views_.front();
    size_t n = std::min(max, head.size());
    size_ -= n;
    max -= n;
    if (n == head.size()) {
      out.push_back(std::move(head));
      views_.pop_front();
    } else {
      out.push_back({head.chunk, head.begin, head.begin + n});
      head.begin += n;
    }
  }
  return out;
}

void ByteStream::PutBack(std::vector<ByteView> views) {
  for (auto view = views.rbegin(); view != views.rend(); ++view) {
    if (view->size() == 0) continue;
    size_ += view->size();
    view->sealed = true;
    views_.push_front(std::move(*view));
  }
}

void ByteStream::Clear() {
  views_.clear();
  size_ = 0;
}

}  // namespace sandboxd::net
