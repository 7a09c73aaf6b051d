#include "kernel/fs/gofer/dir_file.h"

#include <unistd.h>

namespace sandboxd::gofer_fs {

Result<int64_t> DirFile::Seek(vfs::Caller&, int64_t offset, int whence) {
  MutexLock lock(position_mutex_);
  if (whence == SEEK_CUR) offset += position();
  if (whence != SEEK_SET && whence != SEEK_CUR) return Errno::kEINVAL;
  if (offset < 0) return Errno::kEINVAL;
  position_.store(offset, std::memory_order_relaxed);
  return offset;
}

// The position lock is held over the gofer's answer, as Linux holds its own over the file system's.
Result<void> DirFile::ReadDir(vfs::Caller&, const vfs::DirSink& sink) {
  MutexLock lock(position_mutex_);
  size_t at = static_cast<size_t>(position());
  if (at == 0 || !listing_) listing_ = TRY(inode_->List());
  const auto& entries = listing_->entries;
  for (; at < entries.size(); ++at) {
    const Listing::Entry& entry = entries[at];
    vfs::DirEntry out{.name = entry.name,
                      .ino = entry.ino,
                      .type = entry.type,
                      .next_offset = static_cast<int64_t>(at) + 1};
    if (!sink(out)) break;
    position_.store(out.next_offset, std::memory_order_relaxed);
  }
  return Ok();
}

Result<void> DirFile::Sync(bool) {
  Ref<SharedFid> fid = TRY(inode_->Fid());
  return static_cast<GoferSuperblock&>(inode_->superblock()).client().Fsync(fid->handle);
}

}  // namespace sandboxd::gofer_fs
