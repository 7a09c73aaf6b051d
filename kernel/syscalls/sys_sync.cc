// fsync(2), sync(2), fallocate(2), posix_fadvise(2), readahead(2).
#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/inotify.h>
#include <sys/stat.h>

#include <set>

#include "kernel/syscalls/families.h"
#include "kernel/vfs/mount.h"

namespace sandboxd::syscalls {
namespace {

Result<void> SysFsync(Task& t, FdNum fd) {
  return TRY(t.files().GetForIo(fd))->Sync(/*data_only=*/false);
}
Result<void> SysFdatasync(Task& t, FdNum fd) {
  return TRY(t.files().GetForIo(fd))->Sync(/*data_only=*/true);
}

Result<void> SysSync(Task& t) {
  std::set<const vfs::Superblock*> seen;
  for (const auto& entry : t.mount_namespace()->List()) {
    const Ref<vfs::Superblock>& superblock = entry.mount->superblock();
    // sync(2) has no errors.
    if (seen.insert(superblock.get()).second) (void)superblock->Sync();
  }
  return Ok();
}
Result<void> SysSyncfs(Task& t, FdNum fd) {
  return TRY(t.files().GetForIo(fd))->path().mount->superblock()->Sync();
}

Result<void> SysSyncFileRange(Task& t, FdNum fd, int64_t offset, int64_t length, uint32_t flags) {
  constexpr uint32_t kKnown =
      SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER;
  Ref<vfs::File> file = TRY(t.files().GetForIo(fd));
  if ((flags & ~kKnown) != 0) return Errno::kEINVAL;
  if (offset < 0 || length < 0 || !CheckedAdd(offset, length)) return Errno::kEINVAL;
  if (!file->seekable()) return Errno::kESPIPE;
  if ((flags & (SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WAIT_AFTER)) == 0) return Ok();
  return file->Sync(/*data_only=*/true);
}

Result<void> SysFallocate(Task& t, FdNum fd, int32_t mode, int64_t offset, int64_t length) {
  Ref<vfs::File> file = TRY(t.files().GetForIo(fd));
  if (offset < 0 || length <= 0) return Errno::kEINVAL;
  constexpr int kKnown = FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_COLLAPSE_RANGE |
                         FALLOC_FL_ZERO_RANGE | FALLOC_FL_INSERT_RANGE | FALLOC_FL_UNSHARE_RANGE;
  if ((mode & ~kKnown) != 0) return Errno::kEOPNOTSUPP;
  if ((mode & FALLOC_FL_PUNCH_HOLE) != 0 && (mode & FALLOC_FL_KEEP_SIZE) == 0)
    return Errno::kEOPNOTSUPP;
  if (!file->writable()) return Errno::kEBADF;
  switch (file->inode()->type()) {
    case S_IFIFO:
      return Errno::kESPIPE;
    case S_IFDIR:
      return Errno::kEISDIR;
    case S_IFREG:
      break;
    default:
      return Errno::kENODEV;
  }
  if (!CheckedAdd(offset, length)) return Errno::kEFBIG;
  TRY(file->Allocate(t, mode, offset, length));
  vfs::Notify(file->path(), IN_MODIFY);
  return Ok();
}

// Advice may be ignored; its arguments are still checked.
Result<void> SysFadvise64(Task& t, FdNum fd, int64_t, int64_t length, int32_t advice) {
  Ref<vfs::File> file = TRY(t.files().GetForIo(fd));
  if (file->inode()->type() == S_IFIFO) return Errno::kESPIPE;
  if (length < 0) return Errno::kEINVAL;
  if (advice < POSIX_FADV_NORMAL || advice > POSIX_FADV_NOREUSE) return Errno::kEINVAL;
  return Ok();
}

Result<void> SysReadahead(Task& t, FdNum fd, int64_t, uint64_t) {
  Ref<vfs::File> file = TRY(t.files().GetForIo(fd));
  if (!file->readable()) return Errno::kEBADF;
  return file->inode()->IsRegular() ? Ok() : Result<void>(Errno::kEINVAL);
}

constexpr Row kRows[] = {
    Full<SysFsync>(SYS_fsync, "fsync"),
    Full<SysFdatasync>(SYS_fdatasync, "fdatasync"),
    Full<SysSync>(SYS_sync, "sync"),
    Full<SysSyncfs>(SYS_syncfs, "syncfs"),
    Partial<SysSyncFileRange>(SYS_sync_file_range, "sync_file_range", "syncs the whole file"),
    Full<SysFallocate>(SYS_fallocate, "fallocate"),
    Partial<SysFadvise64>(SYS_fadvise64, "fadvise64", "advice is checked and not followed"),
    Partial<SysReadahead>(SYS_readahead, "readahead", "arguments are checked, nothing is read"),
};

}  // namespace

std::span<const Row> SyncRows() { return kRows; }

}  // namespace sandboxd::syscalls
