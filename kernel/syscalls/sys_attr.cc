// chmod(2), chown(2), utime(2), utimensat(2), truncate(2), ftruncate(2).
#include <fcntl.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <utime.h>

#include "kernel/syscalls/families.h"
#include "kernel/syscalls/paths.h"
#include "kernel/time/clock.h"

namespace sandboxd::syscalls {
namespace {

vfs::Vfs& VfsOf(Task& t) { return t.kernel().vfs(); }

Result<void> SysFchmodat(Task& t, FdNum dirfd, UserPath path, uint32_t mode) {
  return VfsOf(t).Chmod(t, TRY(ResolveUserPath(t, dirfd, path, Follow::kYes)), mode);
}
Result<void> SysChmod(Task& t, UserPath path, uint32_t mode) {
  return SysFchmodat(t, kCwd, path, mode);
}
Result<void> SysFchmod(Task& t, FdNum fd, uint32_t mode) {
  return VfsOf(t).Chmod(t, TRY(t.files().GetForIo(fd))->path(), mode);
}

Result<void> ChownPath(Task& t, const vfs::Path& place, uint32_t uid, uint32_t gid) {
  creds::CredRef creds = t.credentials();
  std::optional<vfs::KUid> kuid;
  std::optional<vfs::KGid> kgid;
  // chown(2): -1 leaves the id alone; an id that the user namespace does not map is EINVAL.
  if (uid != UINT32_MAX) {
    kuid = creds->user_ns->ToKUid(uid);
    if (!kuid) return Errno::kEINVAL;
  }
  if (gid != UINT32_MAX) {
    kgid = creds->user_ns->ToKGid(gid);
    if (!kgid) return Errno::kEINVAL;
  }
  return VfsOf(t).Chown(t, place, kuid, kgid);
}

Result<void> SysFchownat(Task& t, FdNum dirfd, UserPath path, uint32_t uid, uint32_t gid,
                         int32_t flags) {
  if ((flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH)) != 0) return Errno::kEINVAL;
  Follow follow = (flags & AT_SYMLINK_NOFOLLOW) != 0 ? Follow::kNo : Follow::kYes;
  return ChownPath(t, TRY(ResolveUserPath(t, dirfd, path, follow, flags)), uid, gid);
}
Result<void> SysChown(Task& t, UserPath path, uint32_t uid, uint32_t gid) {
  return SysFchownat(t, kCwd, path, uid, gid, 0);
}
Result<void> SysLchown(Task& t, UserPath path, uint32_t uid, uint32_t gid) {
  return SysFchownat(t, kCwd, path, uid, gid, AT_SYMLINK_NOFOLLOW);
}
Result<void> SysFchown(Task& t, FdNum fd, uint32_t uid, uint32_t gid) {
  return ChownPath(t, TRY(t.files().GetForIo(fd))->path(), uid, gid);
}

using Update = vfs::Vfs::TimeUpdate;

Result<Update> UpdateOf(const time::Timespec& ts) {
  if (ts.nsec == UTIME_NOW) return Update{Update::Kind::kNow, {}};
  if (ts.nsec == UTIME_OMIT) return Update{Update::Kind::kOmit, {}};
  if (ts.nsec < 0 || ts.nsec > 999'999'999) return Errno::kEINVAL;
  return Update{Update::Kind::kSet, {ts.sec, static_cast<uint32_t>(ts.nsec)}};
}

struct BothTimes {
  Update atime, mtime;  // now, unless told otherwise
  bool nothing() const {
    return atime.kind == Update::Kind::kOmit && mtime.kind == Update::Kind::kOmit;
  }
};

Result<void> SetTimesAt(Task& t, FdNum dirfd, UserPath path, const BothTimes& times, int flags) {
  // futimens(3): a null path is the descriptor itself.
  if (path.null() && !(dirfd == kCwd)) {
    if (flags != 0) return Errno::kEINVAL;
    Ref<vfs::File> file = TRY(t.files().GetForIo(dirfd));
    return VfsOf(t).SetTimes(t, file->path(), times.atime, times.mtime);
  }
  if ((flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH)) != 0) return Errno::kEINVAL;
  Follow follow = (flags & AT_SYMLINK_NOFOLLOW) != 0 ? Follow::kNo : Follow::kYes;
  vfs::Path place = TRY(ResolveUserPath(t, dirfd, path, follow, flags));
  return VfsOf(t).SetTimes(t, place, times.atime, times.mtime);
}

Result<void> SysUtimensat(Task& t, FdNum dirfd, UserPath path, UserAddr times_addr, int32_t flags) {
  BothTimes times;
  if (!times_addr.null()) {
    auto ts = TRY(t.memory().ReadArray<time::Timespec>(times_addr, 2));
    times = {TRY(UpdateOf(ts[0])), TRY(UpdateOf(ts[1]))};
    // "If both are UTIME_OMIT, the path is not even looked at."
    if (times.nothing()) return Ok();
  }
  return SetTimesAt(t, dirfd, path, times, flags);
}

Result<void> SysFutimesat(Task& t, FdNum dirfd, UserPath path, UserAddr times_addr) {
  BothTimes times;
  if (!times_addr.null()) {
    auto tv = TRY(t.memory().ReadArray<timeval>(times_addr, 2));
    for (const timeval& v : tv) {
      if (v.tv_usec < 0 || v.tv_usec > 999'999) return Errno::kEINVAL;
    }
    auto set = [](const timeval& v) {
      return Update{Update::Kind::kSet, {v.tv_sec, static_cast<uint32_t>(v.tv_usec * 1000)}};
    };
    times = {set(tv[0]), set(tv[1])};
  }
  return SetTimesAt(t, dirfd, path, times, 0);
}
Result<void> SysUtimes(Task& t, UserPath path, UserAddr times) {
  return SysFutimesat(t, kCwd, path, times);
}
Result<void> SysUtime(Task& t, UserPath path, UserAddr times_addr) {
  BothTimes times;
  if (!times_addr.null()) {
    utimbuf b = TRY(t.memory().Read<utimbuf>(times_addr));
    times = {{Update::Kind::kSet, {b.actime, 0}}, {Update::Kind::kSet, {b.modtime, 0}}};
  }
  return SetTimesAt(t, kCwd, path, times, 0);
}

Result<void> SysTruncate(Task& t, UserPath path, int64_t size) {
  if (size < 0) return Errno::kEINVAL;
  return VfsOf(t).Truncate(t, TRY(ResolveUserPath(t, kCwd, path, Follow::kYes)), size);
}

Result<void> SysFtruncate(Task& t, FdNum fd, int64_t size) {
  if (size < 0) return Errno::kEINVAL;
  Ref<vfs::File> file = TRY(t.files().GetForIo(fd));
  if (!file->inode()->IsRegular() || !file->writable()) return Errno::kEINVAL;
  uint64_t wanted = static_cast<uint64_t>(size);
  uint64_t old = TRY(file->GetAttr()).size;
  if (wanted > old) TRY(vfs::LimitSize(t, wanted));
  TRY(file->Truncate(t, wanted));
  vfs::Notify(file->path(), IN_MODIFY);
  return Ok();
}

constexpr Row kRows[] = {
    Full<SysChmod>(SYS_chmod, "chmod"),
    Full<SysFchmod>(SYS_fchmod, "fchmod"),
    Full<SysFchmodat>(SYS_fchmodat, "fchmodat"),
    Full<SysChown>(SYS_chown, "chown"),
    Full<SysFchown>(SYS_fchown, "fchown"),
    Full<SysLchown>(SYS_lchown, "lchown"),
    Full<SysFchownat>(SYS_fchownat, "fchownat"),
    Full<SysUtime>(SYS_utime, "utime"),
    Full<SysUtimes>(SYS_utimes, "utimes"),
    Full<SysFutimesat>(SYS_futimesat, "futimesat"),
    Full<SysUtimensat>(SYS_utimensat, "utimensat"),
    Full<SysTruncate>(SYS_truncate, "truncate"),
    Full<SysFtruncate>(SYS_ftruncate, "ftruncate"),
};

}  // namespace

std::span<const Row> AttrRows() { return kRows; }

}  // namespace sandboxd::syscalls
