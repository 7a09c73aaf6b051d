// Regular files of a tmpfs. Internal to tmpfs.
#pragma once

#include "kernel/fs/tmpfs/file_data.h"
#include "kernel/fs/tmpfs/tmpfs_inode.h"
#include "kernel/mm/io.h"
#include "kernel/mm/mappable.h"
#include "kernel/vfs/file.h"

namespace sandboxd::tmpfs {

class TmpfsRegular final : public TmpfsInode {
 public:
  TmpfsRegular(TmpfsSuperblock& fs, const vfs::NewNode& node, uint32_t nlink);

  Result<vfs::Attr> GetAttr() override;
  Result<void> SetAttr(const vfs::SetAttr& set) override;
  Result<Ref<vfs::File>> Open(vfs::Caller& c, const vfs::Path& path, int flags) override;
  Result<int> GetSeals() override;
  Result<void> AddSeals(int seals) override;

  // memfd_create(2) with MFD_ALLOW_SEALING: no seals, or F_SEAL_EXEC for one without execute bits.
  void AllowSealing(bool executable);

  Result<size_t> Read(mm::IoSink& dst, uint64_t offset);
  // At `offset`, or at the end; `end` gets the position behind what was written.
  Result<size_t> Write(vfs::Caller& c, mm::IoSource& src, int64_t offset, bool append,
                       int64_t* end);
  Result<void> Allocate(vfs::Caller& c, int mode, int64_t offset, int64_t length);
  Result<int64_t> SeekData(int64_t offset, bool hole);
  Result<mm::HostRange> HostBacking(uint64_t offset, mm::MapAccess access);

 private:
  ~TmpfsRegular() override = default;
  Result<size_t> WriteChunk(vfs::Caller& c, mm::IoSource& src, uint64_t* offset, bool append);

  // Held over a whole write, user memory access included, so that writes (and appends) do not mix:
  // the stated exception to rule 23. Readers do not take it.
  Mutex write_mutex_{LockRank::kInodeWrite};
  FileData data_ GUARDED_BY(mutex_);
  int seals_ GUARDED_BY(mutex_);
};

}  // namespace sandboxd::tmpfs
