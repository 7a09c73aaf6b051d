#include "kernel/fs/tmpfs/tmpfs_regular.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "kernel/vfs/caller.h"
#include "kernel/vfs/mount.h"

namespace sandboxd::tmpfs {

namespace {

constexpr size_t kChunk = 16 << 10;  // bounced through the stack at a time
constexpr int kSealExec = 0x20;      // F_SEAL_EXEC, younger than our glibc
constexpr int kAllSeals =
    F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_FUTURE_WRITE | kSealExec;

// A mapping holds the file, and with it the file system, as Linux's vm_file does.
class TmpfsMappable final : public mm::Mappable {
 public:
  explicit TmpfsMappable(Ref<vfs::File> file) : file_(std::move(file)) {}
  Result<mm::HostRange> HostBacking(uint64_t offset, uint64_t, mm::MapAccess access) override {
    return static_cast<TmpfsRegular&>(*file_->inode()).HostBacking(offset, access);
  }
  Identity identity() const override {
    const vfs::Inode& inode = *file_->inode();
    return {inode.superblock().device().Encode(), inode.ino()};
  }
  std::string MapsName() const override { return vfs::FullPathString(file_->path()); }
  // The memfd's pages are the file.
  Result<void> Sync(uint64_t, uint64_t) override { return Ok(); }

 private:
  const Ref<vfs::File> file_;
};

class RegularFile final : public vfs::File {
 public:
  RegularFile(vfs::Path path, int flags) : File(std::move(path), flags) {}
  bool seekable() const override { return true; }

  Result<size_t> ReadAt(vfs::Caller&, mm::IoSink& dst, int64_t offset) override {
    Result<size_t> n = node().Read(dst, static_cast<uint64_t>(offset));
    if ((flags() & O_NOATIME) == 0) node().TouchAtime(path().mount->flags());
    return n;
  }
  Result<size_t> WriteAt(vfs::Caller& c, mm::IoSource& src, int64_t offset,
                         const vfs::ReadWriteOptions& options) override {
    bool append = options.append || ((flags() & O_APPEND) != 0 && !options.no_append);
    return node().Write(c, src, offset, append, options.end);
  }
  Result<int64_t> Seek(vfs::Caller& c, int64_t offset, int whence) override {
    if (whence != SEEK_DATA && whence != SEEK_HOLE) return File::Seek(c, offset, whence);
    MutexLock lock(position_mutex_);
    int64_t to = TRY(node().SeekData(offset, whence == SEEK_HOLE));
    position_.store(to, std::memory_order_relaxed);
    return to;
  }
  Result<void> Allocate(vfs::Caller& c, int mode, int64_t offset, int64_t length) override {
    return node().Allocate(c, mode, offset, length);
  }
  Result<void> Sync(bool) override { return Ok(); }
  Result<Ref<mm::Mappable>> Mmap(vfs::Caller&, int prot, int flags) override {
    if ((flags & MAP_TYPE) != MAP_PRIVATE && (prot & PROT_WRITE) != 0) {
      if ((TRY(node().GetSeals()) & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)) != 0)
        return Errno::kEPERM;
    }
    return Ref<mm::Mappable>(MakeRef<TmpfsMappable>(Ref<vfs::File>(this)));
  }

 private:
  TmpfsRegular& node() const { return static_cast<TmpfsRegular&>(*inode()); }
};

}  // namespace

TmpfsRegular::TmpfsRegular(TmpfsSuperblock& fs, const vfs::NewNode& node, uint32_t nlink)
    : TmpfsInode(fs, node, nlink), data_(fs), seals_(F_SEAL_SEAL) {}

Result<vfs::Attr> TmpfsRegular::GetAttr() {
  MutexLock lock(mutex_);
  vfs::Attr attr = attr_;
  attr.size = data_.size();
  attr.blocks = data_.blocks();
  return attr;
}

Result<void> TmpfsRegular::SetAttr(const vfs::SetAttr& set) {
  vfs::SetAttr rest = set;
  rest.size.reset();
  if (set.size) {
    MutexLock writers(write_mutex_);
    MutexLock lock(mutex_);
    if (*set.size < data_.size() && (seals_ & F_SEAL_SHRINK) != 0) return Errno::kEPERM;
    if (*set.size > data_.size() && (seals_ & F_SEAL_GROW) != 0) return Errno::kEPERM;
    TRY(data_.Resize(*set.size));
    TouchLocked();
  }
  return TmpfsInode::SetAttr(rest);
}

Result<Ref<vfs::File>> TmpfsRegular::Open(vfs::Caller&, const vfs::Path& path, int flags) {
  return Ref<vfs::File>(MakeRef<RegularFile>(path, flags));
}

Result<int> TmpfsRegular::GetSeals() {
  MutexLock lock(mutex_);
  return seals_;
}

Result<void> TmpfsRegular::AddSeals(int seals) {
  if ((seals & ~kAllSeals) != 0) return Errno::kEINVAL;
  MutexLock lock(mutex_);
  if ((seals_ & F_SEAL_SEAL) != 0) return Errno::kEPERM;
  seals_ |= seals;
  return Ok();
}

void TmpfsRegular::AllowSealing(bool executable) {
  MutexLock lock(mutex_);
  seals_ = executable ? 0 : kSealExec;
}

Result<size_t> TmpfsRegular::Read(mm::IoSink& dst, uint64_t offset) {
  std::array<std::byte, kChunk> bounce;
  size_t total = 0;
  while (dst.remaining() > 0) {
    Bytes window = dst.Window();
    Bytes chunk = window.empty() ? Bytes(bounce) : window;
    chunk = chunk.first(std::min(chunk.size(), dst.remaining()));
    size_t n;
    {
      MutexLock lock(mutex_);
      Result<size_t> got = data_.Read(offset, chunk);
      if (!got.ok()) return total > 0 ? Result<size_t>(total) : got;
      n = *got;
    }
    if (n == 0) break;
    size_t put = n;
    if (window.empty()) {
      Result<size_t> stored = dst.Put(chunk.first(n));
      if (!stored.ok()) return total > 0 ? Result<size_t>(total) : stored;
      put = *stored;
    } else {
      dst.Commit(n);
    }
    total += put;
    offset += put;
    if (put < n) break;
  }
  return total;
}

Result<size_t> TmpfsRegular::WriteChunk(vfs::Caller& c, mm::IoSource& src, uint64_t* offset,
                                        bool append) {
  std::array<std::byte, kChunk> bounce;
  size_t got = TRY(src.Get(Bytes(bounce).first(std::min(bounce.size(), src.remaining()))));
  Result<size_t> put = [&]() -> Result<size_t> {
    MutexLock lock(mutex_);
    if ((seals_ & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)) != 0) return Errno::kEPERM;
    if (append) *offset = data_.size();
    size_t n = TRY(vfs::LimitWrite(c, static_cast<int64_t>(*offset), got));
    if (*offset + n > data_.size() && (seals_ & F_SEAL_GROW) != 0) {
      if (*offset >= data_.size()) return Errno::kEPERM;
      n = data_.size() - *offset;
    }
    size_t written = TRY(data_.Write(*offset, ConstBytes(bounce).first(n)));
    uint32_t mode = vfs::ModeAfterWrite(*c.credentials(), attr_.mode);
    if (mode != attr_.mode) SetModeLocked(mode);
    TouchLocked();
    return written;
  }();
  size_t taken = put.ok() ? *put : 0;
  if (taken < got) src.Unget(got - taken);
  *offset += taken;
  return put;
}

Result<size_t> TmpfsRegular::Write(vfs::Caller& c, mm::IoSource& src, int64_t offset, bool append,
                                   int64_t* end) {
  MutexLock writers(write_mutex_);
  uint64_t at = static_cast<uint64_t>(offset);
  size_t total = 0;
  while (src.remaining() > 0) {
    size_t want = std::min(src.remaining(), kChunk);
    Result<size_t> n = WriteChunk(c, src, &at, append && total == 0);
    if (!n.ok()) {
      if (total == 0) return n;
      break;
    }
    total += *n;
    // A limit or the end of memory: the next call meets it again, and then it is an error.
    if (*n < want) break;
  }
  if (append && end != nullptr && total > 0) *end = static_cast<int64_t>(at);
  return total;
}

Result<void> TmpfsRegular::Allocate(vfs::Caller& c, int mode, int64_t offset, int64_t length) {
  // fallocate(2) on tmpfs: plain, FALLOC_FL_KEEP_SIZE, and punching holes.
  if (mode != 0 && mode != FALLOC_FL_KEEP_SIZE &&
      mode != (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE)) {
    return Errno::kEOPNOTSUPP;
  }
  uint64_t start = static_cast<uint64_t>(offset), n = static_cast<uint64_t>(length);
  MutexLock writers(write_mutex_);
  MutexLock lock(mutex_);
  if ((mode & FALLOC_FL_PUNCH_HOLE) != 0) {
    if ((seals_ & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)) != 0) return Errno::kEPERM;
    TRY(data_.PunchHole(start, n));
  } else {
    if (start + n > data_.size() && (mode & FALLOC_FL_KEEP_SIZE) == 0) {
      if ((seals_ & F_SEAL_GROW) != 0) return Errno::kEPERM;
      TRY(vfs::LimitSize(c, start + n));
    }
    TRY(data_.Allocate(start, n, (mode & FALLOC_FL_KEEP_SIZE) != 0));
  }
  TouchLocked();
  return Ok();
}

Result<int64_t> TmpfsRegular::SeekData(int64_t offset, bool hole) {
  if (offset < 0) return Errno::kENXIO;
  MutexLock lock(mutex_);
  return static_cast<int64_t>(TRY(data_.SeekData(static_cast<uint64_t>(offset), hole)));
}

Result<mm::HostRange> TmpfsRegular::HostBacking(uint64_t offset, mm::MapAccess access) {
  MutexLock lock(mutex_);
  if (access != mm::MapAccess::kSharedWritable)
    return mm::HostRange{TRY(data_.ReadOnlyMemfd()), offset};
  return mm::HostRange{TRY(data_.WritableMemfd()), offset};
}

}  // namespace sandboxd::tmpfs
