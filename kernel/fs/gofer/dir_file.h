// An open directory.
#pragma once

#include "kernel/fs/gofer/inode.h"
#include "kernel/vfs/file.h"

namespace sandboxd::gofer_fs {

// A position is an index into the listing taken when the directory was last read from its start.
class DirFile final : public vfs::File {
 public:
  DirFile(vfs::Path path, int flags, Ref<GoferInode> inode)
      : File(std::move(path), flags), inode_(std::move(inode)) {}

  bool seekable() const override { return true; }
  Result<int64_t> Seek(vfs::Caller& c, int64_t offset, int whence) override;
  Result<void> ReadDir(vfs::Caller& c, const vfs::DirSink& sink) override;
  Result<void> Sync(bool data_only) override;

 private:
  const Ref<GoferInode> inode_;
  Ref<Listing> listing_ GUARDED_BY(position_mutex_);
};

}  // namespace sandboxd::gofer_fs
