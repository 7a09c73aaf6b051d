// open(2), openat2(2), close(2), dup(2), close_range(2), memfd_create(2).
#include <fcntl.h>
#include <linux/close_range.h>
#include <linux/openat2.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>

#include "kernel/syscalls/blocking_io.h"
#include "kernel/syscalls/families.h"
#include "kernel/syscalls/paths.h"

namespace sandboxd::syscalls {
namespace {

constexpr int kLargeFile = 0100000;  // O_LARGEFILE as the kernel has it
constexpr uint64_t kKnownOpenFlags = O_ACCMODE | O_CREAT | O_EXCL | O_NOCTTY | O_TRUNC | O_APPEND |
                                     O_NONBLOCK | O_SYNC | O_DSYNC | O_ASYNC | O_DIRECT |
                                     kLargeFile | O_DIRECTORY | O_NOFOLLOW | O_NOATIME | O_CLOEXEC |
                                     O_PATH | O_TMPFILE;
constexpr uint64_t kKnownResolve = RESOLVE_NO_XDEV | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS |
                                   RESOLVE_BENEATH | RESOLVE_IN_ROOT | RESOLVE_CACHED;

Result<uint64_t> Open(Task& t, FdNum dirfd, UserPath path, const vfs::OpenRequest& request,
                      uint64_t resolve) {
  std::string name = TRY(t.memory().ReadPath(path));
  TRY(t.files().CheckRoom(t.fd_limit()));
  vfs::At at = TRY(AtOf(t, dirfd, name, Follow::kYes));
  at.resolve = resolve;
  // RESOLVE_IN_ROOT: an absolute path starts at dirfd too.
  if ((resolve & RESOLVE_IN_ROOT) != 0 && !at.start && !(dirfd == kCwd))
    at.start = TRY(t.files().Get(dirfd))->path();
  Ref<vfs::File> file = TRY(t.kernel().vfs().Open(t, name, at, request));
  // A fifo's open waits for its other end.
  TRY(Blocking(t, *file, EPOLLIN | EPOLLOUT, (request.flags & O_NONBLOCK) != 0, {},
               [&] { return file->FinishOpen(t); }));
  FdNum fd =
      TRY(t.files().Install(std::move(file), (request.flags & O_CLOEXEC) != 0, t.fd_limit()));
  return static_cast<uint64_t>(fd.value);
}

// open(2) ignores flags that it does not know, and a mode that nothing is created with.
Result<uint64_t> SysOpenat(Task& t, FdNum dirfd, UserPath path, int32_t flags, uint32_t mode) {
  return Open(t, dirfd, path, {flags & static_cast<int>(kKnownOpenFlags), mode & 07777}, 0);
}
Result<uint64_t> SysOpen(Task& t, UserPath path, int32_t flags, uint32_t mode) {
  return SysOpenat(t, kCwd, path, flags, mode);
}
Result<uint64_t> SysCreat(Task& t, UserPath path, uint32_t mode) {
  return SysOpenat(t, kCwd, path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}

// openat2(2), "Extensibility": a larger struct is fine if what we don't know is zero (E2BIG).
Result<open_how> ReadOpenHow(Task& t, UserAddr addr, uint64_t size) {
  if (size < sizeof(open_how)) return Errno::kEINVAL;
  if (size > kPageSize) return Errno::kE2BIG;
  open_how how = TRY(t.memory().Read<open_how>(addr));
  std::array<std::byte, 256> rest;
  for (uint64_t at = sizeof how; at < size;) {
    Bytes part = Bytes(rest).first(std::min<uint64_t>(rest.size(), size - at));
    TRY(t.memory().CopyIn(addr + at, part));
    if (std::any_of(part.begin(), part.end(), [](std::byte b) { return b != std::byte{0}; }))
      return Errno::kE2BIG;
    at += part.size();
  }
  return how;
}

Result<uint64_t> SysOpenat2(Task& t, FdNum dirfd, UserPath path, UserAddr how_addr, uint64_t size) {
  open_how how = TRY(ReadOpenHow(t, how_addr, size));
  if ((how.flags & ~kKnownOpenFlags) != 0 || (how.resolve & ~kKnownResolve) != 0)
    return Errno::kEINVAL;
  if ((how.resolve & RESOLVE_BENEATH) != 0 && (how.resolve & RESOLVE_IN_ROOT) != 0)
    return Errno::kEINVAL;
  bool creates = (how.flags & (O_CREAT | (O_TMPFILE & ~O_DIRECTORY))) != 0;
  if (creates ? (how.mode & ~uint64_t{07777}) != 0 : how.mode != 0) return Errno::kEINVAL;
  constexpr uint64_t kPathFlags = O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC | kLargeFile;
  if ((how.flags & O_PATH) != 0 && (how.flags & ~kPathFlags) != 0) return Errno::kEINVAL;
  // RESOLVE_CACHED allows to fail whenever the answer would take a wait.
  if ((how.resolve & RESOLVE_CACHED) != 0) return Errno::kEAGAIN;
  return Open(t, dirfd, path, {static_cast<int>(how.flags), static_cast<uint32_t>(how.mode)},
              how.resolve);
}

Result<void> SysClose(Task& t, FdNum fd) { return t.files().Close(t, fd); }

Result<void> SysCloseRange(Task& t, uint32_t first, uint32_t last, uint32_t flags) {
  if ((flags & ~(CLOSE_RANGE_UNSHARE | CLOSE_RANGE_CLOEXEC)) != 0 || first > last)
    return Errno::kEINVAL;
  if ((flags & CLOSE_RANGE_UNSHARE) != 0) t.UnshareFiles();
  t.files().CloseRange(t, first, last, (flags & CLOSE_RANGE_CLOEXEC) != 0);
  return Ok();
}

Result<uint64_t> SysDup(Task& t, FdNum old_fd) {
  Ref<vfs::File> file = TRY(t.files().Get(old_fd));
  FdNum fd = TRY(t.files().Install(std::move(file), false, t.fd_limit()));
  return static_cast<uint64_t>(fd.value);
}

Result<uint64_t> SysDup3(Task& t, FdNum old_fd, FdNum new_fd, int32_t flags) {
  if ((flags & ~O_CLOEXEC) != 0) return Errno::kEINVAL;
  if (old_fd == new_fd) return Errno::kEINVAL;
  if (new_fd.value < 0 || static_cast<uint64_t>(new_fd.value) >= t.fd_limit()) return Errno::kEBADF;
  Ref<vfs::File> file = TRY(t.files().Get(old_fd));
  TRY(t.files().InstallAt(t, std::move(file), new_fd, (flags & O_CLOEXEC) != 0, t.fd_limit()));
  return static_cast<uint64_t>(new_fd.value);
}

Result<uint64_t> SysDup2(Task& t, FdNum old_fd, FdNum new_fd) {
  if (old_fd == new_fd) {
    TRY(t.files().Get(old_fd));
    return static_cast<uint64_t>(new_fd.value);
  }
  return SysDup3(t, old_fd, new_fd, 0);
}

Result<uint64_t> SysMemfdCreate(Task& t, UserCStr name_addr, uint32_t flags) {
  constexpr uint32_t kNoExecSeal = 8, kExec = 0x10;  // MFD_NOEXEC_SEAL, MFD_EXEC: Linux 6.3
  constexpr uint32_t kKnown = MFD_CLOEXEC | MFD_ALLOW_SEALING | kNoExecSeal | kExec;
  if ((flags & ~kKnown) != 0) return Errno::kEINVAL;
  if ((flags & kExec) != 0 && (flags & kNoExecSeal) != 0) return Errno::kEINVAL;
  constexpr size_t kMaxName = 249;  // NAME_MAX less "memfd:"
  Result<std::string> name = t.memory().ReadCString(name_addr, kMaxName + 1);
  if (name.Is(Errno::kENAMETOOLONG)) return Errno::kEINVAL;
  vfs::Vfs::MemfdRequest request;
  request.executable = (flags & kNoExecSeal) == 0;
  request.allow_sealing = (flags & (MFD_ALLOW_SEALING | kNoExecSeal)) != 0;
  Ref<vfs::File> file = TRY(t.kernel().vfs().OpenMemfd(t, TRY(std::move(name)), request));
  FdNum fd = TRY(t.files().Install(std::move(file), (flags & MFD_CLOEXEC) != 0, t.fd_limit()));
  return static_cast<uint64_t>(fd.value);
}

constexpr Row kRows[] = {
    Full<SysOpen>(SYS_open, "open"),
    Full<SysOpenat>(SYS_openat, "openat"),
    Partial<SysOpenat2>(SYS_openat2, "openat2", "RESOLVE_CACHED always gives EAGAIN"),
    Full<SysCreat>(SYS_creat, "creat"),
    Full<SysClose>(SYS_close, "close"),
    Full<SysCloseRange>(SYS_close_range, "close_range"),
    Full<SysDup>(SYS_dup, "dup"),
    Full<SysDup2>(SYS_dup2, "dup2"),
    Full<SysDup3>(SYS_dup3, "dup3"),
    Partial<SysMemfdCreate>(SYS_memfd_create, "memfd_create",
                            "no huge pages; F_SEAL_WRITE ignores existing writable mappings"),
};

}  // namespace

std::span<const Row> OpenRows() { return kRows; }

}  // namespace sandboxd::syscalls
