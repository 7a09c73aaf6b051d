#include "kernel/vfs/anon_fs.h"

#include <linux/magic.h>
#include <sys/stat.h>

namespace sandboxd::vfs {

namespace {

class AnonInode final : public Inode {
 public:
  AnonInode(Superblock& superblock, uint64_t ino, uint32_t mode)
      : Inode(superblock, ino, mode), attr_(Fresh(ino, mode)) {}

  Result<Attr> GetAttr() override {
    MutexLock lock(mutex_);
    return attr_;
  }

  // fchmod(2) and fchown(2) of pipes and sockets.
  Result<void> SetAttr(const vfs::SetAttr& set) override {
    if (set.size) return Errno::kEINVAL;
    MutexLock lock(mutex_);
    if (set.mode) attr_.mode = type() | (*set.mode & 07777);
    if (set.uid) attr_.uid = *set.uid;
    if (set.gid) attr_.gid = *set.gid;
    if (set.atime) attr_.atime = *set.atime;
    if (set.mtime) attr_.mtime = *set.mtime;
    attr_.ctime = Time::NowCoarse();
    return Ok();
  }

 private:
  static Attr Fresh(uint64_t ino, uint32_t mode) {
    Attr a;
    a.ino = ino;
    a.mode = mode;
    a.atime = a.mtime = a.ctime = Time::NowCoarse();
    return a;
  }
  Mutex mutex_{LockRank::kInode};
  Attr attr_ GUARDED_BY(mutex_);
};

}  // namespace

Ref<Inode> AnonSuperblock::RootInode() { return MakeRef<AnonInode>(*this, 1, S_IFDIR | 0500); }

Result<FsStat> AnonSuperblock::StatFs() {
  FsStat s;
  s.type = ANON_INODE_FS_MAGIC;
  return s;
}

Ref<Inode> AnonSuperblock::NewInode(uint32_t mode) {
  return MakeRef<AnonInode>(*this, next_ino_.fetch_add(1, std::memory_order_relaxed), mode);
}

}  // namespace sandboxd::vfs
