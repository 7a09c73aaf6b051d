// UniqueFd: owns one host file descriptor. Every descriptor that we make is close-on-exec.
#pragma once

#include <unistd.h>

#include <utility>

#include "platform/base/result.h"

namespace sandboxd {

class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    if (this != &other) Reset(std::exchange(other.fd_, -1));
    return *this;
  }
  UniqueFd(const UniqueFd&) = delete;
  UniqueFd& operator=(const UniqueFd&) = delete;
  ~UniqueFd() { Reset(); }

  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }
  int Release() { return std::exchange(fd_, -1); }
  void Reset(int fd = -1) {
    // close(2) on Linux releases the descriptor even when it reports an error; there is nothing to
    // retry.
    if (fd_ >= 0) ::close(fd_);
    fd_ = fd;
  }
  // A second descriptor for the same open file description (F_DUPFD_CLOEXEC).
  Result<UniqueFd> Dup() const;

 private:
  int fd_ = -1;
};

// Wraps the result of a host call that returns a descriptor or -1 with errno.
Result<UniqueFd> WrapFd(int fd_or_minus_one);

}  // namespace sandboxd
