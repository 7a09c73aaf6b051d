// What mm maps of a regular file: its host descriptor.
#pragma once

#include "kernel/fs/gofer/inode.h"
#include "kernel/mm/mappable.h"
#include "kernel/vfs/path.h"
#include "platform/base/mutex.h"

namespace sandboxd::gofer_fs {

class FileMapping final : public mm::Mappable {
 public:
  // `writable`: the file was opened so that its mappings may be shared and written.
  FileMapping(vfs::Path path, Ref<GoferInode> inode, bool writable)
      : path_(std::move(path)), inode_(std::move(inode)), writable_(writable) {}

  Result<mm::HostRange> HostBacking(uint64_t offset, uint64_t length,
                                    mm::MapAccess access) override;
  Identity identity() const override;
  std::string MapsName() const override;
  Result<void> Sync(uint64_t offset, uint64_t length) override;

 private:
  ~FileMapping() override;

  const vfs::Path path_;  // keeps the file system, as Linux's vm_file does
  const Ref<GoferInode> inode_;
  const bool writable_;
  Mutex mutex_{LockRank::kLeaf};
  // Kept as long as the mapping may use them.
  Ref<HostFile> read_only_ GUARDED_BY(mutex_);
  Ref<HostFile> read_write_ GUARDED_BY(mutex_);
};

}  // namespace sandboxd::gofer_fs
