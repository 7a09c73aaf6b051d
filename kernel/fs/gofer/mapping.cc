#include "kernel/fs/gofer/mapping.h"

#include <unistd.h>

#include <cerrno>

#include "kernel/vfs/mount.h"

namespace sandboxd::gofer_fs {

FileMapping::~FileMapping() {
  if (read_write_) inode_->RemoveWritableMapping();
}

Result<mm::HostRange> FileMapping::HostBacking(uint64_t offset, uint64_t, mm::MapAccess access) {
  bool write = access == mm::MapAccess::kSharedWritable;
  if (write && !writable_) return Errno::kEACCES;
  {
    MutexLock lock(mutex_);
    const Ref<HostFile>& have = write ? read_write_ : read_only_;
    if (have) return mm::HostRange{have->fd(), offset};
  }
  Ref<HostFile> host = TRY(inode_->Host(write ? HostAccess::kReadAndWrite : HostAccess::kReadOnly));
  bool first = false;
  int fd = -1;
  {
    MutexLock lock(mutex_);
    Ref<HostFile>& slot = write ? read_write_ : read_only_;
    first = !slot;
    if (first) slot = host;
    fd = slot->fd();
  }
  if (first && write) inode_->AddWritableMapping();
  return mm::HostRange{fd, offset};
}

mm::Mappable::Identity FileMapping::identity() const {
  return {inode_->superblock().device().Encode(), inode_->ino()};
}

std::string FileMapping::MapsName() const {
  std::string text;
  vfs::Path at = path_;
  while (at) {
    if (at.dentry == at.mount->root()) {
      at = at.mount->place();
      continue;
    }
    Ref<vfs::Dentry> up = at.dentry->parent();
    if (!up) break;
    text.insert(0, "/" + at.dentry->name());
    at.dentry = std::move(up);
  }
  if (text.empty()) text = "/";
  if (path_.dentry->deleted()) text += " (deleted)";
  return text;
}

Result<void> FileMapping::Sync(uint64_t, uint64_t) {
  Ref<HostFile> host;
  {
    MutexLock lock(mutex_);
    host = read_write_;
  }
  // Nothing was written through a mapping that can't write.
  if (!host) return Ok();
  if (::fdatasync(host->fd()) != 0) return FromHostErrno(errno);
  return Ok();
}

}  // namespace sandboxd::gofer_fs
