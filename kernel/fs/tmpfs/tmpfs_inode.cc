#include "kernel/fs/tmpfs/tmpfs_inode.h"

#include <sys/stat.h>
#include <sys/xattr.h>

#include "kernel/vfs/mount.h"

namespace sandboxd::tmpfs {

namespace {
constexpr size_t kMaxXattrBytes = 65536;  // of one file, names and values
constexpr int64_t kDaySeconds = 24 * 60 * 60;
}  // namespace

TmpfsInode::TmpfsInode(TmpfsSuperblock& fs, const vfs::NewNode& node, uint32_t nlink)
    : Inode(fs, fs.NextIno(), node.mode), mode_(node.mode) {
  vfs::Attr& a = attr_;
  a.ino = ino();
  a.mode = node.mode;
  a.nlink = nlink;
  a.uid = node.uid;
  a.gid = node.gid;
  a.rdev = node.rdev;
  a.atime = a.mtime = a.ctime = vfs::Time::NowCoarse();
  a.btime = a.mtime;
}

TmpfsInode::~TmpfsInode() { fs().ReturnInode(); }

Result<vfs::Attr> TmpfsInode::GetAttr() {
  MutexLock lock(mutex_);
  return attr_;
}

Result<void> TmpfsInode::SetAttr(const vfs::SetAttr& set) {
  if (set.size) return Errno::kEINVAL;
  MutexLock lock(mutex_);
  if (set.mode) SetModeLocked(*set.mode);
  if (set.uid) attr_.uid = *set.uid;
  if (set.gid) attr_.gid = *set.gid;
  if (set.atime) attr_.atime = *set.atime;
  if (set.mtime) attr_.mtime = *set.mtime;
  attr_.ctime = vfs::Time::NowCoarse();
  return Ok();
}

Result<void> TmpfsInode::CheckPermission(const creds::Credentials& c, int mask) {
  uint32_t all = static_cast<uint32_t>(mask) * 0111;
  if ((mode_.load(std::memory_order_relaxed) & all) == all) return Ok();  // everybody may
  uint32_t mode;
  vfs::KUid uid;
  vfs::KGid gid;
  {
    MutexLock lock(mutex_);
    mode = attr_.mode;
    uid = attr_.uid;
    gid = attr_.gid;
  }
  return vfs::CheckModeBits(c, mode, uid, gid, mask);
}

void TmpfsInode::AddLinks(int n) {
  MutexLock lock(mutex_);
  attr_.nlink = static_cast<uint32_t>(static_cast<int>(attr_.nlink) + n);
  attr_.ctime = vfs::Time::NowCoarse();
}

void TmpfsInode::SetModeLocked(uint32_t mode) {
  attr_.mode = type() | (mode & 07777);
  mode_.store(attr_.mode, std::memory_order_relaxed);
}

void TmpfsInode::TouchLocked() { attr_.mtime = attr_.ctime = vfs::Time::NowCoarse(); }

void TmpfsInode::TouchAtime(uint32_t mount_flags) {
  if ((mount_flags & (vfs::kMountNoAtime | vfs::kMountReadOnly)) != 0) return;
  if (IsDirectory() && (mount_flags & vfs::kMountNoDirAtime) != 0) return;
  vfs::Time now = vfs::Time::NowCoarse();
  MutexLock lock(mutex_);
  bool current = attr_.atime > attr_.mtime && attr_.atime > attr_.ctime &&
                 now.sec - attr_.atime.sec < kDaySeconds;
  if ((mount_flags & vfs::kMountRelatime) != 0 && current) return;
  attr_.atime = now;
}

Result<std::string> TmpfsInode::GetXattr(std::string_view name) {
  if (name.starts_with("system.")) return Errno::kEOPNOTSUPP;
  MutexLock lock(mutex_);
  auto it = xattrs_.find(name);
  if (it == xattrs_.end()) return Errno::kENODATA;
  return it->second;
}

Result<void> TmpfsInode::SetXattr(std::string_view name, std::string_view value, int flags) {
  if (name.starts_with("system.")) return Errno::kEOPNOTSUPP;
  MutexLock lock(mutex_);
  auto it = xattrs_.find(name);
  if (it != xattrs_.end() && (flags & XATTR_CREATE) != 0) return Errno::kEEXIST;
  if (it == xattrs_.end() && (flags & XATTR_REPLACE) != 0) return Errno::kENODATA;
  size_t before = it == xattrs_.end() ? 0 : it->first.size() + it->second.size();
  size_t total = xattr_bytes_ - before + name.size() + value.size();
  if (total > kMaxXattrBytes) return Errno::kENOSPC;
  xattr_bytes_ = total;
  xattrs_.insert_or_assign(std::string(name), std::string(value));
  attr_.ctime = vfs::Time::NowCoarse();
  return Ok();
}

Result<void> TmpfsInode::RemoveXattr(std::string_view name) {
  if (name.starts_with("system.")) return Errno::kEOPNOTSUPP;
  MutexLock lock(mutex_);
  auto it = xattrs_.find(name);
  if (it == xattrs_.end()) return Errno::kENODATA;
  xattr_bytes_ -= it->first.size() + it->second.size();
  xattrs_.erase(it);
  attr_.ctime = vfs::Time::NowCoarse();
  return Ok();
}

Result<std::vector<std::string>> TmpfsInode::ListXattr() {
  MutexLock lock(mutex_);
  std::vector<std::string> names;
  for (const auto& [name, value] : xattrs_) names.push_back(name);
  return names;
}

TmpfsSymlink::TmpfsSymlink(TmpfsSuperblock& fs, const vfs::NewNode& node, std::string_view target)
    : TmpfsInode(fs, node, 1), target_(target) {
  MutexLock lock(mutex_);
  attr_.size = target.size();
}

}  // namespace sandboxd::tmpfs
