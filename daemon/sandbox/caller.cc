#include "daemon/sandbox/caller.h"

#include <fcntl.h>
#include <sys/fsuid.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace sandboxd::daemon {
namespace {

Error PathError(const std::string& what, const std::string& path, int error,
                v1::ErrorReason missing) {
  switch (error) {
    case ENOENT:
    case ELOOP:
    case ENAMETOOLONG:
      return Error(missing, what + " " + path + " does not exist").With("path", path);
    case ENOTDIR:
      return Error(missing, what + " " + path + " does not exist: a part of it is not a folder")
          .With("path", path);
    case EACCES:
    case EPERM:
      return Error(v1::ERROR_REASON_PATH_PERMISSION_DENIED,
                   what + " " + path + " can't be read with the caller's rights")
          .With("path", path);
    default:
      return Error(missing, ErrnoText(what + " " + path + " can't be opened", error))
          .With("path", path);
  }
}

}  // namespace

ActAs::ActAs(const Caller& caller) {
  if (::geteuid() != 0 || caller.uid == 0) return;
  changed_ = true;
  if (const int n = ::getgroups(0, nullptr); n > 0) {
    groups_.resize(static_cast<size_t>(n));
    groups_.resize(static_cast<size_t>(std::max(0, ::getgroups(n, groups_.data()))));
  }
  // The raw call changes this thread only; the C library's would change all of them.
  ::syscall(SYS_setgroups, 0, nullptr);
  ::setfsgid(caller.gid);
  ::setfsuid(caller.uid);
}

ActAs::~ActAs() {
  if (!changed_) return;
  ::setfsuid(::geteuid());
  ::setfsgid(::getegid());
  ::syscall(SYS_setgroups, groups_.size(), groups_.data());
}

Outcome<void> CheckPath(const Caller& caller, const std::string& path, const std::string& what,
                        PathKind kind, v1::ErrorReason missing) {
  ActAs as(caller);
  UniqueFd fd(::open(path.c_str(), O_PATH | O_CLOEXEC));
  if (!fd.valid()) return PathError(what, path, errno, missing);
  struct stat st;
  if (::fstat(fd.get(), &st) != 0) return PathError(what, path, errno, missing);
  if (!S_ISDIR(st.st_mode)) {
    if (kind == PathKind::kAny) return {};
    return Error(v1::ERROR_REASON_ROOTFS_NOT_A_DIRECTORY, what + " " + path + " is not a folder")
        .With("path", path);
  }
  UniqueFd readable(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!readable.valid() || ::faccessat(fd.get(), ".", X_OK, AT_EACCESS) != 0) {
    return PathError(what, path, errno, missing);
  }
  return {};
}

Outcome<std::string> ReadFileAs(const Caller& caller, const std::string& path,
                                const std::string& what, size_t max_size, v1::ErrorReason missing) {
  ActAs as(caller);
  // O_NONBLOCK: a FIFO of this name must not stop us.
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!fd.valid()) return PathError(what, path, errno, missing);
  struct stat st;
  if (::fstat(fd.get(), &st) != 0) return PathError(what, path, errno, missing);
  if (!S_ISREG(st.st_mode)) {
    return Error(missing, what + " " + path + " is not a file").With("path", path);
  }
  std::string text;
  char buffer[16 << 10];
  for (;;) {
    const ssize_t n = ::read(fd.get(), buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return PathError(what, path, errno, missing);
    if (n == 0) return text;
    text.append(buffer, static_cast<size_t>(n));
    if (text.size() > max_size) {
      return Error(v1::ERROR_REASON_BUNDLE_INVALID,
                   what + " " + path + " is larger than " + std::to_string(max_size) + " bytes")
          .With("path", path);
    }
  }
}

}  // namespace sandboxd::daemon
