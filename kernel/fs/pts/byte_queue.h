// ByteQueue: a first-in first-out queue of bytes.
#pragma once

#include <algorithm>
#include <cstring>
#include <string>

#include "platform/base/types.h"

namespace sandboxd::pts {

class ByteQueue {
 public:
  size_t size() const { return bytes_.size() - head_; }
  bool empty() const { return size() == 0; }
  void Push(uint8_t byte) { bytes_.push_back(static_cast<char>(byte)); }
  // Takes up to `out.size()` bytes from the front.
  size_t Pop(Bytes out) {
    size_t n = std::min(out.size(), size());
    memcpy(out.data(), bytes_.data() + head_, n);
    head_ += n;
    if (head_ == bytes_.size()) {
      Clear();
    } else if (head_ > kCompactAt) {
      bytes_.erase(0, head_);
      head_ = 0;
    }
    return n;
  }
  void Clear() {
    bytes_.clear();
    head_ = 0;
  }

 private:
  static constexpr size_t kCompactAt = 4096;
  std::string bytes_;
  size_t head_ = 0;  // bytes before it have been taken
};

}  // namespace sandboxd::pts
