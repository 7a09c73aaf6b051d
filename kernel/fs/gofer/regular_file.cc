#include "kernel/fs/gofer/regular_file.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <memory>

#include "kernel/fs/gofer/mapping.h"
#include "kernel/vfs/caller.h"

namespace sandboxd::gofer_fs {
namespace {

// The largest part of a transfer that goes through a buffer at once. A write up to this size is
// one write on the host, as Linux's inode lock makes it.
constexpr size_t kMaxChunk = 1 << 20;
constexpr size_t kReadChunk = 128 * 1024;

// Small transfers need no heap.
class Buffer {
 public:
  explicit Buffer(size_t size) {
    if (size > small_.size()) large_ = std::make_unique_for_overwrite<std::byte[]>(size);
    bytes_ = large_ ? Bytes(large_.get(), size) : Bytes(small_).first(size);
  }
  Bytes bytes() const { return bytes_; }

 private:
  std::array<std::byte, 4096> small_;
  std::unique_ptr<std::byte[]> large_;
  Bytes bytes_;
};

template <typename HostCall>
Result<size_t> Retry(HostCall call) {
  for (;;) {
    auto n = call();
    if (n >= 0) return static_cast<size_t>(n);
    if (errno != EINTR) return FromHostErrno(errno);
  }
}

Result<size_t> ReadHost(int fd, Bytes to, int64_t offset) {
  return Retry([&] { return ::pread(fd, to.data(), to.size(), offset); });
}

Result<int64_t> SizeOf(int fd) {
  struct stat host;
  if (::fstat(fd, &host) != 0) return FromHostErrno(errno);
  return static_cast<int64_t>(host.st_size);
}

}  // namespace

Result<size_t> RegularFile::ReadAt(vfs::Caller&, mm::IoSink& dst, int64_t offset) {
  size_t total = 0;
  while (dst.remaining() != 0) {
    size_t n = 0, stored = 0, asked = 0;
    if (Bytes window = dst.Window(); !window.empty()) {
      asked = std::min(window.size(), dst.remaining());
      Result<size_t> read = ReadHost(host_->fd(), window.first(asked), offset);
      if (!read.ok() && total == 0) return read.error();
      n = stored = read.ok() ? *read : 0;
      dst.Commit(n);
    } else {
      asked = std::min(dst.remaining(), kReadChunk);
      Buffer buffer(asked);
      Result<size_t> read = ReadHost(host_->fd(), buffer.bytes(), offset);
      if (!read.ok() && total == 0) return read.error();
      n = read.ok() ? *read : 0;
      if (n != 0) {
        Result<size_t> put = dst.Put(buffer.bytes().first(n));
        if (!put.ok() && total == 0) return put.error();
        stored = put.ok() ? *put : 0;
      }
    }
    total += stored;
    offset += static_cast<int64_t>(stored);
    if (stored < asked) break;
  }
  return total;
}

Result<RegularFile::Written> RegularFile::WriteChunk(vfs::Caller& c, ConstBytes bytes,
                                                     int64_t offset, bool append) {
  if (append) offset = c.file_size_limit() == RLIM_INFINITY ? 0 : TRY(SizeOf(host_->fd()));
  size_t count = TRY(vfs::LimitWrite(c, offset, bytes.size()));
  Written written;
  {
    MutexLock lock(inode_->write_mutex());
    iovec part{const_cast<std::byte*>(bytes.data()), count};
    int fd = host_->fd();
    // Offset -1: at the host description's own position, which an append leaves at its end.
    written.count = TRY(Retry([&] {
      return append ? ::pwritev2(fd, &part, 1, -1, RWF_APPEND)
                    : ::pwrite(fd, bytes.data(), count, offset);
    }));
    written.end = append ? ::lseek(fd, 0, SEEK_CUR) : offset + static_cast<int64_t>(written.count);
  }
  return written;
}

Result<size_t> RegularFile::WriteAt(vfs::Caller& c, mm::IoSource& src, int64_t offset,
                                    const vfs::ReadWriteOptions& options) {
  bool append = options.append || ((flags() & O_APPEND) != 0 && !options.no_append);
  size_t total = 0;
  Result<void> failed = Ok();
  while (src.remaining() != 0) {
    Buffer buffer(std::min(src.remaining(), kMaxChunk));
    Result<size_t> got = src.Get(buffer.bytes());
    if (!got.ok()) {
      failed = got.error();
      break;
    }
    Result<Written> written = WriteChunk(c, buffer.bytes().first(*got), offset, append);
    if (!written.ok()) {
      src.Unget(*got);
      failed = written.error();
      break;
    }
    total += written->count;
    offset = written->end;
    if (append && options.end != nullptr) *options.end = written->end;
    if (written->count < *got) {
      src.Unget(*got - written->count);
      break;
    }
    if (*got < buffer.bytes().size()) break;  // readable memory ended
  }
  if (total == 0) {
    TRY(failed);
    return total;
  }
  TRY(inode_->NoteWrite(*c.credentials()));
  if (options.sync || options.data_sync || (flags() & (O_SYNC | O_DSYNC)) != 0) {
    TRY(Sync(!options.sync && (flags() & O_SYNC) != O_SYNC));
  }
  return total;
}

Result<int64_t> RegularFile::Seek(vfs::Caller& c, int64_t offset, int whence) {
  if (whence != SEEK_DATA && whence != SEEK_HOLE) return File::Seek(c, offset, whence);
  MutexLock position(position_mutex_);
  if (offset < 0) return Errno::kENXIO;
  // The host description's position is its own; an append relies on it under this mutex.
  int64_t found = 0;
  {
    // position_mutex_ ranks before; nothing else is taken under either.
    MutexLock lock(inode_->write_mutex());
    found = static_cast<int64_t>(TRY(Retry([&] { return ::lseek(host_->fd(), offset, whence); })));
  }
  position_.store(found, std::memory_order_relaxed);
  return found;
}

Result<void> RegularFile::Allocate(vfs::Caller& c, int mode, int64_t offset, int64_t length) {
  if ((mode & FALLOC_FL_KEEP_SIZE) == 0) {
    int64_t size = TRY(SizeOf(host_->fd()));
    int64_t end = offset + length;  // the caller has checked that it does not overflow
    if (end > size) TRY(vfs::LimitSize(c, static_cast<uint64_t>(end)));
  }
  {
    MutexLock lock(inode_->write_mutex());
    TRY(Retry([&] { return ::fallocate(host_->fd(), mode, offset, length); }));
  }
  return inode_->NoteWrite(*c.credentials());
}

Result<void> RegularFile::Sync(bool data_only) {
  TRY(Retry([&] { return data_only ? ::fdatasync(host_->fd()) : ::fsync(host_->fd()); }));
  return Ok();
}

Result<Ref<mm::Mappable>> RegularFile::Mmap(vfs::Caller&, int, int) {
  return Ref<mm::Mappable>(MakeRef<FileMapping>(path(), inode_, writable()));
}

}  // namespace sandboxd::gofer_fs
