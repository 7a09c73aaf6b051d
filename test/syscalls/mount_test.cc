// mount(2), umount2(2), pivot_root(2): each in a mount namespace of its own.
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>

#include "test/syscalls/testing.h"

namespace sandboxd::test {
namespace {

// Runs `body` in a child with a mount namespace of its own. Skips where that may not be had.
#define IN_NAMESPACE(body)                                                             \
  do {                                                                                 \
    int status = InChild([&]() -> int {                                                \
      if (unshare(CLONE_NEWNS) != 0) return 200;                                       \
      if (mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) return 200; \
      return body();                                                                   \
    });                                                                                \
    if (ExitedWith(status, 200)) GTEST_SKIP() << "no mount namespaces here";           \
    EXPECT_TRUE(ExitedWith(status, 0)) << WEXITSTATUS(status);                         \
  } while (0)

TEST(MountTest, TmpfsCoversAndUncovers) {
  TempDir dir;
  dir.Put("below", "x");
  IN_NAMESPACE([&] {
    const char* at = dir.path().c_str();
    if (mount("none", at, "tmpfs", 0, "size=1m,mode=700") != 0) return 1;
    if (access((dir / "below").c_str(), F_OK) != -1) return 2;
    struct stat st;
    if (stat(at, &st) != 0 || (st.st_mode & 07777) != 0700) return 3;
    if (rmdir(at) != -1 || errno != EBUSY) return 4;
    Fd held(open(dir.Put("held").c_str(), O_RDONLY));
    if (umount(at) != -1 || errno != EBUSY) return 5;
    if (umount2(at, MNT_DETACH) != 0) return 6;
    return access((dir / "below").c_str(), F_OK) == 0 ? 0 : 7;
  });
}

TEST(MountTest, ReadOnlyAndNoExecHold) {
  TempDir dir;
  IN_NAMESPACE([&] {
    const char* at = dir.path().c_str();
    if (mount("none", at, "tmpfs", 0, nullptr) != 0) return 1;
    dir.Put("f", "x", 0755);
    if (mount("none", at, nullptr, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOEXEC, nullptr) != 0)
      return 2;
    if (open((dir / "f").c_str(), O_WRONLY) != -1 || errno != EROFS) return 3;
    if (open((dir / "new").c_str(), O_CREAT | O_WRONLY, 0644) != -1 || errno != EROFS) return 4;
    if (mkdir((dir / "d").c_str(), 0755) != -1 || errno != EROFS) return 5;
    if (unlink((dir / "f").c_str()) != -1 || errno != EROFS) return 6;
    if (access((dir / "f").c_str(), W_OK) != -1 || errno != EROFS) return 7;
    if (access((dir / "f").c_str(), X_OK) != -1 || errno != EACCES) return 8;
    if (mkdir((dir / "f").c_str(), 0755) != -1 || errno != EEXIST) return 9;
    if (umount(at) != 0) return 10;
    return 0;
  });
}

TEST(MountTest, BindShowsTheSameFiles) {
  TempDir dir;
  IN_NAMESPACE([&] {
    mkdir((dir / "a").c_str(), 0755);
    mkdir((dir / "b").c_str(), 0755);
    dir.Put("a/f", "shared");
    if (mount((dir / "a").c_str(), (dir / "b").c_str(), nullptr, MS_BIND, nullptr) != 0) return 1;
    if (ReadFile(dir / "b/f") != "shared") return 2;
    if (rename((dir / "a/f").c_str(), (dir / "b/g").c_str()) != -1 || errno != EXDEV) return 3;
    if (link((dir / "a/f").c_str(), (dir / "b/g").c_str()) != -1 || errno != EXDEV) return 4;
    dir.Put("file", "one");
    dir.Put("target");
    if (mount((dir / "file").c_str(), (dir / "target").c_str(), nullptr, MS_BIND, nullptr) != 0)
      return 5;
    if (ReadFile(dir / "target") != "one") return 6;
    if (mount((dir / "a").c_str(), (dir / "file").c_str(), nullptr, MS_BIND, nullptr) != -1 ||
        errno != ENOTDIR) {
      return 7;
    }
    if (umount((dir / "target").c_str()) != 0 || umount((dir / "b").c_str()) != 0) return 8;
    return umount((dir / "b").c_str()) == -1 && errno == EINVAL ? 0 : 9;
  });
}

TEST(MountTest, MoveAndDotDot) {
  TempDir dir;
  IN_NAMESPACE([&] {
    mkdir((dir / "a").c_str(), 0755);
    mkdir((dir / "b").c_str(), 0755);
    if (mount("none", (dir / "a").c_str(), "tmpfs", 0, nullptr) != 0) return 1;
    dir.Put("a/f", "moved");
    if (mount((dir / "a").c_str(), (dir / "b").c_str(), nullptr, MS_MOVE, nullptr) != 0) return 2;
    if (ReadFile(dir / "b/f") != "moved" || access((dir / "a/f").c_str(), F_OK) == 0) return 3;
    if (chdir((dir / "b").c_str()) != 0 || access("../a", F_OK) != 0) return 4;
    char text[4096];
    if (getcwd(text, sizeof text) == nullptr || dir / "b" != text) return 5;
    return 0;
  });
}

TEST(MountTest, ErrorsOfArguments) {
  TempDir dir;
  IN_NAMESPACE([&] {
    const char* at = dir.path().c_str();
    if (mount("none", at, "no-such-type", 0, nullptr) != -1 || errno != ENODEV) return 1;
    if (mount("none", (dir / "none").c_str(), "tmpfs", 0, nullptr) != -1 || errno != ENOENT)
      return 2;
    if (mount("none", at, "tmpfs", 0, "bogus=1") != -1 || errno != EINVAL) return 3;
    if (umount2(at, 0x4000) != -1 || errno != EINVAL) return 4;
    if (umount(at) != -1 || errno != EINVAL) return 5;
    return 0;
  });
}

TEST(MountTest, FullTmpfsIsEnospc) {
  TempDir dir;
  IN_NAMESPACE([&] {
    if (mount("none", dir.path().c_str(), "tmpfs", 0, "size=64k") != 0) return 1;
    struct statfs s;
    if (statfs(dir.path().c_str(), &s) != 0 || s.f_blocks != 16) return 2;
    Fd fd(open((dir / "f").c_str(), O_CREAT | O_RDWR, 0644));
    std::string text(32 << 10, 'x');
    size_t total = 0;
    ssize_t n;
    while ((n = write(fd.get(), text.data(), text.size())) > 0) total += static_cast<size_t>(n);
    if (errno != ENOSPC || total != 64 << 10) return 3;
    return 0;
  });
}

TEST(PivotRootTest, ExchangesTheRoots) {
  TempDir dir;
  IN_NAMESPACE([&] {
    const char* at = dir.path().c_str();
    if (mount("none", at, "tmpfs", 0, nullptr) != 0) return 1;
    dir.Put("marker", "new root");
    mkdir((dir / "old").c_str(), 0755);
    if (chdir(at) != 0) return 2;
    if (syscall(SYS_pivot_root, ".", "old") != 0) return errno == EINVAL ? 200 : 3;
    if (chdir("/") != 0) return 4;
    if (ReadFile("/marker") != "new root") return 5;
    if (access("/old/tmp", F_OK) != 0) return 6;
    if (umount2("/old", MNT_DETACH) != 0) return 7;
    return access("/old/tmp", F_OK) == -1 ? 0 : 8;
  });
}

}  // namespace
}  // namespace sandboxd::test
