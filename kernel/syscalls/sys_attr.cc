// Changing attributes: chmod(2), chown(2), utimensat(2), truncate(2).
#include <fcntl.h>
#include <sys/stat.h>

#include "kernel/syscalls/at.h"
#include "kernel/syscalls/families.h"
#include "kernel/time/clock.h"
#include "kernel/vfs/fd_table.h"

namespace sandboxd::syscalls {
namespace {

Result<void> SysFchmodat(Task& t, FdNum dirfd, UserPath path, uint32_t mode) {
  vfs::Path found = TRY(ResolveAt(t, dirfd, path, 0, FollowByDefault::kYes));
  return t.kernel().vfs().Chmod(t, found, mode);
}
Result<void> SysChmod(Task& t, UserPath path, uint32_t mode) {
  return SysFchmodat(t, kCwd, path, mode);
}
Result<void> SysFchmod(Task& t, FdNum fd, uint32_t mode) {
  Ref<vfs::File> file = TRY(t.files().GetForIo(fd));
  return t.kernel().vfs().Chmod(t, file->path(), mode);
}

// chown(2): -1 leaves an id as it is; one that the caller's user namespace does not map is EINVAL.
Result<void> ChownPath(Task& t, const vfs::Path& path, uint32_t uid, uint32_t gid) {
  creds::CredRef c = t.credentials();
  std::optional<vfs::KUid> new_uid;
  std::optional<vfs::KGid> new_gid;
  if (uid != UINT32_MAX) {
    new_uid = c->user_ns->ToKUid(uid);
    if (!new_uid) return Errno::kEINVAL;
  }
  if (gid != UINT32_MAX) {
    new_gid = c->user_ns->ToKGid(gid);
    if (!new_gid) return Errno::kEINVAL;
  }
  return t.kernel().vfs().Chown(t, path, new_uid, new_gid);
}

Result<void> SysFchownat(Task& t, FdNum dirfd, UserPath path, uint32_t uid, uint32_t gid,
                         int32_t flags) {
  if ((flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH)) != 0) return Errno::kEINVAL;
  vfs::Path found = TRY(ResolveAt(t, dirfd, path, flags, FollowByDefault::kYes));
  return ChownPath(t, found, uid, gid);
}
Result<void> SysChown(Task& t, UserPath path, uint32_t uid, uint32_t gid) {
  return SysFchownat(t, kCwd, path, uid, gid, 0);
}
Result<void> SysLchown(Task& t, UserPath path, uint32_t uid, uint32_t gid) {
  return SysFchownat(t, kCwd, path, uid, gid, AT_SYMLINK_NOFOLLOW);
}
Result<void> SysFchown(Task& t, FdNum fd, uint32_t uid, uint32_t gid) {
  Ref<vfs::File> file = TRY(t.files().GetForIo(fd));
  return ChownPath(t, file->path(), uid, gid);
}

using TimeUpdate = vfs::Vfs::TimeUpdate;
struct Times {
  TimeUpdate atime, mtime;
};

Result<TimeUpdate> FromTimespec(const time::Timespec& ts) {
  if (ts.nsec == UTIME_NOW) return TimeUpdate{TimeUpdate::Kind::kNow, {}};
  if (ts.nsec == UTIME_OMIT) return TimeUpdate{TimeUpdate::Kind::kOmit, {}};
  if (ts.nsec < 0 || ts.nsec >= 1'000'000'000) return Errno::kEINVAL;
  return TimeUpdate{TimeUpdate::Kind::kSet, {ts.sec, static_cast<uint32_t>(ts.nsec)}};
}

Result<TimeUpdate> FromTimeval(const time::Timeval& tv) {
  if (tv.usec < 0 || tv.usec >= 1'000'000) return Errno::kEINVAL;
  return TimeUpdate{TimeUpdate::Kind::kSet, {tv.sec, static_cast<uint32_t>(tv.usec * 1000)}};
}

// A null path means the file that `dirfd` refers to (futimens).
Result<void> SetTimesAt(Task& t, FdNum dirfd, UserPath path, const Times& times, int flags) {
  if (times.atime.kind == TimeUpdate::Kind::kOmit && times.mtime.kind == TimeUpdate::Kind::kOmit)
    return Ok();
  if ((flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH)) != 0) return Errno::kEINVAL;
  if (path.null() && dirfd != kCwd) {
    if (flags != 0) return Errno::kEINVAL;
    Ref<vfs::File> file = TRY(t.files().GetForIo(dirfd));
    return t.kernel().vfs().SetTimes(t, file->path(), times.atime, times.mtime);
  }
  vfs::Path found = TRY(ResolveAt(t, dirfd, path, flags, FollowByDefault::kYes));
  return t.kernel().vfs().SetTimes(t, found, times.atime, times.mtime);
}

Result<void> SysUtimensat(Task& t, FdNum dirfd, UserPath path, UserAddr times, int32_t flags) {
  Times update;
  if (!times.null()) {
    auto pair = TRY(t.memory().ReadArray<time::Timespec>(times, 2));
    update = {TRY(FromTimespec(pair[0])), TRY(FromTimespec(pair[1]))};
  }
  return SetTimesAt(t, dirfd, path, update, flags);
}

Result<void> SysFutimesat(Task& t, FdNum dirfd, UserPath path, UserAddr times) {
  Times update;
  if (!times.null()) {
    auto pair = TRY(t.memory().ReadArray<time::Timeval>(times, 2));
    update = {TRY(FromTimeval(pair[0])), TRY(FromTimeval(pair[1]))};
  }
  return SetTimesAt(t, dirfd, path, update, 0);
}
Result<void> SysUtimes(Task& t, UserPath path, UserAddr times) {
  return SysFutimesat(t, kCwd, path, times);
}

Result<void> SysUtime(Task& t, UserPath path, UserAddr times) {
  Times update;
  if (!times.null()) {
    auto pair = TRY(t.memory().ReadArray<int64_t>(times, 2));  // struct utimbuf: seconds
    update.atime = {TimeUpdate::Kind::kSet, {pair[0], 0}};
    update.mtime = {TimeUpdate::Kind::kSet, {pair[1], 0}};
  }
  return SetTimesAt(t, kCwd, path, update, 0);
}

Result<void> SysTruncate(Task& t, UserPath path, int64_t length) {
  if (length < 0) return Errno::kEINVAL;
  vfs::Path found = TRY(ResolveAt(t, kCwd, path, 0, FollowByDefault::kYes));
  return t.kernel().vfs().Truncate(t, found, length);
}

Result<void> SysFtruncate(Task& t, FdNum fd, int64_t length) {
  if (length < 0) return Errno::kEINVAL;
  Ref<vfs::File> file = TRY(t.files().GetForIo(fd));
  if (!file->writable() || !file->inode()->IsRegular()) return Errno::kEINVAL;
  return file->Truncate(t, static_cast<uint64_t>(length));
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
