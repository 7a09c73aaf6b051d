// open(2), openat2(2), close(2), dup(2) and their relatives.
#include <fcntl.h>
#include <linux/close_range.h>
#include <linux/openat2.h>
#include <sys/stat.h>

#include "kernel/syscalls/at.h"
#include "kernel/syscalls/blocking_io.h"
#include "kernel/syscalls/families.h"
#include "kernel/vfs/fd_table.h"

namespace sandboxd::syscalls {
namespace {

// The kernel's value; the C library's is 0 on 64-bit machines.
constexpr int kLargeFile = 0100000;
constexpr int kKnownOpenFlags = O_ACCMODE | O_CREAT | O_EXCL | O_NOCTTY | O_TRUNC | O_APPEND |
                                O_NONBLOCK | O_DSYNC | O_ASYNC | O_DIRECT | kLargeFile |
                                O_DIRECTORY | O_NOFOLLOW | O_NOATIME | O_CLOEXEC | O_SYNC | O_PATH |
                                O_TMPFILE;
constexpr uint64_t kKnownResolve = RESOLVE_NO_XDEV | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS |
                                   RESOLVE_BENEATH | RESOLVE_IN_ROOT | RESOLVE_CACHED;

Result<uint64_t> DoOpen(Task& t, FdNum dirfd, const std::string& path, int flags, uint32_t mode,
                        uint64_t resolve) {
  vfs::At at = TRY(StartAt(t, dirfd, path));
  at.resolve = resolve;
  Ref<vfs::File> file = TRY(t.kernel().vfs().Open(t, path, at, {flags & ~O_CLOEXEC, mode}));
  // fifo(7): opening blocks until the other end is opened too.
  TRY(Blocking(t, *file, EPOLLIN | EPOLLOUT, file->nonblocking(), std::nullopt,
               [&] { return file->FinishOpen(t); }));
  FdNum fd = TRY(t.files().Install(std::move(file), (flags & O_CLOEXEC) != 0, t.fd_limit()));
  return static_cast<uint64_t>(fd.value);
}

// open(2) ignores flags that it does not know, and permission bits beyond 07777.
Result<uint64_t> OpenLoosely(Task& t, FdNum dirfd, UserPath path, int32_t flags, uint32_t mode) {
  std::string name = TRY(t.memory().ReadPath(path));
  return DoOpen(t, dirfd, name, flags & kKnownOpenFlags, mode & 07777, 0);
}

Result<uint64_t> SysOpenat(Task& t, FdNum dirfd, UserPath path, int32_t flags, uint32_t mode) {
  return OpenLoosely(t, dirfd, path, flags, mode);
}

Result<uint64_t> SysOpen(Task& t, UserPath path, int32_t flags, uint32_t mode) {
  return OpenLoosely(t, kCwd, path, flags, mode);
}

Result<uint64_t> SysCreat(Task& t, UserPath path, uint32_t mode) {
  return OpenLoosely(t, kCwd, path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}

// openat2(2): a longer structure is accepted if what we don't know of it is zero.
Result<open_how> ReadOpenHow(Task& t, UserAddr how, uint64_t size) {
  if (size < sizeof(open_how)) return Errno::kEINVAL;
  if (size > kPageSize) return Errno::kE2BIG;
  std::vector<std::byte> rest(size - sizeof(open_how));
  open_how value = TRY(t.memory().Read<open_how>(how));
  TRY(t.memory().CopyIn(how + sizeof(open_how), rest));
  for (std::byte b : rest) {
    if (b != std::byte{0}) return Errno::kE2BIG;
  }
  return value;
}

Result<uint64_t> SysOpenat2(Task& t, FdNum dirfd, UserPath path, UserAddr how, uint64_t size) {
  open_how h = TRY(ReadOpenHow(t, how, size));
  if ((h.flags & ~static_cast<uint64_t>(kKnownOpenFlags)) != 0 || (h.resolve & ~kKnownResolve) != 0)
    return Errno::kEINVAL;
  if ((h.resolve & RESOLVE_BENEATH) != 0 && (h.resolve & RESOLVE_IN_ROOT) != 0)
    return Errno::kEINVAL;
  int flags = static_cast<int>(h.flags);
  bool creates = (flags & O_CREAT) != 0 || (flags & __O_TMPFILE) != 0;
  if (creates ? (h.mode & ~uint64_t{07777}) != 0 : h.mode != 0) return Errno::kEINVAL;
  constexpr int kWithPath = O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
  if ((flags & O_PATH) != 0 && (flags & ~kWithPath) != 0) return Errno::kEINVAL;
  if ((h.resolve & RESOLVE_CACHED) != 0) {
    // openat2(2): "fail unless all path components are already present in the kernel's lookup
    // cache": allowed to fail always.
    if ((flags & (O_TRUNC | O_CREAT | __O_TMPFILE)) != 0) return Errno::kEINVAL;
    return Errno::kEAGAIN;
  }
  std::string name = TRY(t.memory().ReadPath(path));
  return DoOpen(t, dirfd, name, flags, static_cast<uint32_t>(h.mode), h.resolve);
}

Result<void> SysClose(Task& t, FdNum fd) { return t.files().Close(t, fd); }

Result<void> SysCloseRange(Task& t, uint32_t first, uint32_t last, uint32_t flags) {
  if ((flags & ~(CLOSE_RANGE_UNSHARE | CLOSE_RANGE_CLOEXEC)) != 0 || first > last)
    return Errno::kEINVAL;
  if ((flags & CLOSE_RANGE_UNSHARE) != 0) t.set_files(t.files().Fork());
  t.files().CloseRange(t, first, last, (flags & CLOSE_RANGE_CLOEXEC) != 0);
  return Ok();
}

Result<uint64_t> SysDup(Task& t, FdNum fd) {
  Ref<vfs::File> file = TRY(t.files().Get(fd));
  FdNum copy = TRY(t.files().Install(std::move(file), /*cloexec=*/false, t.fd_limit()));
  return static_cast<uint64_t>(copy.value);
}

Result<uint64_t> SysDup3(Task& t, FdNum old_fd, FdNum new_fd, int32_t flags) {
  if ((flags & ~O_CLOEXEC) != 0 || old_fd == new_fd) return Errno::kEINVAL;
  if (new_fd.value < 0 || static_cast<uint64_t>(new_fd.value) >= t.fd_limit()) return Errno::kEBADF;
  Ref<vfs::File> file = TRY(t.files().Get(old_fd));
  TRY(t.files().InstallAt(t, std::move(file), new_fd, (flags & O_CLOEXEC) != 0, t.fd_limit()));
  return static_cast<uint64_t>(new_fd.value);
}

Result<uint64_t> SysDup2(Task& t, FdNum old_fd, FdNum new_fd) {
  // dup2(2): "if oldfd is a valid file descriptor, and newfd has the same value as oldfd, then
  // dup2() does nothing".
  if (old_fd == new_fd) {
    TRY(t.files().Get(old_fd));
    return static_cast<uint64_t>(new_fd.value);
  }
  return SysDup3(t, old_fd, new_fd, 0);
}

constexpr Row kRows[] = {
    Full<SysOpen>(SYS_open, "open"),
    Full<SysOpenat>(SYS_openat, "openat"),
    Full<SysOpenat2>(SYS_openat2, "openat2"),
    Full<SysCreat>(SYS_creat, "creat"),
    Full<SysClose>(SYS_close, "close"),
    Full<SysCloseRange>(SYS_close_range, "close_range"),
    Full<SysDup>(SYS_dup, "dup"),
    Full<SysDup2>(SYS_dup2, "dup2"),
    Full<SysDup3>(SYS_dup3, "dup3"),
};

}  // namespace

std::span<const Row> OpenRows() { return kRows; }

}  // namespace sandboxd::syscalls
