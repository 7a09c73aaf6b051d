// Directories and names: getdents(2), getcwd(2), chdir(2), chroot(2), mkdir(2), mknod(2), link(2),
// symlink(2), unlink(2), rmdir(2), rename(2).
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/fs.h>
#include <sys/inotify.h>
#include <sys/stat.h>

#include <cstring>
#include <vector>

#include "kernel/syscalls/families.h"
#include "kernel/syscalls/paths.h"
#include "platform/base/checked_math.h"

namespace sandboxd::syscalls {
namespace {

// Both getdents layouts begin with ino, off, reclen; getdents64 goes on with the type and the name,
// getdents with the name, and has the type in its last byte.
enum class DirentKind : uint8_t { kOld, k64 };
constexpr size_t kDirentHead = 18;

class DirentBuffer {
 public:
  DirentBuffer(size_t limit, DirentKind kind) : limit_(limit), kind_(kind) {}

  bool Add(const vfs::DirEntry& e) {
    size_t name_at = kDirentHead + (kind_ == DirentKind::k64 ? 1 : 0);
    size_t tail = kind_ == DirentKind::k64 ? 1 : 2;  // NUL, and the old layout's type
    size_t length = (name_at + e.name.size() + tail + 7) & ~size_t{7};
    if (bytes_.size() + length > limit_) {
      full_ = true;
      return false;
    }
    size_t at = bytes_.size();
    bytes_.resize(at + length);
    std::byte* p = bytes_.data() + at;
    uint16_t record_length = static_cast<uint16_t>(length);
    memcpy(p, &e.ino, 8);
    memcpy(p + 8, &e.next_offset, 8);
    memcpy(p + 16, &record_length, 2);
    memcpy(p + name_at, e.name.data(), e.name.size());
    p[kind_ == DirentKind::k64 ? kDirentHead : length - 1] = std::byte{e.type};
    return true;
  }
  ConstBytes bytes() const { return bytes_; }
  bool full() const { return full_; }

 private:
  const size_t limit_;
  const DirentKind kind_;
  std::vector<std::byte> bytes_;
  bool full_ = false;
};

// The entries before the one that does not fit into accessible memory; it comes again next time.
Result<uint64_t> CopyWholeEntries(Task& t, vfs::File& file, UserAddr out, ConstBytes bytes,
                                  int64_t start) {
  size_t done = 0;
  while (done < bytes.size()) {
    uint16_t length;
    memcpy(&length, bytes.data() + done + 16, sizeof(length));
    if (!t.memory().CopyOut(out + done, bytes.subspan(done, length)).ok()) break;
    memcpy(&start, bytes.data() + done + 8, sizeof(start));
    done += length;
  }
  TRY(file.Seek(t, start, SEEK_SET));
  return done > 0 ? Result<uint64_t>(done) : Errno::kEFAULT;
}

Result<uint64_t> GetDents(Task& t, FdNum fd, UserAddr out, uint32_t count, DirentKind kind) {
  Ref<vfs::File> file = TRY(t.files().GetForIo(fd));
  if (!file->inode()->IsDirectory()) return Errno::kENOTDIR;
  if (file->path().dentry != file->path().mount->root() && file->path().dentry->deleted())
    return Errno::kENOENT;
  constexpr uint32_t kMost = 64 << 10;  // a short answer is always allowed
  // Linux counts down in an int: what is negative there has room for nothing.
  DirentBuffer buffer(count > INT32_MAX ? 0 : std::min(count, kMost), kind);
  const int64_t start = file->position();
  TRY(file->ReadDir(t, [&](const vfs::DirEntry& e) { return buffer.Add(e); }));
  vfs::Notify(file->path(), IN_ACCESS);
  if (buffer.bytes().empty() && buffer.full()) return Errno::kEINVAL;
  if (t.memory().CopyOut(out, buffer.bytes()).ok()) return uint64_t{buffer.bytes().size()};
  return CopyWholeEntries(t, *file, out, buffer.bytes(), start);
}

Result<uint64_t> SysGetdents(Task& t, FdNum fd, UserAddr out, uint32_t count) {
  return GetDents(t, fd, out, count, DirentKind::kOld);
}
Result<uint64_t> SysGetdents64(Task& t, FdNum fd, UserAddr out, uint32_t count) {
  return GetDents(t, fd, out, count, DirentKind::k64);
}

Result<uint64_t> SysGetcwd(Task& t, UserAddr out, uint64_t size) {
  vfs::Path cwd = t.cwd();
  if (cwd.dentry != cwd.mount->root() && cwd.dentry->deleted()) return Errno::kENOENT;
  std::string text = t.kernel().vfs().PathString(cwd, t.root());
  if (text.size() + 1 > size) return Errno::kERANGE;
  TRY(t.memory().CopyOut(out, std::as_bytes(std::span(text.c_str(), text.size() + 1))));
  return uint64_t{text.size() + 1};
}

Result<void> CheckEnterable(Task& t, const vfs::Path& place) {
  if (!place.dentry->inode()->IsDirectory()) return Errno::kENOTDIR;
  return place.dentry->inode()->CheckPermission(*t.credentials(), vfs::kMayExec);
}

Result<void> SysChdir(Task& t, UserPath path) {
  vfs::Path place = TRY(ResolveUserPath(t, kCwd, path, Follow::kYes));
  TRY(CheckEnterable(t, place));
  t.fs()->set_cwd(std::move(place));
  return Ok();
}

Result<void> SysFchdir(Task& t, FdNum fd) {
  Ref<vfs::File> file = TRY(t.files().Get(fd));
  TRY(CheckEnterable(t, file->path()));
  t.fs()->set_cwd(file->path());
  return Ok();
}

Result<void> SysChroot(Task& t, UserPath path) {
  vfs::Path place = TRY(ResolveUserPath(t, kCwd, path, Follow::kYes));
  TRY(CheckEnterable(t, place));
  if (!t.credentials()->CapableOwn(CAP_SYS_CHROOT)) return Errno::kEPERM;
  t.fs()->set_root(std::move(place));
  return Ok();
}

// A path argument with its start, ready for a verb of the vfs.
struct PathArg {
  std::string name;
  vfs::At at;
};
Result<PathArg> ReadArg(Task& t, FdNum dirfd, UserPath path, Follow follow = Follow::kNo,
                        int flags = 0) {
  PathArg arg{TRY(t.memory().ReadPath(path)), {}};
  arg.at = TRY(AtOf(t, dirfd, arg.name, follow, flags));
  return arg;
}

Result<void> SysMkdirat(Task& t, FdNum dirfd, UserPath path, uint32_t mode) {
  PathArg p = TRY(ReadArg(t, dirfd, path));
  return t.kernel().vfs().Mkdir(t, p.name, p.at, mode);
}
Result<void> SysMkdir(Task& t, UserPath path, uint32_t mode) {
  return SysMkdirat(t, kCwd, path, mode);
}

Result<void> SysMknodat(Task& t, FdNum dirfd, UserPath path, uint32_t mode, uint32_t dev) {
  PathArg p = TRY(ReadArg(t, dirfd, path));
  return t.kernel().vfs().Mknod(t, p.name, p.at, mode, vfs::DeviceNumber::Decode(dev));
}
Result<void> SysMknod(Task& t, UserPath path, uint32_t mode, uint32_t dev) {
  return SysMknodat(t, kCwd, path, mode, dev);
}

Result<void> SysUnlinkat(Task& t, FdNum dirfd, UserPath path, int32_t flags) {
  if ((flags & ~AT_REMOVEDIR) != 0) return Errno::kEINVAL;
  PathArg p = TRY(ReadArg(t, dirfd, path));
  if ((flags & AT_REMOVEDIR) != 0) return t.kernel().vfs().Rmdir(t, p.name, p.at);
  return t.kernel().vfs().Unlink(t, p.name, p.at);
}
Result<void> SysUnlink(Task& t, UserPath path) { return SysUnlinkat(t, kCwd, path, 0); }
Result<void> SysRmdir(Task& t, UserPath path) { return SysUnlinkat(t, kCwd, path, AT_REMOVEDIR); }

Result<void> SysSymlinkat(Task& t, UserPath target, FdNum dirfd, UserPath path) {
  std::string text = TRY(t.memory().ReadPath(target));
  if (text.empty()) return Errno::kENOENT;
  PathArg p = TRY(ReadArg(t, dirfd, path));
  return t.kernel().vfs().Symlink(t, text, p.name, p.at);
}
Result<void> SysSymlink(Task& t, UserPath target, UserPath path) {
  return SysSymlinkat(t, target, kCwd, path);
}

Result<void> SysLinkat(Task& t, FdNum old_dirfd, UserPath old_path, FdNum new_dirfd,
                       UserPath new_path, int32_t flags) {
  if ((flags & ~(AT_SYMLINK_FOLLOW | AT_EMPTY_PATH)) != 0) return Errno::kEINVAL;
  // linkat(2): AT_EMPTY_PATH "requires the CAP_DAC_READ_SEARCH capability".
  if ((flags & AT_EMPTY_PATH) != 0 && !t.credentials()->CapableOwn(CAP_DAC_READ_SEARCH))
    return Errno::kENOENT;
  Follow follow = (flags & AT_SYMLINK_FOLLOW) != 0 ? Follow::kYes : Follow::kNo;
  PathArg from = TRY(ReadArg(t, old_dirfd, old_path, follow, flags));
  PathArg to = TRY(ReadArg(t, new_dirfd, new_path));
  return t.kernel().vfs().Link(t, from.name, from.at, to.name, to.at);
}
Result<void> SysLink(Task& t, UserPath old_path, UserPath new_path) {
  return SysLinkat(t, kCwd, old_path, kCwd, new_path, 0);
}

Result<void> SysRenameat2(Task& t, FdNum old_dirfd, UserPath old_path, FdNum new_dirfd,
                          UserPath new_path, uint32_t flags) {
  if ((flags & ~(RENAME_NOREPLACE | RENAME_EXCHANGE | RENAME_WHITEOUT)) != 0) return Errno::kEINVAL;
  if ((flags & RENAME_EXCHANGE) != 0 && (flags & (RENAME_NOREPLACE | RENAME_WHITEOUT)) != 0)
    return Errno::kEINVAL;
  PathArg from = TRY(ReadArg(t, old_dirfd, old_path));
  PathArg to = TRY(ReadArg(t, new_dirfd, new_path));
  return t.kernel().vfs().Rename(t, from.name, from.at, to.name, to.at, flags);
}
Result<void> SysRenameat(Task& t, FdNum old_dirfd, UserPath old_path, FdNum new_dirfd,
                         UserPath new_path) {
  return SysRenameat2(t, old_dirfd, old_path, new_dirfd, new_path, 0);
}
Result<void> SysRename(Task& t, UserPath old_path, UserPath new_path) {
  return SysRenameat2(t, kCwd, old_path, kCwd, new_path, 0);
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
    Full<SysSymlink>(SYS_symlink, "symlink"),
    Full<SysSymlinkat>(SYS_symlinkat, "symlinkat"),
    Full<SysLink>(SYS_link, "link"),
    Full<SysLinkat>(SYS_linkat, "linkat"),
    Full<SysRename>(SYS_rename, "rename"),
    Full<SysRenameat>(SYS_renameat, "renameat"),
    Partial<SysRenameat2>(SYS_renameat2, "renameat2", "RENAME_WHITEOUT is EINVAL"),
    Full<SysUmask>(SYS_umask, "umask"),
};

}  // namespace

std::span<const Row> DirRows() { return kRows; }

}  // namespace sandboxd::syscalls
