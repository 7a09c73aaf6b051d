// stat(2) and its relatives, statx(2), access(2), readlink(2), statfs(2).
#include <fcntl.h>
#include <linux/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cstring>

#include "kernel/syscalls/families.h"
#include "kernel/syscalls/paths.h"
#include "platform/abi/stat.h"

namespace sandboxd::syscalls {
namespace {

struct FileFacts {
  vfs::Attr attr;
  vfs::DeviceNumber device;
  int mount_id = 0;
  bool is_mount_root = false;
};

FileFacts FactsOf(const vfs::Path& path, const vfs::Attr& attr) {
  return {attr, path.dentry->inode()->superblock().device(), path.mount->id(),
          path.dentry == path.mount->root()};
}

Result<FileFacts> StatFd(Task& t, FdNum fd) {
  Ref<vfs::File> file = TRY(t.files().Get(fd));
  return FactsOf(file->path(), TRY(file->GetAttr()));
}

// `path` as the *at() calls take it: "" with AT_EMPTY_PATH is the descriptor itself.
Result<FileFacts> StatAt(Task& t, FdNum dirfd, UserPath path, int flags) {
  std::string name = TRY(t.memory().ReadPath(path));
  if (name.empty() && (flags & AT_EMPTY_PATH) != 0 && !(dirfd == kCwd)) return StatFd(t, dirfd);
  Follow follow = (flags & AT_SYMLINK_NOFOLLOW) != 0 ? Follow::kNo : Follow::kYes;
  vfs::At at = TRY(AtOf(t, dirfd, name, follow, flags));
  vfs::Path place = TRY(t.kernel().vfs().Resolve(t, name, at));
  return FactsOf(place, TRY(t.kernel().vfs().Stat(t, place)));
}

abi::Stat ToStat(Task& t, const FileFacts& f) {
  creds::CredRef creds = t.credentials();
  abi::Stat s{};
  s.dev = f.device.Encode();
  s.ino = f.attr.ino;
  s.nlink = f.attr.nlink;
  s.mode = f.attr.mode;
  s.uid = creds->user_ns->FromKUid(f.attr.uid);
  s.gid = creds->user_ns->FromKGid(f.attr.gid);
  s.rdev = f.attr.rdev.Encode();
  s.size = static_cast<int64_t>(f.attr.size);
  s.blksize = f.attr.blksize;
  s.blocks = static_cast<int64_t>(f.attr.blocks);
  auto put = [](abi::StatTime& to, const vfs::Time& from) { to = {from.sec, from.nsec}; };
  put(s.atime, f.attr.atime);
  put(s.mtime, f.attr.mtime);
  put(s.ctime, f.attr.ctime);
  return s;
}

Result<void> SysStat(Task& t, UserPath path, UserOut<abi::Stat> out) {
  return out.Write(t, ToStat(t, TRY(StatAt(t, kCwd, path, 0))));
}
Result<void> SysLstat(Task& t, UserPath path, UserOut<abi::Stat> out) {
  return out.Write(t, ToStat(t, TRY(StatAt(t, kCwd, path, AT_SYMLINK_NOFOLLOW))));
}
Result<void> SysFstat(Task& t, FdNum fd, UserOut<abi::Stat> out) {
  return out.Write(t, ToStat(t, TRY(StatFd(t, fd))));
}
Result<void> SysNewfstatat(Task& t, FdNum dirfd, UserPath path, UserOut<abi::Stat> out,
                           int32_t flags) {
  if ((flags & ~(AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH)) != 0)
    return Errno::kEINVAL;
  return out.Write(t, ToStat(t, TRY(StatAt(t, dirfd, path, flags))));
}

struct statx ToStatx(Task& t, const FileFacts& f) {
  creds::CredRef creds = t.credentials();
  struct statx s {};
  s.stx_mask = STATX_BASIC_STATS | STATX_MNT_ID;
  s.stx_blksize = f.attr.blksize;
  s.stx_attributes = f.attr.attributes | (f.is_mount_root ? STATX_ATTR_MOUNT_ROOT : 0);
  s.stx_attributes_mask = STATX_ATTR_MOUNT_ROOT;
  s.stx_nlink = f.attr.nlink;
  s.stx_uid = creds->user_ns->FromKUid(f.attr.uid);
  s.stx_gid = creds->user_ns->FromKGid(f.attr.gid);
  s.stx_mode = static_cast<uint16_t>(f.attr.mode);
  s.stx_ino = f.attr.ino;
  s.stx_size = f.attr.size;
  s.stx_blocks = f.attr.blocks;
  auto put = [](statx_timestamp& to, const vfs::Time& from) {
    to.tv_sec = from.sec;
    to.tv_nsec = from.nsec;
  };
  put(s.stx_atime, f.attr.atime);
  put(s.stx_mtime, f.attr.mtime);
  put(s.stx_ctime, f.attr.ctime);
  if (f.attr.btime) {
    s.stx_mask |= STATX_BTIME;
    put(s.stx_btime, *f.attr.btime);
  }
  s.stx_rdev_major = f.attr.rdev.major;
  s.stx_rdev_minor = f.attr.rdev.minor;
  s.stx_dev_major = f.device.major;
  s.stx_dev_minor = f.device.minor;
  s.stx_mnt_id = static_cast<uint64_t>(f.mount_id);
  return s;
}

Result<void> SysStatx(Task& t, FdNum dirfd, UserPath path, int32_t flags, uint32_t mask,
                      UserOut<struct statx> out) {
  if ((mask & STATX__RESERVED) != 0) return Errno::kEINVAL;
  if ((flags & AT_STATX_SYNC_TYPE) == AT_STATX_SYNC_TYPE) return Errno::kEINVAL;
  constexpr int kKnown = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH | AT_STATX_SYNC_TYPE;
  if ((flags & ~kKnown) != 0) return Errno::kEINVAL;
  return out.Write(t, ToStatx(t, TRY(StatAt(t, dirfd, path, flags))));
}

// access(2): "the check is done using the calling process's real UID and GID". Capabilities are
// those that the real user would have.
creds::CredRef RealCredentials(const creds::Credentials& c) {
  Ref<creds::Credentials> real = c.Clone();
  real->fsuid = c.ruid;
  real->fsgid = c.rgid;
  auto root = c.user_ns->ToKUid(0);
  constexpr uint32_t kNoSetuidFixup = 1 << 2;  // SECBIT_NO_SETUID_FIXUP
  if ((c.securebits & kNoSetuidFixup) == 0)
    real->effective = root && c.ruid == *root ? c.permitted : creds::CapSet{};
  return real;
}

Result<void> SysFaccessat2(Task& t, FdNum dirfd, UserPath path, int32_t mode, int32_t flags) {
  if ((mode & ~(R_OK | W_OK | X_OK)) != 0) return Errno::kEINVAL;
  if ((flags & ~(AT_EACCESS | AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH)) != 0) return Errno::kEINVAL;
  creds::CredRef own = t.credentials();
  creds::CredRef creds = own;
  bool same =
      own->fsuid == own->ruid && own->fsgid == own->rgid && own->effective == own->permitted;
  if ((flags & AT_EACCESS) == 0 && !same) creds = RealCredentials(*own);
  Follow follow = (flags & AT_SYMLINK_NOFOLLOW) != 0 ? Follow::kNo : Follow::kYes;
  vfs::Path place = TRY(ResolveUserPath(t, dirfd, path, follow, flags));
  return t.kernel().vfs().Access(t, place, mode, *creds);
}
Result<void> SysFaccessat(Task& t, FdNum dirfd, UserPath path, int32_t mode) {
  return SysFaccessat2(t, dirfd, path, mode, 0);
}
Result<void> SysAccess(Task& t, UserPath path, int32_t mode) {
  return SysFaccessat2(t, kCwd, path, mode, 0);
}

Result<uint64_t> SysReadlinkat(Task& t, FdNum dirfd, UserPath path, UserAddr buffer, int32_t size) {
  if (size <= 0) return Errno::kEINVAL;
  std::string name = TRY(t.memory().ReadPath(path));
  vfs::At at = TRY(AtOf(t, dirfd, name, Follow::kNo, AT_EMPTY_PATH));
  if (name.empty() && !at.start) return Errno::kENOENT;
  std::string text = TRY(t.kernel().vfs().ReadLink(t, name, at));
  size_t n = std::min(text.size(), static_cast<size_t>(size));
  TRY(t.memory().CopyOut(buffer, std::as_bytes(std::span(text.data(), n))));
  return uint64_t{n};
}
Result<uint64_t> SysReadlink(Task& t, UserPath path, UserAddr buffer, int32_t size) {
  return SysReadlinkat(t, kCwd, path, buffer, size);
}

uint64_t StatfsFlags(uint32_t mount_flags) {
  static constexpr struct {
    uint32_t ours;
    uint64_t st;
  } kTable[] = {{vfs::kMountReadOnly, ST_RDONLY},   {vfs::kMountNoSuid, ST_NOSUID},
                {vfs::kMountNoDev, ST_NODEV},       {vfs::kMountNoExec, ST_NOEXEC},
                {vfs::kMountNoAtime, ST_NOATIME},   {vfs::kMountNoDirAtime, ST_NODIRATIME},
                {vfs::kMountRelatime, ST_RELATIME}, {vfs::kMountNoSymfollow, 0x2000}};
  uint64_t flags = 0x20;  // ST_VALID
  for (const auto& row : kTable) {
    if ((mount_flags & row.ours) != 0) flags |= row.st;
  }
  return flags;
}

Result<void> WriteStatfs(Task& t, const vfs::Path& place, UserOut<struct statfs> out) {
  vfs::FsStat s = TRY(t.kernel().vfs().StatFs(place));
  struct statfs r {};
  r.f_type = s.type;
  r.f_bsize = static_cast<__fsword_t>(s.block_size);
  r.f_frsize = r.f_bsize;
  r.f_blocks = s.blocks;
  r.f_bfree = s.blocks_free;
  r.f_bavail = s.blocks_available;
  r.f_files = s.files;
  r.f_ffree = s.files_free;
  memcpy(&r.f_fsid, &s.fsid, sizeof r.f_fsid);
  r.f_namelen = static_cast<__fsword_t>(s.name_max);
  r.f_flags = static_cast<__fsword_t>(StatfsFlags(place.mount->flags()));
  return out.Write(t, r);
}

Result<void> SysStatfs(Task& t, UserPath path, UserOut<struct statfs> out) {
  return WriteStatfs(t, TRY(ResolveUserPath(t, kCwd, path, Follow::kYes)), out);
}
Result<void> SysFstatfs(Task& t, FdNum fd, UserOut<struct statfs> out) {
  return WriteStatfs(t, TRY(t.files().Get(fd))->path(), out);
}

constexpr Row kRows[] = {
    Full<SysStat>(SYS_stat, "stat"),
    Full<SysLstat>(SYS_lstat, "lstat"),
    Full<SysFstat>(SYS_fstat, "fstat"),
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
