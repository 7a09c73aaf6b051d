#include "kernel/vfs/file.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <algorithm>

#include "kernel/vfs/caller.h"
#include "kernel/vfs/file_locks.h"
#include "kernel/vfs/inode.h"
#include "kernel/vfs/mount.h"
#include "platform/base/checked_math.h"

namespace sandboxd::vfs {

namespace {
constexpr int kLargeFile = 0100000;  // O_LARGEFILE as the kernel has it; glibc's is 0 on x86-64
constexpr int kOpenOnlyFlags = O_CREAT | O_EXCL | O_NOCTTY | O_TRUNC | O_CLOEXEC;
constexpr int kSettableFlags = O_APPEND | O_ASYNC | O_DIRECT | O_NOATIME | O_NONBLOCK;
}  // namespace

Result<uint64_t> LimitWrite(Caller& c, int64_t offset, uint64_t count) {
  uint64_t limit = c.file_size_limit();
  uint64_t start = static_cast<uint64_t>(offset);
  if (count == 0) return uint64_t{0};
  if (start >= limit) {
    c.SendSignalToSelf(SIGXFSZ);
    return Errno::kEFBIG;
  }
  uint64_t room = std::min<uint64_t>(limit, INT64_MAX) - std::min<uint64_t>(start, INT64_MAX);
  if (room == 0) return Errno::kEFBIG;
  return std::min(count, room);
}

Result<void> LimitSize(Caller& c, uint64_t size) {
  if (size <= c.file_size_limit()) return Ok();
  c.SendSignalToSelf(SIGXFSZ);
  return Errno::kEFBIG;
}

File::File(Path path, int flags) : path_(std::move(path)), flags_(flags & ~kOpenOnlyFlags) {
  // What open(2) opens is a large file; pipes, sockets and eventfds have no such flag.
  const bool opened = !path_.dentry || !inode()->superblock().is_internal();
  if ((flags & O_PATH) == 0 && opened) flags_.fetch_or(kLargeFile, std::memory_order_relaxed);
}

File::~File() {
  if (AnyWatches() && path_.dentry && !is_path_only()) {
    Notify(path_, writable() ? IN_CLOSE_WRITE : IN_CLOSE_NOWRITE);
  }
  if (Inode* i = path_.dentry ? inode() : nullptr) {
    if (FileLocks* locks = i->existing_locks()) {
      locks->RemoveOwner({LockOwner::Kind::kOfd, this});
      locks->RemoveOwner({LockOwner::Kind::kFlock, this});
    }
  }
}

Inode* File::inode() const { return path_.dentry->inode().get(); }

bool File::readable() const {
  int f = flags();
  return (f & O_PATH) == 0 && ((f & O_ACCMODE) == O_RDONLY || (f & O_ACCMODE) == O_RDWR);
}

bool File::writable() const {
  int f = flags();
  return (f & O_PATH) == 0 && ((f & O_ACCMODE) == O_WRONLY || (f & O_ACCMODE) == O_RDWR);
}

bool File::nonblocking() const { return (flags() & O_NONBLOCK) != 0; }
bool File::is_path_only() const { return (flags() & O_PATH) != 0; }

Result<void> File::SetStatusFlags(int flags) {
  int old = flags_.load(std::memory_order_relaxed);
  while (!flags_.compare_exchange_weak(old, (old & ~kSettableFlags) | (flags & kSettableFlags),
                                       std::memory_order_relaxed)) {
  }
  return Ok();
}

Result<void> File::FinishOpen(Caller&) { return Ok(); }

Result<size_t> File::Read(Caller& c, mm::IoSink& dst) {
  if (!seekable()) return ReadAt(c, dst, 0);
  MutexLock lock(position_mutex_);
  int64_t at = position();
  size_t n = TRY(ReadAt(c, dst, at));
  position_.store(at + static_cast<int64_t>(n), std::memory_order_relaxed);
  return n;
}

Result<size_t> File::Write(Caller& c, mm::IoSource& src, const ReadWriteOptions& options) {
  if (!seekable()) return WriteAt(c, src, 0, options);
  MutexLock lock(position_mutex_);
  int64_t at = position();
  int64_t end = -1;
  ReadWriteOptions with_end = options;
  with_end.end = &end;
  size_t n = TRY(WriteAt(c, src, at, with_end));
  position_.store(end >= 0 ? end : at + static_cast<int64_t>(n), std::memory_order_relaxed);
  return n;
}

Result<size_t> File::ReadAt(Caller&, mm::IoSink&, int64_t) {
  return inode()->IsDirectory() ? Errno::kEISDIR : Errno::kEINVAL;
}

Result<size_t> File::WriteAt(Caller&, mm::IoSource&, int64_t, const ReadWriteOptions&) {
  return Errno::kEINVAL;
}

Result<int64_t> File::Seek(Caller&, int64_t offset, int whence) {
  if (!seekable()) return Errno::kESPIPE;
  MutexLock lock(position_mutex_);
  int64_t base = 0;
  switch (whence) {
    case SEEK_SET:
      break;
    case SEEK_CUR:
      base = position();
      break;
    case SEEK_END:
    case SEEK_DATA:
    case SEEK_HOLE: {
      int64_t size = static_cast<int64_t>(TRY(GetAttr()).size);
      if (whence == SEEK_END) {
        base = size;
        break;
      }
      // A file without holes: data everywhere, one hole at the end.
      if (offset < 0 || offset >= size) return Errno::kENXIO;
      if (whence == SEEK_HOLE) base = size - offset;
      break;
    }
    default:
      return Errno::kEINVAL;
  }
  auto to = CheckedAdd<int64_t>(base, offset);
  if (!to) return Errno::kEOVERFLOW;
  if (*to < 0) return Errno::kEINVAL;
  position_.store(*to, std::memory_order_relaxed);
  return *to;
}

Result<void> File::ReadDir(Caller&, const DirSink&) { return Errno::kENOTDIR; }
Result<uint64_t> File::Ioctl(Caller&, uint32_t, uint64_t) { return Errno::kENOTTY; }

Result<void> File::Truncate(Caller&, uint64_t size) {
  if (!inode()->IsRegular()) return Errno::kEINVAL;
  SetAttr set;
  set.size = size;
  return inode()->SetAttr(set);
}

Result<void> File::Allocate(Caller&, int, int64_t, int64_t) {
  return inode()->IsRegular() ? Errno::kEOPNOTSUPP : Errno::kENODEV;
}

Result<void> File::Sync(bool) {
  // fsync(2): "EROFS, EINVAL: fd is bound to a special file which does not support
  // synchronization".
  return inode()->IsRegular() || inode()->IsDirectory() ? Ok() : Result<void>(Errno::kEINVAL);
}

Result<Attr> File::GetAttr() { return inode()->GetAttr(); }
Result<Ref<mm::Mappable>> File::Mmap(Caller&, int, int) { return Errno::kENODEV; }

wait::EventMask File::Poll(wait::EventMask interest) {
  return interest & (EPOLLIN | EPOLLOUT | EPOLLRDNORM | EPOLLWRNORM);
}
void File::AddWaiter(wait::WaitEntry&, wait::EventMask, bool) {}
void File::OnFdClosed(Caller&) {}

File::AsyncOwner File::async_owner() const {
  MutexLock lock(async_mutex_);
  return async_owner_;
}

void File::set_async_owner(const AsyncOwner& owner) {
  MutexLock lock(async_mutex_);
  async_owner_ = owner;
}

}  // namespace sandboxd::vfs
