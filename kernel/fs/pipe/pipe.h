// Pipes and fifos (pipe(7), fifo(7)).
#pragma once

#include <deque>
#include <memory>
#include <utility>

#include "kernel/vfs/file.h"
#include "kernel/vfs/pipe_end.h"
#include "kernel/vfs/vfs.h"
#include "kernel/wait/wait_queue.h"
#include "platform/base/mutex.h"

namespace sandboxd::pipe {

inline constexpr size_t kPipeBuf = 4096;           // PIPE_BUF: writes up to this are atomic
inline constexpr size_t kDefaultCapacity = 65536;  // bytes
inline constexpr size_t kMaxCapacity = 1 << 20;    // /proc/sys/fs/pipe-max-size

// The bytes between the ends. Not thread-safe: the pipe's mutex guards it.
class PipeBuffer {
 public:
  size_t size() const { return size_; }
  size_t capacity() const { return capacity_; }
  size_t space() const { return capacity_ - size_; }
  void Push(ConstBytes bytes, bool as_packet);
  // Copies from the head, not past the end of a packet there.
  size_t Peek(Bytes out) const;
  // Takes `n` bytes; with a packet at the head, all of the packet.
  void Pop(size_t n);
  bool packet_at_head() const { return !segments_.empty() && segments_.front().packet; }
  // EBUSY if it holds more.
  Result<void> SetCapacity(size_t bytes);
  void Clear();

 private:
  struct Segment {
    size_t length;
    bool packet;
  };
  void Reserve(size_t bytes);

  std::unique_ptr<std::byte[]> ring_;
  size_t allocated_ = 0;  // of ring_; grows up to capacity_
  size_t head_ = 0;
  size_t size_ = 0;
  size_t capacity_ = kDefaultCapacity;
  std::deque<Segment> segments_;  // empty: no packets, all one stream
};

class Pipe final : public RefCounted {
 public:
  enum class End : uint8_t { kRead = 1, kWrite = 2, kBoth = 3 };
  // A pipe without a name: opening it again through /proc/PID/fd waits for nobody.
  enum class Kind : uint8_t { kPipe, kFifo };

  explicit Pipe(Kind kind) : kind_(kind) {}
  Kind kind() const { return kind_; }

  void AddEnd(End end);
  void RemoveEnd(End end);  // wakes the other side; the last one out empties the pipe
  bool has_readers() const;

  // As File::Read and Write: EAGAIN, EPIPE.
  Result<size_t> Read(mm::IoSink& dst);
  Result<size_t> Write(mm::IoSource& src, bool packet);
  Result<size_t> Peek(Bytes dst);
  void Discard(size_t n);
  Result<size_t> Append(ConstBytes bytes);
  size_t Space() const;
  size_t Available() const;  // FIONREAD
  size_t capacity() const;
  Result<void> SetCapacity(size_t bytes);

  // `seen`: what Opens() gave when the asking end was opened.
  struct Opens {
    uint64_t readers = 0;
    uint64_t writers = 0;
  };
  Opens opens() const;
  wait::EventMask Poll(End end, const Opens& seen) const;
  // May an open of `end` return: is the other end there, or has it been since?
  bool OtherEndSeen(End end, const Opens& seen) const;
  wait::WaitQueue& queue() { return queue_; }

 private:
  static bool Has(End end, End which) {
    return (static_cast<int>(end) & static_cast<int>(which)) != 0;
  }

  const Kind kind_;
  // One reader at a time, over user memory access, as Linux's pipe->mutex: bytes leave the pipe
  // only when they have arrived (the stated exception to rule 23).
  Mutex read_mutex_{LockRank::kPipeReader};
  mutable Mutex mutex_{LockRank::kPipe};
  PipeBuffer buffer_ GUARDED_BY(mutex_);
  int readers_ GUARDED_BY(mutex_) = 0;
  int writers_ GUARDED_BY(mutex_) = 0;
  Opens opens_ GUARDED_BY(mutex_);  // how many there have ever been
  wait::WaitQueue queue_;
};

// One open end. A fifo opened O_RDWR is both.
class PipeFile final : public vfs::File, public vfs::PipeEnd {
 public:
  static constexpr char kTypeTag = 0;

  PipeFile(vfs::Path path, int flags, Ref<Pipe> pipe);

  Result<void> FinishOpen(vfs::Caller& c) override;
  Result<size_t> Read(vfs::Caller& c, mm::IoSink& dst) override;
  Result<size_t> Write(vfs::Caller& c, mm::IoSource& src,
                       const vfs::ReadWriteOptions& options) override;
  Result<uint64_t> Ioctl(vfs::Caller& c, uint32_t command, uint64_t argument) override;
  wait::EventMask Poll(wait::EventMask interest) override;
  bool pollable() const override { return true; }
  bool continues_writes() const override { return true; }
  void AddWaiter(wait::WaitEntry& entry, wait::EventMask mask, bool exclusive) override;
  std::string Describe() const override;
  const void* type_tag() const override { return &kTypeTag; }
  vfs::PipeEnd* pipe_end() override { return this; }

  // vfs::PipeEnd
  const void* pipe_identity() const override { return pipe_.get(); }
  Result<size_t> Peek(Bytes dst) override { return pipe_->Peek(dst); }
  void Discard(size_t n) override { pipe_->Discard(n); }
  Result<size_t> Append(ConstBytes bytes) override { return pipe_->Append(bytes); }
  Result<void> CheckReaders() const override {
    return pipe_->has_readers() ? Ok() : Result<void>(Errno::kEPIPE);
  }
  size_t Space() const override { return pipe_->Space(); }

  // F_GETPIPE_SZ and F_SETPIPE_SZ: EBUSY, EINVAL, EPERM above the maximum without
  // CAP_SYS_RESOURCE.
  size_t Capacity() const { return pipe_->capacity(); }
  Result<size_t> SetCapacity(vfs::Caller& c, uint64_t bytes);

 private:
  ~PipeFile() override;
  const Ref<Pipe> pipe_;
  const Pipe::End end_;
  Pipe::Opens seen_;  // set by the constructor
};

// pipe2(2): the read end and the write end. `flags`: O_NONBLOCK, O_DIRECT.
struct PipePair {
  Ref<vfs::File> read, write;
};
Result<PipePair> CreatePipe(vfs::Vfs& vfs, vfs::Caller& c, int flags);

// Opens fifos: for Vfs::SetFifoOpener. ENXIO for O_WRONLY|O_NONBLOCK without a reader.
Result<Ref<vfs::File>> OpenFifo(vfs::Caller& c, const vfs::Path& path, int flags);

}  // namespace sandboxd::pipe
