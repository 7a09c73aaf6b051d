// stat(2), statx(2), access(2), readlink(2), statfs(2).
#include <fcntl.h>
#include <linux/stat.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cstring>

#include "kernel/syscalls/at.h"
#include "kernel/syscalls/families.h"
#include "kernel/vfs/fd_table.h"

namespace sandboxd::syscalls {
namespace {

// The C library's struct stat is the kernel's on x86-64.
static_assert(sizeof(struct stat) == 144);
static_assert(sizeof(struct statfs) == 120);
static_assert(sizeof(struct statx) == 256);

timespec ToTimespec(const vfs::Time& t) { return {t.sec, static_cast<long>(t.nsec)}; }
statx_timestamp ToStatxTime(const vfs::Time& t) { return {t.sec, t.nsec, 0}; }

Result<void> WriteStat(Task& t, const vfs::Attr& a, vfs::DeviceNumber device, UserAddr out) {
  struct stat s;
  memset(&s, 0, sizeof(s));
  creds::CredRef c = t.credentials();
  s.st_dev = device.Encode();
  s.st_ino = a.ino;
  s.st_nlink = a.nlink;
  s.st_mode = a.mode;
  s.st_uid = c->user_ns->FromKUid(a.uid);
  s.st_gid = c->user_ns->FromKGid(a.gid);
  s.st_rdev = a.rdev.Encode();
  s.st_size = static_cast<off_t>(a.size);
  s.st_blksize = a.blksize;
  s.st_blocks = static_cast<blkcnt_t>(a.blocks);
  s.st_atim = ToTimespec(a.atime);
  s.st_mtim = ToTimespec(a.mtime);
  s.st_ctim = ToTimespec(a.ctime);
  return t.memory().Write(out, s);
}

Result<void> StatPath(Task& t, const vfs::Path& path, UserAddr out) {
  vfs::Attr attr = TRY(t.kernel().vfs().Stat(t, path));
  return WriteStat(t, attr, path.mount->superblock()->device(), out);
}

Result<void> StatFd(Task& t, FdNum fd, UserAddr out) {
  Ref<vfs::File> file = TRY(t.files().Get(fd));
  vfs::Attr attr = TRY(file->GetAttr());
  return WriteStat(t, attr, file->path().mount->superblock()->device(), out);
}

constexpr int kStatFlags = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH;

Result<void> SysNewfstatat(Task& t, FdNum dirfd, UserPath path, UserAddr out, int32_t flags) {
  if ((flags & ~kStatFlags) != 0) return Errno::kEINVAL;
  std::string name = TRY(t.memory().ReadPath(path));
  // The usual way of the C library's fstat: no walk.
  if (name.empty() && (flags & AT_EMPTY_PATH) != 0 && dirfd.value >= 0)
    return StatFd(t, dirfd, out);
  vfs::Path found = TRY(ResolveAt(t, dirfd, name, flags, FollowByDefault::kYes));
  return StatPath(t, found, out);
}

Result<void> SysStat(Task& t, UserPath path, UserAddr out) {
  return SysNewfstatat(t, kCwd, path, out, 0);
}
Result<void> SysLstat(Task& t, UserPath path, UserAddr out) {
  return SysNewfstatat(t, kCwd, path, out, AT_SYMLINK_NOFOLLOW);
}
Result<void> SysFstat(Task& t, FdNum fd, UserAddr out) { return StatFd(t, fd, out); }

struct statx ToStatx(const creds::Credentials& c, const vfs::Attr& a, const vfs::Path& path) {
  struct statx x;
  memset(&x, 0, sizeof(x));
  x.stx_mask = STATX_BASIC_STATS | STATX_MNT_ID;
  x.stx_blksize = a.blksize;
  x.stx_attributes = a.attributes;
  x.stx_attributes_mask = a.attributes | STATX_ATTR_MOUNT_ROOT;
  if (path.dentry == path.mount->root()) x.stx_attributes |= STATX_ATTR_MOUNT_ROOT;
  x.stx_nlink = a.nlink;
  x.stx_uid = c.user_ns->FromKUid(a.uid);
  x.stx_gid = c.user_ns->FromKGid(a.gid);
  x.stx_mode = static_cast<uint16_t>(a.mode);
  x.stx_ino = a.ino;
  x.stx_size = a.size;
  x.stx_blocks = a.blocks;
  x.stx_atime = ToStatxTime(a.atime);
  x.stx_mtime = ToStatxTime(a.mtime);
  x.stx_ctime = ToStatxTime(a.ctime);
  if (a.btime) {
    x.stx_mask |= STATX_BTIME;
    x.stx_btime = ToStatxTime(*a.btime);
  }
  vfs::DeviceNumber device = path.mount->superblock()->device();
  x.stx_dev_major = device.major;
  x.stx_dev_minor = device.minor;
  x.stx_rdev_major = a.rdev.major;
  x.stx_rdev_minor = a.rdev.minor;
  x.stx_mnt_id = static_cast<uint64_t>(path.mount->id());
  return x;
}

Result<void> SysStatx(Task& t, FdNum dirfd, UserPath path, int32_t flags, uint32_t mask,
                      UserAddr out) {
  constexpr int32_t kSync = AT_STATX_FORCE_SYNC | AT_STATX_DONT_SYNC;
  if ((mask & STATX__RESERVED) != 0) return Errno::kEINVAL;
  if ((flags & ~(kStatFlags | kSync)) != 0 || (flags & kSync) == kSync) return Errno::kEINVAL;
  std::string name = TRY(t.memory().ReadPath(path));
  vfs::Path found;
  vfs::Attr attr;
  if (name.empty() && (flags & AT_EMPTY_PATH) != 0 && dirfd.value >= 0) {
    Ref<vfs::File> file = TRY(t.files().Get(dirfd));
    found = file->path();
    attr = TRY(file->GetAttr());
  } else {
    found = TRY(ResolveAt(t, dirfd, name, flags, FollowByDefault::kYes));
    attr = TRY(t.kernel().vfs().Stat(t, found));
  }
  return t.memory().Write(out, ToStatx(*t.credentials(), attr, found));
}

Result<void> AccessAt(Task& t, FdNum dirfd, UserPath path, int32_t mode, int32_t flags) {
  if ((mode & ~(R_OK | W_OK | X_OK)) != 0) return Errno::kEINVAL;
  if ((flags & ~(AT_EACCESS | AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH)) != 0) return Errno::kEINVAL;
  creds::CredRef mine = t.credentials();
  Ref<creds::Credentials> real = mine->Clone();
  if ((flags & AT_EACCESS) == 0) {
    // access(2): with the real ids; a root user keeps what the program's permitted set allows,
    // others lose all.
    real->fsuid = real->ruid;
    real->fsgid = real->rgid;
    real->effective = real->ruid == creds::kRootUid ? real->permitted : creds::CapSet{};
  }
  vfs::Path found = TRY(ResolveAt(t, dirfd, path, flags, FollowByDefault::kYes));
  return t.kernel().vfs().Access(t, found, mode, *real);
}

Result<void> SysAccess(Task& t, UserPath path, int32_t mode) {
  return AccessAt(t, kCwd, path, mode, 0);
}
Result<void> SysFaccessat(Task& t, FdNum dirfd, UserPath path, int32_t mode) {
  return AccessAt(t, dirfd, path, mode, 0);
}
Result<void> SysFaccessat2(Task& t, FdNum dirfd, UserPath path, int32_t mode, int32_t flags) {
  return AccessAt(t, dirfd, path, mode, flags);
}

Result<uint64_t> SysReadlinkat(Task& t, FdNum dirfd, UserPath path, UserAddr buffer, int32_t size) {
  if (size <= 0) return Errno::kEINVAL;
  std::string name = TRY(t.memory().ReadPath(path));
  vfs::At at = TRY(StartAt(t, dirfd, name));
  at.follow_last = false;
  at.allow_empty = true;  // readlink(2): "since Linux 2.6.39, pathname can be an empty string"
  std::string target = TRY(t.kernel().vfs().ReadLink(t, name, at));
  size_t n = std::min<size_t>(target.size(), static_cast<size_t>(size));
  TRY(t.memory().CopyOut(buffer, std::as_bytes(std::span(target.data(), n))));
  return uint64_t{n};
}
Result<uint64_t> SysReadlink(Task& t, UserPath path, UserAddr buffer, int32_t size) {
  return SysReadlinkat(t, kCwd, path, buffer, size);
}

Result<void> WriteStatfs(Task& t, const vfs::Path& path, UserAddr out) {
  vfs::FsStat f = TRY(t.kernel().vfs().StatFs(path));
  struct statfs s;
  memset(&s, 0, sizeof(s));
  s.f_type = f.type;
  s.f_bsize = static_cast<long>(f.block_size);
  s.f_blocks = f.blocks;
  s.f_bfree = f.blocks_free;
  s.f_bavail = f.blocks_available;
  s.f_files = f.files;
  s.f_ffree = f.files_free;
  memcpy(&s.f_fsid, &f.fsid, sizeof(s.f_fsid));
  s.f_namelen = static_cast<long>(f.name_max);
  s.f_frsize = s.f_bsize;
  // ST_VALID and the mount's flags, whose numbers are those of statvfs(3).
  constexpr long kValid = 0x20;
  s.f_flags = kValid;
  uint32_t m = path.mount->flags();
  if ((m & vfs::kMountReadOnly) != 0) s.f_flags |= 1;
  if ((m & vfs::kMountNoSuid) != 0) s.f_flags |= 2;
  if ((m & vfs::kMountNoDev) != 0) s.f_flags |= 4;
  if ((m & vfs::kMountNoExec) != 0) s.f_flags |= 8;
  if ((m & vfs::kMountNoAtime) != 0) s.f_flags |= 1024;
  if ((m & vfs::kMountNoDirAtime) != 0) s.f_flags |= 2048;
  if ((m & vfs::kMountRelatime) != 0) s.f_flags |= 4096;
  return t.memory().Write(out, s);
}

Result<void> SysStatfs(Task& t, UserPath path, UserAddr out) {
  vfs::Path found = TRY(ResolveAt(t, kCwd, path, 0, FollowByDefault::kYes));
  return WriteStatfs(t, found, out);
}
Result<void> SysFstatfs(Task& t, FdNum fd, UserAddr out) {
  Ref<vfs::File> file = TRY(t.files().Get(fd));
  return WriteStatfs(t, file->path(), out);
}

constexpr Row kRows[] = {
    Full<SysStat>(SYS_stat, "stat"),
    Full<SysFstat>(SYS_fstat, "fstat"),
    Full<SysLstat>(SYS_lstat, "lstat"),
    Full<SysNewfstatat>(SYS_newfstatat, "newfstatat"),
    Full<SysStatx>(SYS_statx, "statx"),
    Full<SysAccess>(SYS_access, "access"),
    Full<SysFaccessat>(SYS_faccessat, "faccessat"),
    Full<SysFaccessat2>(SYS_faccessat2, "faccessat2"),
    Full<SysReadlink>(SYS_readlink, "readlink"),
    Full<SysReadlinkat>(SYS_readlinkat, "readlinkat"),
    Full<SysStatfs>(SYS_statfs, "statfs"),
    Full<SysFstatfs>(SYS_fstatfs, "fstatfs"),
};

}  // namespace

std::span<const Row> StatRows() { return kRows; }

}  // namespace sandboxd::syscalls
