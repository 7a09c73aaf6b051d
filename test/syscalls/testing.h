// What tests of several families need.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <utility>

namespace sandboxd::test {

// EXPECT_ERRNO(EINVAL, mmap(...)): the call gives -1 (or MAP_FAILED) and sets errno.
#define EXPECT_ERRNO(expected, call)                                                   \
  do {                                                                                 \
    errno = 0;                                                                         \
    EXPECT_EQ(reinterpret_cast<intptr_t>(reinterpret_cast<void*>(call)), -1) << #call; \
    EXPECT_EQ(errno, expected) << #call << ": " << strerror(errno);                    \
  } while (0)

inline size_t PageSize() { return static_cast<size_t>(sysconf(_SC_PAGESIZE)); }

class Fd {
 public:
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  ~Fd() {
    if (fd_ >= 0) close(fd_);
  }
  int get() const { return fd_; }

 private:
  int fd_;
};

// A file of its own in /tmp, removed at the end.
class TempFile {
 public:
  explicit TempFile(const std::string& content = "") {
    int fd = mkstemp(path_.data());
    EXPECT_GE(fd, 0) << path_;
    EXPECT_EQ(write(fd, content.data(), content.size()), static_cast<ssize_t>(content.size()));
    close(fd);
  }
  ~TempFile() { unlink(path_.c_str()); }
  const char* path() const { return path_.c_str(); }
  Fd Open(int flags) const { return Fd(open(path(), flags)); }

 private:
  std::string path_ = "/tmp/syscall_test.XXXXXX";
};

// Runs `body` in a child. Its wait status: exits with what body returns.
inline int InChild(const std::function<int()>& body) {
  fflush(nullptr);
  pid_t pid = fork();
  if (pid == 0) _exit(body());
  int status = -1;
  EXPECT_EQ(waitpid(pid, &status, 0), pid);
  return status;
}
inline bool ExitedWith(int status, int code) {
  return WIFEXITED(status) && WEXITSTATUS(status) == code;
}
inline bool KilledBy(int status, int signo) {
  return WIFSIGNALED(status) && WTERMSIG(status) == signo;
}

inline std::string ReadFile(const std::string& path) {
  std::string all;
  Fd fd(open(path.c_str(), O_RDONLY));
  if (fd.get() < 0) return all;
  char buffer[4096];
  for (ssize_t n; (n = read(fd.get(), buffer, sizeof(buffer))) > 0;) {
    all.append(buffer, static_cast<size_t>(n));
  }
  return all;
}

}  // namespace sandboxd::test
