// read(2), write(2), readv(2), pread(2), preadv2(2) and lseek(2), with their relatives.
#include <fcntl.h>
#include <linux/fs.h>

#include <algorithm>

#include "kernel/net/socket.h"
#include "kernel/syscalls/blocking_io.h"
#include "kernel/syscalls/deadlines.h"
#include "kernel/syscalls/families.h"
#include "kernel/vfs/inode.h"

namespace sandboxd::syscalls {
namespace {

constexpr int kRwfNoAppend = 0x20;  // RWF_NOAPPEND, younger than our headers

// rw_verify_area: a count beyond SSIZE_MAX is EINVAL, beyond MAX_RW_COUNT it is cut.
Result<size_t> CheckCount(uint64_t count) {
  if (count > INT64_MAX) return Errno::kEINVAL;
  return std::min<uint64_t>(count, mm::kMaxRwCount);
}

enum class Direction : uint8_t { kRead, kWrite };

Transfer HowOf(vfs::File& file, Direction direction, std::optional<int64_t> at = std::nullopt) {
  Transfer how;
  // socket(7): SO_RCVTIMEO and SO_SNDTIMEO hold for read(2) and write(2) too.
  if (auto* socket = vfs::FileAs<net::Socket>(file)) {
    Nanos timeout =
        direction == Direction::kRead ? socket->receive_timeout() : socket->send_timeout();
    how.deadline = TimeoutDeadline(timeout);
  }
  how.at = at;
  how.nonblocking = file.nonblocking();
  how.options.sync = (file.flags() & O_SYNC) == O_SYNC;
  how.options.data_sync = (file.flags() & O_DSYNC) != 0;
  return how;
}

Result<Ref<vfs::File>> GetReadable(Task& t, FdNum fd) {
  Ref<vfs::File> file = TRY(t.files().GetForIo(fd));
  if (!file->readable()) return Errno::kEBADF;
  return file;
}

Result<Ref<vfs::File>> GetWritable(Task& t, FdNum fd) {
  Ref<vfs::File> file = TRY(t.files().GetForIo(fd));
  if (!file->writable()) return Errno::kEBADF;
  return file;
}

// For calls with an offset: it is checked before the descriptor, seekability before the mode.
Result<Ref<vfs::File>> GetSeekable(Task& t, FdNum fd, int64_t offset, uint64_t count = 0) {
  if (offset < 0) return Errno::kEINVAL;
  Ref<vfs::File> file = TRY(t.files().GetForIo(fd));
  if (!file->seekable()) return Errno::kESPIPE;
  // rw_verify_area: a transfer may not reach beyond the largest offset.
  if (count > INT64_MAX || !CheckedAdd(offset, static_cast<int64_t>(count))) return Errno::kEINVAL;
  return file;
}

Result<uint64_t> SysRead(Task& t, FdNum fd, UserAddr buffer, uint64_t count) {
  Ref<vfs::File> file = TRY(GetReadable(t, fd));
  mm::UserSink sink(t.memory(), buffer, TRY(CheckCount(count)));
  return ReadFile(t, *file, sink, HowOf(*file, Direction::kRead));
}

Result<uint64_t> SysWrite(Task& t, FdNum fd, UserAddr buffer, uint64_t count) {
  Ref<vfs::File> file = TRY(GetWritable(t, fd));
  mm::UserSource source(t.memory(), buffer, TRY(CheckCount(count)));
  return WriteFile(t, *file, source, HowOf(*file, Direction::kWrite));
}

Result<uint64_t> SysPread64(Task& t, FdNum fd, UserAddr buffer, uint64_t count, int64_t offset) {
  Ref<vfs::File> file = TRY(GetSeekable(t, fd, offset, count));
  if (!file->readable()) return Errno::kEBADF;
  mm::UserSink sink(t.memory(), buffer, TRY(CheckCount(count)));
  return ReadFile(t, *file, sink, HowOf(*file, Direction::kRead, offset));
}

Result<uint64_t> SysPwrite64(Task& t, FdNum fd, UserAddr buffer, uint64_t count, int64_t offset) {
  Ref<vfs::File> file = TRY(GetSeekable(t, fd, offset, count));
  if (!file->writable()) return Errno::kEBADF;
  mm::UserSource source(t.memory(), buffer, TRY(CheckCount(count)));
  return WriteFile(t, *file, source, HowOf(*file, Direction::kWrite, offset));
}

Result<uint64_t> SysReadv(Task& t, FdNum fd, UserAddr iov, uint64_t iovcnt) {
  Ref<vfs::File> file = TRY(GetReadable(t, fd));
  mm::UserSink sink(t.memory(), TRY(t.memory().ReadIoVec(iov, iovcnt)));
  return ReadFile(t, *file, sink, HowOf(*file, Direction::kRead));
}

Result<uint64_t> SysWritev(Task& t, FdNum fd, UserAddr iov, uint64_t iovcnt) {
  Ref<vfs::File> file = TRY(GetWritable(t, fd));
  mm::UserSource source(t.memory(), TRY(t.memory().ReadIoVec(iov, iovcnt)));
  return WriteFile(t, *file, source, HowOf(*file, Direction::kWrite));
}

// preadv2(2): "EOPNOTSUPP: an unknown flag is specified in flags".
Result<void> ApplyRwf(int32_t flags, bool write, Transfer& how) {
  int known = RWF_HIPRI | RWF_NOWAIT;
  if (write) known |= RWF_DSYNC | RWF_SYNC | RWF_APPEND | kRwfNoAppend;
  if ((flags & ~known) != 0) return Errno::kEOPNOTSUPP;
  if ((flags & RWF_APPEND) != 0 && (flags & kRwfNoAppend) != 0) return Errno::kEINVAL;
  how.nonblocking = how.nonblocking || (flags & RWF_NOWAIT) != 0;
  how.options.append = (flags & RWF_APPEND) != 0;
  how.options.no_append = (flags & kRwfNoAppend) != 0;
  how.options.sync = how.options.sync || (flags & RWF_SYNC) != 0;
  how.options.data_sync = how.options.data_sync || (flags & RWF_DSYNC) != 0;
  return Ok();
}

// The offset comes in two halves; on x86-64 the low one has it all.
Result<uint64_t> SysPreadv2(Task& t, FdNum fd, UserAddr iov, uint64_t iovcnt, int64_t offset,
                            uint64_t, int32_t flags) {
  bool at_position = offset == -1;
  Ref<vfs::File> file = TRY(at_position ? t.files().GetForIo(fd) : GetSeekable(t, fd, offset));
  if (!file->readable()) return Errno::kEBADF;
  Transfer how =
      HowOf(*file, Direction::kRead, at_position ? std::nullopt : std::optional<int64_t>(offset));
  mm::UserSink sink(t.memory(), TRY(t.memory().ReadIoVec(iov, iovcnt)));
  TRY(ApplyRwf(flags, /*write=*/false, how));
  return ReadFile(t, *file, sink, how);
}

Result<uint64_t> SysPwritev2(Task& t, FdNum fd, UserAddr iov, uint64_t iovcnt, int64_t offset,
                             uint64_t, int32_t flags) {
  bool at_position = offset == -1;
  Ref<vfs::File> file = TRY(at_position ? t.files().GetForIo(fd) : GetSeekable(t, fd, offset));
  if (!file->writable()) return Errno::kEBADF;
  Transfer how =
      HowOf(*file, Direction::kWrite, at_position ? std::nullopt : std::optional<int64_t>(offset));
  mm::UserSource source(t.memory(), TRY(t.memory().ReadIoVec(iov, iovcnt)));
  TRY(ApplyRwf(flags, /*write=*/true, how));
  return WriteFile(t, *file, source, how);
}

Result<uint64_t> SysPreadv(Task& t, FdNum fd, UserAddr iov, uint64_t iovcnt, int64_t offset,
                           uint64_t high) {
  if (offset < 0) return Errno::kEINVAL;
  return SysPreadv2(t, fd, iov, iovcnt, offset, high, 0);
}

Result<uint64_t> SysPwritev(Task& t, FdNum fd, UserAddr iov, uint64_t iovcnt, int64_t offset,
                            uint64_t high) {
  if (offset < 0) return Errno::kEINVAL;
  return SysPwritev2(t, fd, iov, iovcnt, offset, high, 0);
}

Result<uint64_t> SysLseek(Task& t, FdNum fd, int64_t offset, int32_t whence) {
  Ref<vfs::File> file = TRY(t.files().GetForIo(fd));
  if (whence < SEEK_SET || whence > SEEK_HOLE) return Errno::kEINVAL;
  return static_cast<uint64_t>(TRY(file->Seek(t, offset, whence)));
}

constexpr Row kRows[] = {
    Full<SysRead>(SYS_read, "read"),
    Full<SysWrite>(SYS_write, "write"),
    Full<SysPread64>(SYS_pread64, "pread64"),
    Full<SysPwrite64>(SYS_pwrite64, "pwrite64"),
    Full<SysReadv>(SYS_readv, "readv"),
    Full<SysWritev>(SYS_writev, "writev"),
    Full<SysPreadv>(SYS_preadv, "preadv"),
    Full<SysPwritev>(SYS_pwritev, "pwritev"),
    Partial<SysPreadv2>(SYS_preadv2, "preadv2", "RWF_HIPRI is a hint that changes nothing"),
    Partial<SysPwritev2>(SYS_pwritev2, "pwritev2", "RWF_HIPRI is a hint that changes nothing"),
    Full<SysLseek>(SYS_lseek, "lseek"),
};

}  // namespace

std::span<const Row> ReadWriteRows() { return kRows; }

}  // namespace sandboxd::syscalls
