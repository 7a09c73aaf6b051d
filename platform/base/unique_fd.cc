#include "platform/base/unique_fd.h"

#include <fcntl.h>

#include <cerrno>

namespace sandboxd {

Result<UniqueFd> UniqueFd::Dup() const { return WrapFd(fcntl(fd_, F_DUPFD_CLOEXEC, 0)); }

Result<UniqueFd> WrapFd(int fd_or_minus_one) {
  if (fd_or_minus_one < 0) return FromHostErrno(errno);
  return UniqueFd(fd_or_minus_one);
}

}  // namespace sandboxd
