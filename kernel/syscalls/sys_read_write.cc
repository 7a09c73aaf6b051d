// read(2), write(2), their vector and positional relatives, and lseek(2).
#include <fcntl.h>
#include <linux/fs.h>
#include <unistd.h>

#include "kernel/syscalls/blocking_io.h"
#include "kernel/syscalls/families.h"
#include "kernel/vfs/fd_table.h"

namespace sandboxd::syscalls {
namespace {

Result<Ref<vfs::File>> ReadableFile(Task& t, FdNum fd) {
  Ref<vfs::File> file = TRY(t.files().GetForIo(fd));
  if (!file->readable()) return Errno::kEBADF;
  return file;
}

Result<Ref<vfs::File>> WritableFile(Task& t, FdNum fd) {
  Ref<vfs::File> file = TRY(t.files().GetForIo(fd));
  if (!file->writable()) return Errno::kEBADF;
  return file;
}

// access_ok(): a range that leaves the address space is a fault whatever is mapped.
Result<size_t> CheckBuffer(UserAddr buffer, uint64_t count) {
  auto end = CheckedAdd<uint64_t>(buffer.value, count);
  if (!end || *end > platform::kApplicationEnd.value) return Errno::kEFAULT;
  return static_cast<size_t>(std::min<uint64_t>(count, mm::kMaxRwCount));
}

vfs::ReadWriteOptions OptionsOf(const vfs::File& file, int rwf = 0) {
  vfs::ReadWriteOptions options;
  options.append = (rwf & RWF_APPEND) != 0;
  options.sync = (file.flags() & O_SYNC) == O_SYNC || (rwf & RWF_SYNC) != 0;
  options.data_sync = (file.flags() & O_DSYNC) != 0 || (rwf & RWF_DSYNC) != 0;
  return options;
}

Result<uint64_t> SysRead(Task& t, FdNum fd, UserAddr buffer, uint64_t count) {
  Ref<vfs::File> file = TRY(ReadableFile(t, fd));
  size_t n = TRY(CheckBuffer(buffer, count));
  mm::UserSink sink(t.memory(), buffer, n);
  return BlockingRead(t, *file, sink, file->nonblocking());
}

Result<uint64_t> SysWrite(Task& t, FdNum fd, UserAddr buffer, uint64_t count) {
  Ref<vfs::File> file = TRY(WritableFile(t, fd));
  size_t n = TRY(CheckBuffer(buffer, count));
  mm::UserSource source(t.memory(), buffer, n);
  return BlockingWrite(t, *file, source, OptionsOf(*file), file->nonblocking());
}

Result<uint64_t> SysReadv(Task& t, FdNum fd, UserAddr iov, uint64_t iovcnt) {
  Ref<vfs::File> file = TRY(ReadableFile(t, fd));
  mm::UserSink sink(t.memory(), TRY(t.memory().ReadIoVec(iov, iovcnt)));
  return BlockingRead(t, *file, sink, file->nonblocking());
}

Result<uint64_t> SysWritev(Task& t, FdNum fd, UserAddr iov, uint64_t iovcnt) {
  Ref<vfs::File> file = TRY(WritableFile(t, fd));
  mm::UserSource source(t.memory(), TRY(t.memory().ReadIoVec(iov, iovcnt)));
  return BlockingWrite(t, *file, source, OptionsOf(*file), file->nonblocking());
}

Result<uint64_t> ReadAtOffset(Task& t, vfs::File& file, mm::IoSink& sink, int64_t offset) {
  if (!file.seekable()) return Errno::kESPIPE;
  if (!file.readable()) return Errno::kEBADF;
  size_t n = TRY(file.ReadAt(t, sink, offset));
  return uint64_t{n};
}

Result<uint64_t> WriteAtOffset(Task& t, vfs::File& file, mm::IoSource& source, int64_t offset,
                               const vfs::ReadWriteOptions& options) {
  if (!file.seekable()) return Errno::kESPIPE;
  if (!file.writable()) return Errno::kEBADF;
  size_t n = TRY(file.WriteAt(t, source, offset, options));
  return uint64_t{n};
}

Result<uint64_t> SysPread64(Task& t, FdNum fd, UserAddr buffer, uint64_t count, int64_t offset) {
  if (offset < 0) return Errno::kEINVAL;
  Ref<vfs::File> file = TRY(t.files().GetForIo(fd));
  size_t n = TRY(CheckBuffer(buffer, count));
  mm::UserSink sink(t.memory(), buffer, n);
  return ReadAtOffset(t, *file, sink, offset);
}

Result<uint64_t> SysPwrite64(Task& t, FdNum fd, UserAddr buffer, uint64_t count, int64_t offset) {
  if (offset < 0) return Errno::kEINVAL;
  Ref<vfs::File> file = TRY(t.files().GetForIo(fd));
  size_t n = TRY(CheckBuffer(buffer, count));
  mm::UserSource source(t.memory(), buffer, n);
  return WriteAtOffset(t, *file, source, offset, OptionsOf(*file));
}

// The offset comes in two halves for the sake of 32-bit machines; on 64-bit ones the low half holds
// it all.
Result<uint64_t> SysPreadv(Task& t, FdNum fd, UserAddr iov, uint64_t iovcnt, int64_t offset,
                           uint64_t) {
  if (offset < 0) return Errno::kEINVAL;
  Ref<vfs::File> file = TRY(t.files().GetForIo(fd));
  if (!file->seekable()) return Errno::kESPIPE;
  mm::UserSink sink(t.memory(), TRY(t.memory().ReadIoVec(iov, iovcnt)));
  return ReadAtOffset(t, *file, sink, offset);
}

Result<uint64_t> SysPwritev(Task& t, FdNum fd, UserAddr iov, uint64_t iovcnt, int64_t offset,
                            uint64_t) {
  if (offset < 0) return Errno::kEINVAL;
  Ref<vfs::File> file = TRY(t.files().GetForIo(fd));
  if (!file->seekable()) return Errno::kESPIPE;
  mm::UserSource source(t.memory(), TRY(t.memory().ReadIoVec(iov, iovcnt)));
  return WriteAtOffset(t, *file, source, offset, OptionsOf(*file));
}

constexpr int32_t kReadFlags = RWF_HIPRI | RWF_NOWAIT;
constexpr int32_t kWriteFlags = RWF_HIPRI | RWF_NOWAIT | RWF_SYNC | RWF_DSYNC | RWF_APPEND;

// preadv2(2): an offset of -1 uses the file position.
Result<uint64_t> SysPreadv2(Task& t, FdNum fd, UserAddr iov, uint64_t iovcnt, int64_t offset,
                            uint64_t, int32_t flags) {
  if (offset < -1) return Errno::kEINVAL;
  Ref<vfs::File> file = TRY(offset == -1 ? ReadableFile(t, fd) : t.files().GetForIo(fd));
  if (offset >= 0 && !file->seekable()) return Errno::kESPIPE;
  mm::UserSink sink(t.memory(), TRY(t.memory().ReadIoVec(iov, iovcnt)));
  if ((flags & ~(kReadFlags | kWriteFlags)) != 0) return Errno::kEOPNOTSUPP;
  if (offset >= 0) return ReadAtOffset(t, *file, sink, offset);
  return BlockingRead(t, *file, sink, file->nonblocking() || (flags & RWF_NOWAIT) != 0);
}

Result<uint64_t> SysPwritev2(Task& t, FdNum fd, UserAddr iov, uint64_t iovcnt, int64_t offset,
                             uint64_t, int32_t flags) {
  if (offset < -1) return Errno::kEINVAL;
  Ref<vfs::File> file = TRY(offset == -1 ? WritableFile(t, fd) : t.files().GetForIo(fd));
  if (offset >= 0 && !file->seekable()) return Errno::kESPIPE;
  mm::UserSource source(t.memory(), TRY(t.memory().ReadIoVec(iov, iovcnt)));
  if ((flags & ~kWriteFlags) != 0) return Errno::kEOPNOTSUPP;
  vfs::ReadWriteOptions options = OptionsOf(*file, flags);
  if (offset >= 0) return WriteAtOffset(t, *file, source, offset, options);
  return BlockingWrite(t, *file, source, options, file->nonblocking() || (flags & RWF_NOWAIT) != 0);
}

Result<uint64_t> SysLseek(Task& t, FdNum fd, int64_t offset, uint32_t whence) {
  Ref<vfs::File> file = TRY(t.files().GetForIo(fd));
  if (whence > SEEK_HOLE) return Errno::kEINVAL;
  if (!file->seekable()) return Errno::kESPIPE;
  int64_t position = TRY(file->Seek(t, offset, static_cast<int>(whence)));
  return static_cast<uint64_t>(position);
}

constexpr Row kRows[] = {
    Full<SysRead>(SYS_read, "read"),          Full<SysWrite>(SYS_write, "write"),
    Full<SysReadv>(SYS_readv, "readv"),       Full<SysWritev>(SYS_writev, "writev"),
    Full<SysPread64>(SYS_pread64, "pread64"), Full<SysPwrite64>(SYS_pwrite64, "pwrite64"),
    Full<SysPreadv>(SYS_preadv, "preadv"),    Full<SysPwritev>(SYS_pwritev, "pwritev"),
    Full<SysPreadv2>(SYS_preadv2, "preadv2"), Full<SysPwritev2>(SYS_pwritev2, "pwritev2"),
    Full<SysLseek>(SYS_lseek, "lseek"),
};

}  // namespace

std::span<const Row> ReadWriteRows() { return kRows; }

}  // namespace sandboxd::syscalls
