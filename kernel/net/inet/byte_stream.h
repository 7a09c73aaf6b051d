// ByteStream: the bytes that wait in a TCP socket's receive queue, in chunks that are filled once
// and then read in place. Taking hands out views that stay valid without the owner's lock, so that
// user memory is written with none held.
#pragma once

#include <deque>
#include <memory>
#include <vector>

#include "platform/base/ref.h"
#include "platform/base/types.h"

namespace sandboxd::net {

class ByteChunk : public RefCounted {
 public:
  static constexpr size_t kLargest = 64 << 10;
  // Room for `n` bytes or more; at most kLargest.
  static Ref<ByteChunk> Create(size_t n);
  size_t capacity() const { return capacity_; }
  std::byte* data() { return data_.get(); }

 private:
  template <typename T, typename... Args>
  friend Ref<T> sandboxd::MakeRef(Args&&...);
  explicit ByteChunk(size_t capacity);
  ~ByteChunk() override;
  const size_t capacity_;
  std::unique_ptr<std::byte[]> data_;
};

// Bytes of a chunk that nobody writes any more.
struct ByteView {
  Ref<ByteChunk> chunk;
  size_t begin = 0, end = 0;
  bool sealed = false;  // bytes behind `end` may be another reader's
  size_t size() const { return end - begin; }
  ConstBytes bytes() const { return {chunk->data() + begin, size()}; }
};

// Not thread-safe: the endpoint's mutex guards it.
class ByteStream {
 public:
  size_t size() const { return size_; }
  void Append(ByteView view);
  // A copy, for small pieces: they fill the last chunk up.
  void AppendCopy(ConstBytes bytes);
  // At most `max` bytes from the head, taken out or only looked at.
  std::vector<ByteView> Take(size_t max);
  std::vector<ByteView> Peek(size_t max) const;
  // What was taken last and could not be delivered.
  void PutBack(std::vector<ByteView> views);
  void Clear();

 private:
  std::deque<ByteView> views_;
  size_t size_ = 0;
};

}  // namespace sandboxd::net
