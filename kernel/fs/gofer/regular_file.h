// An open regular file: reads and writes go straight to the donated host descriptor.
#pragma once

#include "kernel/fs/gofer/inode.h"
#include "kernel/vfs/file.h"

namespace sandboxd::gofer_fs {

class RegularFile final : public vfs::File {
 public:
  RegularFile(vfs::Path path, int flags, Ref<GoferInode> inode, Ref<HostFile> host)
      : File(std::move(path), flags), inode_(std::move(inode)), host_(std::move(host)) {}

  bool seekable() const override { return true; }
  Result<size_t> ReadAt(vfs::Caller& c, mm::IoSink& dst, int64_t offset) override;
  Result<size_t> WriteAt(vfs::Caller& c, mm::IoSource& src, int64_t offset,
                         const vfs::ReadWriteOptions& options) override;
  Result<int64_t> Seek(vfs::Caller& c, int64_t offset, int whence) override;
  Result<void> Allocate(vfs::Caller& c, int mode, int64_t offset, int64_t length) override;
  Result<void> Sync(bool data_only) override;
  Result<Ref<mm::Mappable>> Mmap(vfs::Caller& c, int prot, int flags) override;

 private:
  struct Written {
    size_t count = 0;
    int64_t end = 0;
  };
  Result<Written> WriteChunk(vfs::Caller& c, ConstBytes bytes, int64_t offset, bool append);

  const Ref<GoferInode> inode_;
  const Ref<HostFile> host_;
};

}  // namespace sandboxd::gofer_fs
