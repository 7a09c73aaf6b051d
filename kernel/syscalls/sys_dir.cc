// Names: getdents(2), getcwd(2), chdir(2), mkdir(2), unlink(2), rename(2), link(2), symlink(2),
// mknod(2), chroot(2).
#include <dirent.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/fs.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>

#include "kernel/syscalls/at.h"
#include "kernel/syscalls/families.h"
#include "kernel/vfs/fd_table.h"

namespace sandboxd::syscalls {
namespace {

// struct linux_dirent64 and struct linux_dirent of getdents(2): a header, the name, padding to 8
// bytes. The old one keeps the type in its last byte.
enum class DirentFormat : uint8_t { kOld, k64 };

size_t DirentSize(size_t name, DirentFormat format) {
  size_t raw = format == DirentFormat::k64 ? 19 + name + 1 : 18 + name + 2;
  return (raw + 7) & ~size_t{7};
}

void AppendDirent(std::vector<std::byte>* out, const vfs::DirEntry& e, DirentFormat format) {
  size_t size = DirentSize(e.name.size(), format);
  size_t at = out->size();
  out->resize(at + size);
  std::byte* p = out->data() + at;
  auto reclen = static_cast<uint16_t>(size);
  memcpy(p, &e.ino, 8);
  memcpy(p + 8, &e.next_offset, 8);
  memcpy(p + 16, &reclen, 2);
  size_t name_at = format == DirentFormat::k64 ? 19 : 18;
  memcpy(p + name_at, e.name.data(), e.name.size());
  p[format == DirentFormat::k64 ? 18 : size - 1] = static_cast<std::byte>(e.type);
}

Result<uint64_t> GetDents(Task& t, FdNum fd, UserAddr buffer, uint32_t size, DirentFormat format) {
  Ref<vfs::File> file = TRY(t.files().GetForIo(fd));
  // One call returns at most this much, whatever room there is: callers come back for more.
  size_t room = std::min<size_t>(size, 256 << 10);
  std::vector<std::byte> entries;
  bool too_small = false;
  TRY(file->ReadDir(t, [&](const vfs::DirEntry& e) {
    if (entries.size() + DirentSize(e.name.size(), format) > room) {
      too_small = entries.empty();
      return false;
    }
    AppendDirent(&entries, e, format);
    return true;
  }));
  if (too_small) return Errno::kEINVAL;
  TRY(t.memory().CopyOut(buffer, entries));
  return uint64_t{entries.size()};
}

Result<uint64_t> SysGetdents64(Task& t, FdNum fd, UserAddr buffer, uint32_t size) {
  return GetDents(t, fd, buffer, size, DirentFormat::k64);
}
Result<uint64_t> SysGetdents(Task& t, FdNum fd, UserAddr buffer, uint32_t size) {
  return GetDents(t, fd, buffer, size, DirentFormat::kOld);
}

Result<uint64_t> SysGetcwd(Task& t, UserAddr buffer, uint64_t size) {
  vfs::Path cwd = t.cwd();
  if (cwd.dentry->deleted()) return Errno::kENOENT;
  std::string path = t.kernel().vfs().PathString(cwd, t.root());
  if (path.size() + 1 > size) return Errno::kERANGE;
  TRY(t.memory().CopyOut(buffer, std::as_bytes(std::span(path.c_str(), path.size() + 1))));
  return uint64_t{path.size() + 1};
}

// May the task make `path` its cwd or root?
Result<void> CheckEnter(Task& t, const vfs::Path& path) {
  if (!path.dentry->inode()->IsDirectory()) return Errno::kENOTDIR;
  return t.kernel().vfs().Access(t, path, X_OK, *t.credentials());
}

Result<void> SysChdir(Task& t, UserPath path) {
  vfs::Path found = TRY(ResolveAt(t, kCwd, path, 0, FollowByDefault::kYes));
  TRY(CheckEnter(t, found));
  t.fs()->set_cwd(found);
  return Ok();
}

Result<void> SysFchdir(Task& t, FdNum fd) {
  Ref<vfs::File> file = TRY(t.files().Get(fd));
  TRY(CheckEnter(t, file->path()));
  t.fs()->set_cwd(file->path());
  return Ok();
}

Result<void> SysChroot(Task& t, UserPath path) {
  vfs::Path found = TRY(ResolveAt(t, kCwd, path, 0, FollowByDefault::kYes));
  TRY(CheckEnter(t, found));
  if (!t.credentials()->CapableOwn(CAP_SYS_CHROOT)) return Errno::kEPERM;
  t.fs()->set_root(found);
  return Ok();
}

Result<void> SysMkdirat(Task& t, FdNum dirfd, UserPath path, uint32_t mode) {
  std::string name = TRY(t.memory().ReadPath(path));
  return t.kernel().vfs().Mkdir(t, name, TRY(StartAt(t, dirfd, name)), mode);
}
Result<void> SysMkdir(Task& t, UserPath path, uint32_t mode) {
  return SysMkdirat(t, kCwd, path, mode);
}

Result<void> SysMknodat(Task& t, FdNum dirfd, UserPath path, uint32_t mode, uint32_t dev) {
  std::string name = TRY(t.memory().ReadPath(path));
  // new_decode_dev(): the 32-bit device number of the system call.
  vfs::DeviceNumber device{(dev & 0xfff00) >> 8, (dev & 0xff) | ((dev >> 12) & 0xfff00)};
  return t.kernel().vfs().Mknod(t, name, TRY(StartAt(t, dirfd, name)), mode, device);
}
Result<void> SysMknod(Task& t, UserPath path, uint32_t mode, uint32_t dev) {
  return SysMknodat(t, kCwd, path, mode, dev);
}

Result<void> SysUnlinkat(Task& t, FdNum dirfd, UserPath path, int32_t flags) {
  if ((flags & ~AT_REMOVEDIR) != 0) return Errno::kEINVAL;
  std::string name = TRY(t.memory().ReadPath(path));
  vfs::At at = TRY(StartAt(t, dirfd, name));
  if ((flags & AT_REMOVEDIR) != 0) return t.kernel().vfs().Rmdir(t, name, at);
  return t.kernel().vfs().Unlink(t, name, at);
}
Result<void> SysUnlink(Task& t, UserPath path) { return SysUnlinkat(t, kCwd, path, 0); }
Result<void> SysRmdir(Task& t, UserPath path) { return SysUnlinkat(t, kCwd, path, AT_REMOVEDIR); }

Result<void> SysRenameat2(Task& t, FdNum old_dirfd, UserPath old_path, FdNum new_dirfd,
                          UserPath new_path, uint32_t flags) {
  if ((flags & ~(RENAME_NOREPLACE | RENAME_EXCHANGE | RENAME_WHITEOUT)) != 0) return Errno::kEINVAL;
  if ((flags & (RENAME_NOREPLACE | RENAME_WHITEOUT)) != 0 && (flags & RENAME_EXCHANGE) != 0)
    return Errno::kEINVAL;
  std::string old_name = TRY(t.memory().ReadPath(old_path));
  std::string new_name = TRY(t.memory().ReadPath(new_path));
  return t.kernel().vfs().Rename(t, old_name, TRY(StartAt(t, old_dirfd, old_name)), new_name,
                                 TRY(StartAt(t, new_dirfd, new_name)), flags);
}
Result<void> SysRenameat(Task& t, FdNum old_dirfd, UserPath old_path, FdNum new_dirfd,
                         UserPath new_path) {
  return SysRenameat2(t, old_dirfd, old_path, new_dirfd, new_path, 0);
}
Result<void> SysRename(Task& t, UserPath old_path, UserPath new_path) {
  return SysRenameat2(t, kCwd, old_path, kCwd, new_path, 0);
}

Result<void> SysLinkat(Task& t, FdNum old_dirfd, UserPath old_path, FdNum new_dirfd,
                       UserPath new_path, int32_t flags) {
  if ((flags & ~(AT_SYMLINK_FOLLOW | AT_EMPTY_PATH)) != 0) return Errno::kEINVAL;
  std::string old_name = TRY(t.memory().ReadPath(old_path));
  std::string new_name = TRY(t.memory().ReadPath(new_path));
  vfs::At from = TRY(StartAt(t, old_dirfd, old_name));
  from.follow_last = (flags & AT_SYMLINK_FOLLOW) != 0;
  from.allow_empty = (flags & AT_EMPTY_PATH) != 0;
  if (from.allow_empty && old_name.empty() && !t.credentials()->CapableInit(CAP_DAC_READ_SEARCH)) {
    return Errno::kENOENT;
  }
  return t.kernel().vfs().Link(t, old_name, from, new_name, TRY(StartAt(t, new_dirfd, new_name)));
}
Result<void> SysLink(Task& t, UserPath old_path, UserPath new_path) {
  return SysLinkat(t, kCwd, old_path, kCwd, new_path, 0);
}

Result<void> SysSymlinkat(Task& t, UserPath target, FdNum dirfd, UserPath path) {
  std::string text = TRY(t.memory().ReadPath(target));
  if (text.empty()) return Errno::kENOENT;
  std::string name = TRY(t.memory().ReadPath(path));
  return t.kernel().vfs().Symlink(t, text, name, TRY(StartAt(t, dirfd, name)));
}
Result<void> SysSymlink(Task& t, UserPath target, UserPath path) {
  return SysSymlinkat(t, target, kCwd, path);
}

Result<uint64_t> SysUmask(Task& t, uint32_t mask) {
  return uint64_t{t.fs()->exchange_umask(mask & 0777)};
}

constexpr Row kRows[] = {
    Full<SysGetdents>(SYS_getdents, "getdents"),
    Full<SysGetdents64>(SYS_getdents64, "getdents64"),
    Full<SysGetcwd>(SYS_getcwd, "getcwd"),
    Full<SysChdir>(SYS_chdir, "chdir"),
    Full<SysFchdir>(SYS_fchdir, "fchdir"),
    Full<SysChroot>(SYS_chroot, "chroot"),
    Full<SysMkdir>(SYS_mkdir, "mkdir"),
    Full<SysMkdirat>(SYS_mkdirat, "mkdirat"),
    Full<SysMknod>(SYS_mknod, "mknod"),
    Full<SysMknodat>(SYS_mknodat, "mknodat"),
    Full<SysUnlink>(SYS_unlink, "unlink"),
    Full<SysUnlinkat>(SYS_unlinkat, "unlinkat"),
    Full<SysRmdir>(SYS_rmdir, "rmdir"),
    Full<SysRename>(SYS_rename, "rename"),
    Full<SysRenameat>(SYS_renameat, "renameat"),
    Full<SysRenameat2>(SYS_renameat2, "renameat2"),
    Full<SysLink>(SYS_link, "link"),
    Full<SysLinkat>(SYS_linkat, "linkat"),
    Full<SysSymlink>(SYS_symlink, "symlink"),
    Full<SysSymlinkat>(SYS_symlinkat, "symlinkat"),
    Full<SysUmask>(SYS_umask, "umask"),
};

}  // namespace

std::span<const Row> DirRows() { return kRows; }

}  // namespace sandboxd::syscalls
