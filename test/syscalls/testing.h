// What tests of several families need.
#pragma once

#include <fcntl.h>
#include <ftw.h>
#include <grp.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
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

// A folder of its own in /tmp, removed with all that is in it.
class TempDir {
 public:
  TempDir() { EXPECT_NE(mkdtemp(path_.data()), nullptr); }
  ~TempDir() {
    nftw(
        path_.c_str(),
        [](const char* at, const struct stat*, int, struct FTW*) { return remove(at); }, 16,
        FTW_DEPTH | FTW_PHYS);
  }
  const std::string& path() const { return path_; }
  // The path of `name` in it.
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  // Makes a file there and gives its path.
  std::string Put(const std::string& name, const std::string& content = "",
                  mode_t mode = 0644) const {
    std::string at = *this / name;
    Fd fd(open(at.c_str(), O_WRONLY | O_CREAT | O_TRUNC, mode));
    EXPECT_GE(fd.get(), 0) << at;
    EXPECT_EQ(write(fd.get(), content.data(), content.size()),
              static_cast<ssize_t>(content.size()));
    return at;
  }

 private:
  std::string path_ = "/tmp/syscall_test.XXXXXX";
};

// Runs `body` in a child as an ordinary user (uid and gid 1234, no groups); its wait status.
// Needs root.
inline int InChild(const std::function<int()>& body);
inline int AsUser(const std::function<int()>& body) {
  return InChild([&] {
    if (setgroups(0, nullptr) != 0 || setresgid(1234, 1234, 1234) != 0 ||
        setresuid(1234, 1234, 1234) != 0) {
      return 99;
    }
    return body();
  });
}

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
