// Attributes of what is already resolved: stat, chmod, chown, truncate, utimens, access, statfs.
#include <linux/capability.h>
#include <linux/magic.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kernel/vfs/vfs.h"
#include "kernel/vfs/vfs_internal.h"

namespace sandboxd::vfs {

namespace {

// Changes attributes, and tells who watches: `event` of inotify(7).
Result<void> Change(const Path& path, const SetAttr& set, uint32_t event) {
  TRY(path.dentry->inode()->SetAttr(set));
  Notify(path, event);
  return Ok();
}

}  // namespace

Result<Attr> Vfs::Stat(Caller&, const Path& path) { return path.dentry->inode()->GetAttr(); }

Result<void> Vfs::Chmod(Caller& c, const Path& path, uint32_t mode) {
  Inode& inode = *path.dentry->inode();
  TRY(WantWrite(*path.mount));
  if (inode.IsSymlink()) return Errno::kEOPNOTSUPP;
  creds::CredRef creds = c.credentials();
  Attr attr = TRY(inode.GetAttr());
  if (!OwnerOrCapable(*creds, attr.uid, attr.gid)) return Errno::kEPERM;
  mode &= 07777;
  // chmod(2): set-group-ID goes if the file's group is none of the caller's.
  if (!creds->InGroup(attr.gid) && !CapableOverFile(*creds, attr.uid, attr.gid, CAP_FSETID))
    mode &= ~static_cast<uint32_t>(S_ISGID);
  SetAttr set;
  set.mode = mode;
  return Change(path, set, IN_ATTRIB);
}

Result<void> Vfs::Chown(Caller& c, const Path& path, std::optional<KUid> uid,
                        std::optional<KGid> gid) {
  Inode& inode = *path.dentry->inode();
  TRY(WantWrite(*path.mount));
  creds::CredRef creds = c.credentials();
  Attr attr = TRY(inode.GetAttr());
  bool owner = creds->fsuid == attr.uid;
  bool capable = CapableOverFile(*creds, attr.uid, attr.gid, CAP_CHOWN);
  if (uid && !(owner && *uid == attr.uid) && !capable) return Errno::kEPERM;
  if (gid && !(owner && (*gid == attr.gid || creds->InGroup(*gid))) && !capable)
    return Errno::kEPERM;
  SetAttr set;
  set.uid = uid;
  set.gid = gid;
  // chown(2): "the set-user-ID and set-group-ID mode bits are cleared", also for root, also when
  // nothing changes; not for directories.
  if (!S_ISDIR(attr.mode)) {
    uint32_t mode = attr.mode & ~static_cast<uint32_t>(S_ISUID);
    if ((mode & S_IXGRP) != 0) mode &= ~static_cast<uint32_t>(S_ISGID);
    if (mode != attr.mode) set.mode = mode & 07777;
  }
  return Change(path, set, IN_ATTRIB);
}

Result<void> Vfs::Truncate(Caller& c, const Path& path, int64_t size) {
  Inode& inode = *path.dentry->inode();
  if (size < 0) return Errno::kEINVAL;
  if (inode.IsDirectory()) return Errno::kEISDIR;
  if (!inode.IsRegular()) return Errno::kEINVAL;
  TRY(WantWrite(*path.mount));
  creds::CredRef creds = c.credentials();
  TRY(inode.CheckPermission(*creds, kMayWrite));
  Attr attr = TRY(inode.GetAttr());
  if (static_cast<uint64_t>(size) > attr.size) TRY(LimitSize(c, static_cast<uint64_t>(size)));
  SetAttr set;
  set.size = static_cast<uint64_t>(size);
  uint32_t mode = ModeAfterWrite(*creds, attr.mode);
  if (mode != attr.mode) set.mode = mode & 07777;
  return Change(path, set, IN_MODIFY);
}

Result<void> Vfs::SetTimes(Caller& c, const Path& path, const TimeUpdate& atime,
                           const TimeUpdate& mtime) {
  using Kind = TimeUpdate::Kind;
  if (atime.kind == Kind::kOmit && mtime.kind == Kind::kOmit) return Ok();
  Inode& inode = *path.dentry->inode();
  TRY(WantWrite(*path.mount));
  creds::CredRef creds = c.credentials();
  Attr attr = TRY(inode.GetAttr());
  bool both_now = atime.kind == Kind::kNow && mtime.kind == Kind::kNow;
  if (!OwnerOrCapable(*creds, attr.uid, attr.gid)) {
    // utimensat(2): "now" for both needs only write permission; anything else ownership.
    if (!both_now) return Errno::kEPERM;
    TRY(inode.CheckPermission(*creds, kMayWrite));
  }
  Time now = Time::Now();
  SetAttr set;
  if (atime.kind != Kind::kOmit) set.atime = atime.kind == Kind::kNow ? now : atime.time;
  if (mtime.kind != Kind::kOmit) set.mtime = mtime.kind == Kind::kNow ? now : mtime.time;
  const bool both = set.atime.has_value() && set.mtime.has_value();
  return Change(path, set, both ? IN_ATTRIB : set.atime.has_value() ? IN_ACCESS : IN_MODIFY);
}

Result<void> Vfs::Access(Caller&, const Path& path, int mask, const creds::Credentials& creds) {
  Inode& inode = *path.dentry->inode();
  if (mask == F_OK) return Ok();
  if ((mask & X_OK) != 0 && inode.IsRegular() && (path.mount->flags() & kMountNoExec) != 0)
    return Errno::kEACCES;
  TRY(inode.CheckPermission(creds, mask));
  bool on_disk = inode.IsRegular() || inode.IsDirectory() || inode.IsSymlink();
  if ((mask & W_OK) != 0 && on_disk && path.mount->read_only()) return Errno::kEROFS;
  return Ok();
}

Result<FsStat> Vfs::StatFs(const Path& path) {
  FsStat s = TRY(path.mount->superblock()->StatFs());
  // Linux keeps pipes and sockets in file systems of their own.
  const uint32_t type = path.dentry->inode()->type();
  if (path.mount->superblock()->is_internal() && type == S_IFIFO) s.type = PIPEFS_MAGIC;
  if (path.mount->superblock()->is_internal() && type == S_IFSOCK) s.type = SOCKFS_MAGIC;
  if (s.fsid == 0) s.fsid = path.mount->superblock()->device().Encode();
  return s;
}

}  // namespace sandboxd::vfs
