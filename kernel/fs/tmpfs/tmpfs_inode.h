// What all files of a tmpfs share: attributes and extended attributes. For tmpfs, and for file
// systems in memory made from it.
#pragma once

#include <atomic>
#include <map>
#include <string>
#include <vector>

#include "kernel/fs/tmpfs/tmpfs.h"
#include "kernel/vfs/inode.h"

namespace sandboxd::tmpfs {

class TmpfsInode : public vfs::Inode {
 public:
  Result<vfs::Attr> GetAttr() override;
  Result<void> SetAttr(const vfs::SetAttr& set) override;
  Result<void> CheckPermission(const creds::Credentials& c, int mask) override;
  Result<std::string> GetXattr(std::string_view name) override;
  Result<void> SetXattr(std::string_view name, std::string_view value, int flags) override;
  Result<void> RemoveXattr(std::string_view name) override;
  Result<std::vector<std::string>> ListXattr() override;

  TmpfsSuperblock& fs() const { return static_cast<TmpfsSuperblock&>(superblock()); }
  // Changes the link count and ctime.
  void AddLinks(int n);
  // relatime: atime moves if it is not behind mtime or is a day old. `mount_flags`:
  // vfs::MountFlags.
  void TouchAtime(uint32_t mount_flags);

 protected:
  // The caller has taken an inode from the superblock's limit.
  TmpfsInode(TmpfsSuperblock& fs, const vfs::NewNode& node, uint32_t nlink);
  ~TmpfsInode() override;
  void TouchLocked() REQUIRES(mutex_);  // mtime and ctime
  void SetModeLocked(uint32_t mode) REQUIRES(mutex_);

  mutable Mutex mutex_{LockRank::kInode};
  vfs::Attr attr_ GUARDED_BY(mutex_);

 private:
  // A copy of the mode for the walk; relaxed, written under mutex_.
  std::atomic<uint32_t> mode_;
  std::map<std::string, std::string, std::less<>> xattrs_ GUARDED_BY(mutex_);
  size_t xattr_bytes_ GUARDED_BY(mutex_) = 0;
};

class TmpfsSymlink final : public TmpfsInode {
 public:
  TmpfsSymlink(TmpfsSuperblock& fs, const vfs::NewNode& node, std::string_view target);
  Result<std::string> ReadLink(vfs::Caller&) override { return target_; }

 private:
  const std::string target_;
};

// Device nodes, fifos and bound sockets: only attributes.
class TmpfsSpecial final : public TmpfsInode {
 public:
  TmpfsSpecial(TmpfsSuperblock& fs, const vfs::NewNode& node) : TmpfsInode(fs, node, 1) {}
};

}  // namespace sandboxd::tmpfs
