// PipeEnd: what splice(2), tee(2) and vmsplice(2) need to know of a pipe. kernel/fs/pipe implements
// it.
#pragma once

#include <cstdint>

#include "kernel/mm/io.h"
#include "kernel/wait/wait_queue.h"
#include "platform/base/result.h"

namespace sandboxd::vfs {

class PipeEnd {
 public:
  // The pipe itself: two ends are of one pipe if these are equal.
  virtual const void* pipe_identity() const = 0;
  // Copies up to `dst.size()` bytes from the head without taking them. EAGAIN if empty and there is
  // a writer; 0 if empty and there is none.
  virtual Result<size_t> Peek(Bytes dst) = 0;
  // Takes up to `n` bytes from the head.
  virtual void Discard(size_t n) = 0;
  // Appends what fits. EAGAIN if full, EPIPE without readers.
  virtual Result<size_t> Append(ConstBytes bytes) = 0;
  // EPIPE without readers.
  virtual Result<void> CheckReaders() const = 0;
  // Room for Append.
  virtual size_t Space() const = 0;

 protected:
  ~PipeEnd() = default;
};

}  // namespace sandboxd::vfs
