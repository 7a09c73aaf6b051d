// Where the bytes of a transfer come from and go to. A file's read fills an IoSink, its write
// drains an IoSource; behind them is user memory (one range or an iovec), or a buffer of the kernel
// (sendfile, exec, coredump).
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "platform/base/result.h"
#include "platform/base/types.h"

namespace sandboxd::mm {

class IoSink {
 public:
  // Bytes that still fit.
  size_t remaining() const { return remaining_; }
  // Appends; the count taken is less than given when the sink is full or memory ends. EFAULT only
  // if nothing of a non-empty `bytes` could be stored.
  Result<size_t> Put(ConstBytes bytes) {
    size_t want = std::min(bytes.size(), remaining_);
    if (want == 0) return size_t{0};
    size_t n = DoPut(bytes.first(want));
    if (n == 0) return Errno::kEFAULT;
    remaining_ -= n;
    return n;
  }
  // If the next bytes go to contiguous memory of our own, a window on it (a file can then read the
  // host straight into it) and Commit(n) afterwards; empty otherwise.
  virtual Bytes Window() { return {}; }
  void Commit(size_t n) {
    DoCommit(n);
    remaining_ -= n;
  }

 protected:
  explicit IoSink(size_t total) : remaining_(total) {}
  ~IoSink() = default;
  virtual size_t DoPut(ConstBytes bytes) = 0;
  virtual void DoCommit(size_t) {}

 private:
  size_t remaining_;
};

class IoSource {
 public:
  size_t remaining() const { return remaining_; }
  // Takes bytes out; fewer than asked when the source or readable memory ends. EFAULT only if none
  // of a non-empty request could be read.
  Result<size_t> Get(Bytes out) {
    size_t want = std::min(out.size(), remaining_);
    if (want == 0) return size_t{0};
    size_t n = DoGet(out.first(want));
    if (n == 0) return Errno::kEFAULT;
    remaining_ -= n;
    return n;
  }
  // Puts the last `n` bytes taken back in front (a write that moved fewer than it took).
  void Unget(size_t n) {
    DoUnget(n);
    remaining_ += n;
  }

 protected:
  explicit IoSource(size_t total) : remaining_(total) {}
  ~IoSource() = default;
  virtual size_t DoGet(Bytes out) = 0;
  virtual void DoUnget(size_t n) = 0;

 private:
  size_t remaining_;
};

class BufferSink final : public IoSink {
 public:
  explicit BufferSink(Bytes buffer) : IoSink(buffer.size()), rest_(buffer) {}
  Bytes Window() override { return rest_; }

 protected:
  size_t DoPut(ConstBytes bytes) override {
    memcpy(rest_.data(), bytes.data(), bytes.size());
    rest_ = rest_.subspan(bytes.size());
    return bytes.size();
  }
  void DoCommit(size_t n) override { rest_ = rest_.subspan(n); }

 private:
  Bytes rest_;
};

class BufferSource final : public IoSource {
 public:
  explicit BufferSource(ConstBytes buffer) : IoSource(buffer.size()), all_(buffer) {}

 protected:
  size_t DoGet(Bytes out) override {
    memcpy(out.data(), all_.data() + used_, out.size());
    used_ += out.size();
    return out.size();
  }
  void DoUnget(size_t n) override { used_ -= n; }

 private:
  ConstBytes all_;
  size_t used_ = 0;
};

}  // namespace sandboxd::mm
