// sendfile(2), copy_file_range(2), splice(2), tee(2), vmsplice(2): bytes from file to file through
// a buffer of the kernel.
#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>

#include <algorithm>
#include <memory>

#include "kernel/syscalls/blocking_io.h"
#include "kernel/syscalls/families.h"
#include "kernel/vfs/inode.h"
#include "kernel/vfs/pipe_end.h"

namespace sandboxd::syscalls {
namespace {

constexpr size_t kChunk = 64 << 10;
constexpr wait::EventMask kIn = EPOLLIN | EPOLLRDNORM;
constexpr uint32_t kSpliceFlags = SPLICE_F_MOVE | SPLICE_F_NONBLOCK | SPLICE_F_MORE | SPLICE_F_GIFT;

// Where one side of a copy reads or writes: at an offset of the caller's, or at the file position.
struct Side {
  vfs::File& file;
  std::optional<int64_t> offset;

  Result<size_t> Read(Task& t, Bytes buffer, bool nonblocking) {
    mm::BufferSink sink(buffer);
    Transfer how{.at = offset, .nonblocking = nonblocking || file.nonblocking()};
    size_t n = TRY(ReadFile(t, file, sink, how));
    if (offset) *offset += static_cast<int64_t>(n);
    return n;
  }
  Result<size_t> Write(Task& t, ConstBytes bytes, bool nonblocking) {
    mm::BufferSource source(bytes);
    Transfer how{.at = offset, .nonblocking = nonblocking || file.nonblocking()};
    size_t n = TRY(WriteFile(t, file, source, how));
    if (offset) *offset += static_cast<int64_t>(n);
    return n;
  }
  // Takes back `n` bytes that were read and found no place. Only for seekable files.
  void Unread(Task& t, size_t n) {
    int64_t back = static_cast<int64_t>(n);
    if (offset) {
      *offset -= back;
    } else {
      (void)file.Seek(t, -back, SEEK_CUR);
    }
  }
};

// A count with the error that stopped it: bytes moved win.
Result<uint64_t> Settle(uint64_t total, Errno e) {
  return total > 0 ? Result<uint64_t>(total) : Result<uint64_t>(e);
}

// From a seekable file to anywhere, in chunks.
Result<uint64_t> CopyFromFile(Task& t, Side from, Side to, uint64_t count, bool nonblocking) {
  auto buffer = std::make_unique_for_overwrite<std::byte[]>(std::min<uint64_t>(count, kChunk));
  uint64_t total = 0;
  while (total < count) {
    size_t want = std::min<uint64_t>(count - total, kChunk);
    Result<size_t> got = from.Read(t, Bytes(buffer.get(), want), nonblocking);
    if (!got.ok()) return Settle(total, got.error());
    if (*got == 0) break;
    Result<size_t> put = to.Write(t, ConstBytes(buffer.get(), *got), nonblocking);
    if (size_t lost = *got - (put.ok() ? *put : 0); lost > 0) from.Unread(t, lost);
    if (!put.ok()) return Settle(total, put.error());
    total += *put;
    if (*put < *got) break;
  }
  return total;
}

Result<std::optional<int64_t>> ReadOffset(Task& t, UserAddr addr) {
  if (addr.null()) return std::optional<int64_t>();
  return std::optional<int64_t>(TRY(t.memory().Read<int64_t>(addr)));
}

// rw_verify_area: a transfer may not reach beyond the largest offset.
Result<void> CheckEnd(int64_t offset, uint64_t count) {
  if (count > INT64_MAX || !CheckedAdd(offset, static_cast<int64_t>(count))) return Errno::kEINVAL;
  return Ok();
}

Result<uint64_t> SysSendfile(Task& t, FdNum out_fd, FdNum in_fd, UserAddr offset_addr,
                             uint64_t count) {
  std::optional<int64_t> offset = TRY(ReadOffset(t, offset_addr));
  Ref<vfs::File> in = TRY(t.files().GetForIo(in_fd));
  if (!in->readable()) return Errno::kEBADF;
  if (offset && !in->seekable()) return Errno::kESPIPE;
  if (offset && *offset < 0) return Errno::kEINVAL;
  Ref<vfs::File> out = TRY(t.files().GetForIo(out_fd));
  if (!out->writable()) return Errno::kEBADF;
  if (!in->seekable() || in->inode()->IsDirectory()) return Errno::kEINVAL;
  // sendfile(2): "EINVAL: out_fd has the O_APPEND flag set".
  if ((out->flags() & O_APPEND) != 0) return Errno::kEINVAL;
  int64_t start = offset ? *offset : in->position();
  TRY(CheckEnd(start, count));
  if (out->seekable()) TRY(CheckEnd(out->position(), count));
  count = std::min<uint64_t>(count, mm::kMaxRwCount);
  uint64_t n = TRY(CopyFromFile(t, {*in, offset}, {*out, std::nullopt}, count, false));
  if (offset) TRY(t.memory().Write<int64_t>(offset_addr, start + static_cast<int64_t>(n)));
  return n;
}

Result<uint64_t> SysCopyFileRange(Task& t, FdNum in_fd, UserAddr in_addr, FdNum out_fd,
                                  UserAddr out_addr, uint64_t count, uint32_t flags) {
  Ref<vfs::File> in = TRY(t.files().GetForIo(in_fd));
  Ref<vfs::File> out = TRY(t.files().GetForIo(out_fd));
  std::optional<int64_t> in_offset = TRY(ReadOffset(t, in_addr));
  std::optional<int64_t> out_offset = TRY(ReadOffset(t, out_addr));
  if (flags != 0) return Errno::kEINVAL;
  for (vfs::File* file : {in.get(), out.get()}) {
    if (file->inode()->IsDirectory()) return Errno::kEISDIR;
    if (!file->inode()->IsRegular()) return Errno::kEINVAL;
  }
  if (!in->readable() || !out->writable() || (out->flags() & O_APPEND) != 0) return Errno::kEBADF;
  int64_t from = in_offset ? *in_offset : in->position();
  int64_t to = out_offset ? *out_offset : out->position();
  if (from < 0 || to < 0) return Errno::kEINVAL;
  count = std::min<uint64_t>(count, mm::kMaxRwCount);
  int64_t length = static_cast<int64_t>(count);
  if (!CheckedAdd(from, length) || !CheckedAdd(to, length)) return Errno::kEOVERFLOW;
  bool overlap = from < to + length && to < from + length;
  if (in->inode() == out->inode() && overlap) return Errno::kEINVAL;
  uint64_t n = TRY(CopyFromFile(t, {*in, in_offset}, {*out, out_offset}, count, false));
  int64_t moved = static_cast<int64_t>(n);
  if (in_offset) TRY(t.memory().Write<int64_t>(in_addr, from + moved));
  if (out_offset) TRY(t.memory().Write<int64_t>(out_addr, to + moved));
  return n;
}

// From a pipe to anywhere: bytes leave the pipe only when they have a place.
Result<uint64_t> SpliceFromPipe(Task& t, vfs::File& pipe, Side to, uint64_t count,
                                bool nonblocking) {
  vfs::PipeEnd& end = *pipe.pipe_end();
  auto buffer = std::make_unique_for_overwrite<std::byte[]>(std::min<uint64_t>(count, kChunk));
  uint64_t total = 0;
  while (total < count) {
    Bytes window(buffer.get(), std::min<uint64_t>(count - total, kChunk));
    // Once something has moved, what is not there yet is not waited for.
    Result<size_t> got =
        Blocking(t, pipe, kIn, nonblocking || total > 0, {}, [&] { return end.Peek(window); });
    if (!got.ok()) return Settle(total, got.error());
    if (*got == 0) break;
    const ConstBytes bytes(buffer.get(), *got);
    vfs::PipeEnd* target = to.file.pipe_end();
    // Into another pipe goes what fits; only the first byte is waited for.
    Result<size_t> put =
        target != nullptr
            ? Blocking(t, to.file, EPOLLOUT, nonblocking || to.file.nonblocking() || total > 0, {},
                       [&] { return target->Append(bytes); })
            : to.Write(t, bytes, nonblocking);
    if (target != nullptr && put.Is(Errno::kEPIPE)) t.SendSignalToSelf(SIGPIPE);
    if (!put.ok()) return Settle(total, put.error());
    end.Discard(*put);
    total += *put;
    if (*put < *got) break;
  }
  return total;
}

// From anywhere to a pipe: what fits, waiting only for the first byte.
Result<uint64_t> SpliceToPipe(Task& t, Side from, vfs::File& pipe, uint64_t count,
                              bool nonblocking) {
  vfs::PipeEnd& end = *pipe.pipe_end();
  Result<size_t> space = Blocking(t, pipe, EPOLLOUT, nonblocking, {}, [&]() -> Result<size_t> {
    TRY(end.CheckReaders());
    size_t n = end.Space();
    if (n == 0) return Errno::kEAGAIN;
    return n;
  });
  if (space.Is(Errno::kEPIPE)) t.SendSignalToSelf(SIGPIPE);
  size_t want = std::min<uint64_t>({TRY(std::move(space)), count, kChunk});
  auto buffer = std::make_unique_for_overwrite<std::byte[]>(want);
  size_t got = TRY(from.Read(t, Bytes(buffer.get(), want), nonblocking));
  if (got == 0) return uint64_t{0};
  Side to{pipe, std::nullopt};
  return uint64_t{TRY(to.Write(t, ConstBytes(buffer.get(), got), false))};
}

Result<uint64_t> SysSplice(Task& t, FdNum in_fd, UserAddr in_addr, FdNum out_fd, UserAddr out_addr,
                           uint64_t count, uint32_t flags) {
  if ((flags & ~kSpliceFlags) != 0) return Errno::kEINVAL;
  if (count == 0) return uint64_t{0};
  Ref<vfs::File> in = TRY(t.files().GetForIo(in_fd));
  Ref<vfs::File> out = TRY(t.files().GetForIo(out_fd));
  bool from_pipe = in->pipe_end() != nullptr, to_pipe = out->pipe_end() != nullptr;
  if ((from_pipe && !in_addr.null()) || (to_pipe && !out_addr.null())) return Errno::kESPIPE;
  if (!in->readable() || !out->writable()) return Errno::kEBADF;
  if (!from_pipe && !to_pipe) return Errno::kEINVAL;
  std::optional<int64_t> offset = TRY(ReadOffset(t, from_pipe ? out_addr : in_addr));
  UserAddr offset_addr = from_pipe ? out_addr : in_addr;
  if (offset && !(from_pipe ? out : in)->seekable()) return Errno::kEINVAL;
  if (offset && *offset < 0) return Errno::kEINVAL;
  if (offset) TRY(CheckEnd(*offset, count));
  if ((out->flags() & O_APPEND) != 0 && !to_pipe) return Errno::kEINVAL;
  count = std::min<uint64_t>(count, mm::kMaxRwCount);
  bool nonblocking = (flags & SPLICE_F_NONBLOCK) != 0;
  uint64_t n;
  if (from_pipe) {
    if (to_pipe && in->pipe_end()->pipe_identity() == out->pipe_end()->pipe_identity())
      return Errno::kEINVAL;
    n = TRY(SpliceFromPipe(t, *in, {*out, offset}, count, nonblocking || in->nonblocking()));
  } else {
    n = TRY(SpliceToPipe(t, {*in, offset}, *out, count, nonblocking || out->nonblocking()));
  }
  if (offset) TRY(t.memory().Write<int64_t>(offset_addr, *offset + static_cast<int64_t>(n)));
  return n;
}

Result<uint64_t> SysTee(Task& t, FdNum in_fd, FdNum out_fd, uint64_t count, uint32_t flags) {
  if ((flags & ~kSpliceFlags) != 0) return Errno::kEINVAL;
  if (count == 0) return uint64_t{0};
  Ref<vfs::File> in = TRY(t.files().GetForIo(in_fd));
  Ref<vfs::File> out = TRY(t.files().GetForIo(out_fd));
  if (!in->readable() || !out->writable()) return Errno::kEBADF;
  vfs::PipeEnd* from = in->pipe_end();
  vfs::PipeEnd* to = out->pipe_end();
  if (from == nullptr || to == nullptr || from->pipe_identity() == to->pipe_identity())
    return Errno::kEINVAL;
  bool nonblocking = (flags & SPLICE_F_NONBLOCK) != 0;
  size_t size = std::min<uint64_t>(count, kChunk);
  auto buffer = std::make_unique_for_overwrite<std::byte[]>(size);
  size_t got = TRY(Blocking(t, *in, kIn, nonblocking || in->nonblocking(), {},
                            [&] { return from->Peek(Bytes(buffer.get(), size)); }));
  if (got == 0) return uint64_t{0};
  Result<size_t> put = Blocking(t, *out, EPOLLOUT, nonblocking || out->nonblocking(), {},
                                [&] { return to->Append(ConstBytes(buffer.get(), got)); });
  if (put.Is(Errno::kEPIPE)) t.SendSignalToSelf(SIGPIPE);
  return uint64_t{TRY(std::move(put))};
}

Result<uint64_t> SysVmsplice(Task& t, FdNum fd, UserAddr iov, uint64_t iovcnt, uint32_t flags) {
  if ((flags & ~kSpliceFlags) != 0) return Errno::kEINVAL;
  Ref<vfs::File> file = TRY(t.files().GetForIo(fd));
  if (file->pipe_end() == nullptr) return Errno::kEBADF;
  Transfer how{.nonblocking = (flags & SPLICE_F_NONBLOCK) != 0 || file->nonblocking()};
  auto vec = TRY(t.memory().ReadIoVec(iov, iovcnt));
  if (file->writable()) {
    mm::UserSource source(t.memory(), std::move(vec));
    return WriteFile(t, *file, source, how);
  }
  mm::UserSink sink(t.memory(), std::move(vec));
  return ReadFile(t, *file, sink, how);
}

constexpr Row kRows[] = {
    Full<SysSendfile>(SYS_sendfile, "sendfile"),
    Full<SysCopyFileRange>(SYS_copy_file_range, "copy_file_range"),
    Partial<SysSplice>(SYS_splice, "splice", "copies; SPLICE_F_MOVE, MORE and GIFT are hints"),
    Partial<SysTee>(SYS_tee, "tee", "copies, at most 64 KiB a call"),
    Partial<SysVmsplice>(SYS_vmsplice, "vmsplice", "copies: later changes of the pages don't show"),
};

}  // namespace

std::span<const Row> SpliceRows() { return kRows; }

}  // namespace sandboxd::syscalls
