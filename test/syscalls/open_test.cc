// open(2), openat2(2), dup(2), close_range(2), memfd_create(2).
#include <linux/openat2.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "test/syscalls/testing.h"

namespace sandboxd::test {
namespace {

long Openat2(int dirfd, const char* path, uint64_t flags, uint64_t resolve, uint64_t mode = 0) {
  open_how how{};
  how.flags = flags;
  how.mode = mode;
  how.resolve = resolve;
  return syscall(SYS_openat2, dirfd, path, &how, sizeof how);
}

TEST(OpenTest, MissingFileAndMissingFolder) {
  TempDir dir;
  EXPECT_ERRNO(ENOENT, open((dir / "none").c_str(), O_RDONLY));
  EXPECT_ERRNO(ENOENT, open((dir / "none/f").c_str(), O_RDWR | O_CREAT, 0644));
  EXPECT_ERRNO(ENOENT, open("", O_RDONLY));
  std::string file = dir.Put("f");
  EXPECT_ERRNO(ENOTDIR, open((file + "/x").c_str(), O_RDONLY));
  EXPECT_ERRNO(ENOTDIR, open((file + "/").c_str(), O_RDONLY));
  EXPECT_ERRNO(ENAMETOOLONG, open((dir / std::string(256, 'a')).c_str(), O_RDONLY));
  EXPECT_ERRNO(ENAMETOOLONG, open((dir / std::string(5000, 'a')).c_str(), O_RDONLY));
  EXPECT_ERRNO(EFAULT, open(reinterpret_cast<const char*>(8), O_RDONLY));
}

TEST(OpenTest, CreateHonoursUmaskAndExclusive) {
  TempDir dir;
  mode_t old = umask(027);
  Fd fd(open((dir / "f").c_str(), O_RDWR | O_CREAT | O_EXCL, 0666));
  umask(old);
  ASSERT_GE(fd.get(), 0);
  struct stat st;
  ASSERT_EQ(fstat(fd.get(), &st), 0);
  EXPECT_EQ(st.st_mode & 07777, 0640u);
  EXPECT_ERRNO(EEXIST, open((dir / "f").c_str(), O_RDWR | O_CREAT | O_EXCL, 0666));
}

TEST(OpenTest, CreateOnAFolderOrWithTrailingSlashIsEisdir) {
  TempDir dir;
  EXPECT_ERRNO(EISDIR, open(dir.path().c_str(), O_RDONLY | O_CREAT, 0644));
  EXPECT_ERRNO(EISDIR, open((dir / "new/").c_str(), O_RDWR | O_CREAT, 0644));
  EXPECT_ERRNO(EISDIR, open(dir.path().c_str(), O_WRONLY));
  EXPECT_ERRNO(EISDIR, open(dir.path().c_str(), O_RDONLY | O_TRUNC));
}

TEST(OpenTest, TruncateEmptiesTheFile) {
  TempDir dir;
  std::string file = dir.Put("f", "content");
  Fd fd(open(file.c_str(), O_WRONLY | O_TRUNC));
  struct stat st;
  ASSERT_EQ(fstat(fd.get(), &st), 0);
  EXPECT_EQ(st.st_size, 0);
}

TEST(OpenTest, SymlinksAreFollowedUnlessTold) {
  TempDir dir;
  dir.Put("f", "x");
  ASSERT_EQ(symlink("f", (dir / "link").c_str()), 0);
  ASSERT_EQ(symlink("loop", (dir / "loop").c_str()), 0);
  ASSERT_EQ(symlink("fresh", (dir / "dangling").c_str()), 0);
  EXPECT_EQ(ReadFile(dir / "link"), "x");
  EXPECT_ERRNO(ELOOP, open((dir / "link").c_str(), O_RDONLY | O_NOFOLLOW));
  EXPECT_ERRNO(ELOOP, open((dir / "loop").c_str(), O_RDONLY));
  EXPECT_ERRNO(ENOENT, open((dir / "dangling").c_str(), O_RDONLY));
  EXPECT_ERRNO(EEXIST, open((dir / "dangling").c_str(), O_RDWR | O_CREAT | O_EXCL, 0644));
  Fd made(open((dir / "dangling").c_str(), O_RDWR | O_CREAT, 0644));
  ASSERT_GE(made.get(), 0);
  EXPECT_EQ(access((dir / "fresh").c_str(), F_OK), 0);
  EXPECT_ERRNO(ENOTDIR, open((dir / "link").c_str(), O_RDONLY | O_DIRECTORY));
}

TEST(OpenTest, PathDescriptorsNameAndDoNotRead) {
  TempDir dir;
  std::string file = dir.Put("f", "x");
  Fd fd(open(file.c_str(), O_PATH));
  ASSERT_GE(fd.get(), 0);
  char c;
  EXPECT_ERRNO(EBADF, read(fd.get(), &c, 1));
  EXPECT_ERRNO(EBADF, fchmod(fd.get(), 0600));
  EXPECT_ERRNO(EBADF, fcntl(fd.get(), F_SETFL, O_NONBLOCK));
  struct stat st;
  EXPECT_EQ(fstat(fd.get(), &st), 0);
  EXPECT_EQ(st.st_size, 1);
  EXPECT_EQ(fcntl(fd.get(), F_GETFL) & O_PATH, O_PATH);
  ASSERT_EQ(symlink("f", (dir / "link").c_str()), 0);
  Fd link(open((dir / "link").c_str(), O_PATH | O_NOFOLLOW));
  ASSERT_EQ(fstat(link.get(), &st), 0);
  EXPECT_TRUE(S_ISLNK(st.st_mode));
  char text[8];
  EXPECT_EQ(readlinkat(link.get(), "", text, sizeof text), 1);
}

TEST(OpenTest, AtCallsStartAtTheFolder) {
  TempDir dir;
  std::string file = dir.Put("f", "x");
  Fd folder(open(dir.path().c_str(), O_RDONLY | O_DIRECTORY));
  Fd fd(openat(folder.get(), "f", O_RDONLY));
  EXPECT_GE(fd.get(), 0);
  EXPECT_ERRNO(ENOTDIR, openat(fd.get(), "f", O_RDONLY));
  EXPECT_ERRNO(EBADF, openat(-5, "f", O_RDONLY));
  Fd absolute(openat(-5, file.c_str(), O_RDONLY));
  EXPECT_GE(absolute.get(), 0);
}

TEST(OpenTest, TmpfileHasNoNameUntilLinked) {
  TempDir dir;
  Fd fd(open(dir.path().c_str(), O_TMPFILE | O_RDWR, 0600));
  if (fd.get() < 0 && (errno == EOPNOTSUPP || errno == EISDIR)) GTEST_SKIP() << "no O_TMPFILE";
  ASSERT_GE(fd.get(), 0);
  ASSERT_EQ(write(fd.get(), "abc", 3), 3);
  struct stat st;
  ASSERT_EQ(fstat(fd.get(), &st), 0);
  EXPECT_EQ(st.st_nlink, 0u);
  std::string self = "/proc/self/fd/" + std::to_string(fd.get());
  ASSERT_EQ(linkat(AT_FDCWD, self.c_str(), AT_FDCWD, (dir / "named").c_str(), AT_SYMLINK_FOLLOW),
            0);
  EXPECT_EQ(ReadFile(dir / "named"), "abc");
  EXPECT_ERRNO(EINVAL, open(dir.path().c_str(), O_TMPFILE | O_RDONLY, 0600));
}

TEST(OpenTest, PermissionsAreChecked) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root";
  TempDir dir;
  ASSERT_EQ(chmod(dir.path().c_str(), 0755), 0);
  std::string readable = dir.Put("readable", "x", 0644);
  std::string secret = dir.Put("secret", "x", 0600);
  ASSERT_EQ(mkdir((dir / "closed").c_str(), 0700), 0);
  EXPECT_TRUE(ExitedWith(AsUser([&] {
                           if (open(readable.c_str(), O_RDONLY) < 0) return 1;
                           if (open(readable.c_str(), O_WRONLY) >= 0 || errno != EACCES) return 2;
                           if (open(secret.c_str(), O_RDONLY) >= 0 || errno != EACCES) return 3;
                           if (open((dir / "closed/f").c_str(), O_RDONLY) >= 0 || errno != EACCES)
                             return 4;
                           if (open((dir / "new").c_str(), O_RDWR | O_CREAT, 0644) >= 0 ||
                               errno != EACCES)
                             return 5;
                           if (open(readable.c_str(), O_RDONLY | O_NOATIME) >= 0 || errno != EPERM)
                             return 6;
                           return 0;
                         }),
                         0));
}

TEST(Openat2Test, BeneathStaysBeneath) {
  TempDir dir;
  dir.Put("f");
  ASSERT_EQ(symlink("/etc", (dir / "abs").c_str()), 0);
  ASSERT_EQ(symlink("../..", (dir / "up").c_str()), 0);
  Fd folder(open(dir.path().c_str(), O_PATH));
  Fd inside(static_cast<int>(Openat2(folder.get(), "f", O_RDONLY, RESOLVE_BENEATH)));
  if (inside.get() < 0 && errno == ENOSYS) GTEST_SKIP() << "no openat2";
  EXPECT_GE(inside.get(), 0);
  EXPECT_ERRNO(EXDEV, Openat2(folder.get(), "../x", O_RDONLY, RESOLVE_BENEATH));
  EXPECT_ERRNO(EXDEV, Openat2(folder.get(), "abs/passwd", O_RDONLY, RESOLVE_BENEATH));
  EXPECT_ERRNO(EXDEV, Openat2(folder.get(), "up", O_RDONLY, RESOLVE_BENEATH));
  EXPECT_ERRNO(EXDEV, Openat2(folder.get(), "/etc", O_RDONLY, RESOLVE_BENEATH));
  EXPECT_ERRNO(ELOOP, Openat2(folder.get(), "up", O_RDONLY, RESOLVE_NO_SYMLINKS));
  Fd rooted(static_cast<int>(Openat2(folder.get(), "/../../f", O_RDONLY, RESOLVE_IN_ROOT)));
  EXPECT_GE(rooted.get(), 0);
}

TEST(Openat2Test, ArgumentsAreStrict) {
  EXPECT_ERRNO(EINVAL, Openat2(AT_FDCWD, "/", O_RDONLY | (1ull << 40), 0));
  EXPECT_ERRNO(EINVAL, Openat2(AT_FDCWD, "/", O_RDONLY, 1ull << 30));
  EXPECT_ERRNO(EINVAL, Openat2(AT_FDCWD, "/", O_RDONLY, 0, 0644));
  open_how how{};
  EXPECT_ERRNO(EINVAL, syscall(SYS_openat2, AT_FDCWD, "/", &how, 8));
  struct {
    open_how how{};
    uint64_t more = 1;
  } larger;
  EXPECT_ERRNO(E2BIG, syscall(SYS_openat2, AT_FDCWD, "/", &larger, sizeof larger));
}

TEST(DupTest, LowestNumberSharedPosition) {
  TempFile file("abcdef");
  Fd fd = file.Open(O_RDONLY);
  Fd copy(dup(fd.get()));
  ASSERT_GE(copy.get(), 0);
  char c;
  ASSERT_EQ(read(fd.get(), &c, 1), 1);
  ASSERT_EQ(read(copy.get(), &c, 1), 1);
  EXPECT_EQ(c, 'b');
  EXPECT_EQ(fcntl(copy.get(), F_GETFD), 0);
  EXPECT_EQ(dup2(fd.get(), fd.get()), fd.get());
  EXPECT_ERRNO(EBADF, dup2(-1, 5));
  EXPECT_ERRNO(EINVAL, dup3(fd.get(), fd.get(), 0));
  EXPECT_ERRNO(EINVAL, dup3(fd.get(), 100, O_APPEND));
  EXPECT_EQ(dup3(fd.get(), 200, O_CLOEXEC), 200);
  EXPECT_EQ(fcntl(200, F_GETFD), FD_CLOEXEC);
  close(200);
}

TEST(DupTest, LimitIsEmfileAndEbadf) {
  EXPECT_TRUE(ExitedWith(InChild([] {
                           rlimit limit{16, 16};
                           if (setrlimit(RLIMIT_NOFILE, &limit) != 0) return 1;
                           while (dup(1) >= 0) {
                           }
                           if (errno != EMFILE) return 2;
                           if (dup2(1, 16) >= 0 || errno != EBADF) return 3;
                           if (open("/", O_RDONLY) >= 0 || errno != EMFILE) return 4;
                           if (fcntl(1, F_DUPFD, 16) >= 0 || errno != EINVAL) return 5;
                           return 0;
                         }),
                         0));
}

TEST(CloseRangeTest, ClosesOrMarks) {
  int a = open("/", O_RDONLY), b = open("/", O_RDONLY);
  ASSERT_GE(a, 0);
  if (syscall(SYS_close_range, a, b, 4) != 0 && errno == ENOSYS) GTEST_SKIP() << "no close_range";
  EXPECT_EQ(fcntl(a, F_GETFD), FD_CLOEXEC);
  ASSERT_EQ(syscall(SYS_close_range, a, b, 0), 0);
  EXPECT_ERRNO(EBADF, fcntl(a, F_GETFD));
  EXPECT_ERRNO(EBADF, close(b));
  EXPECT_ERRNO(EINVAL, syscall(SYS_close_range, 5, 4, 0));
}

TEST(MemfdTest, SealsForbidWhatTheyName) {
  Fd fd(memfd_create("name", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  ASSERT_GE(fd.get(), 0);
  ASSERT_EQ(write(fd.get(), "abc", 3), 3);
  EXPECT_EQ(fcntl(fd.get(), F_GET_SEALS), 0);
  ASSERT_EQ(fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW), 0);
  EXPECT_ERRNO(EPERM, ftruncate(fd.get(), 1));
  EXPECT_ERRNO(EPERM, ftruncate(fd.get(), 10));
  EXPECT_EQ(pwrite(fd.get(), "A", 1, 0), 1);
  ASSERT_EQ(fcntl(fd.get(), F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SEAL), 0);
  EXPECT_ERRNO(EPERM, pwrite(fd.get(), "B", 1, 0));
  EXPECT_ERRNO(EPERM, fcntl(fd.get(), F_ADD_SEALS, F_SEAL_GROW));
  Fd plain(memfd_create("plain", 0));
  EXPECT_EQ(fcntl(plain.get(), F_GET_SEALS), F_SEAL_SEAL);
  EXPECT_ERRNO(EINVAL, memfd_create("x", 0x8000));
  Fd other(open("/proc/self/status", O_RDONLY));
  EXPECT_ERRNO(EINVAL, fcntl(other.get(), F_GET_SEALS));
}

TEST(MemfdTest, MapsAsSharedMemory) {
  Fd fd(memfd_create("map", 0));
  ASSERT_EQ(ftruncate(fd.get(), 8192), 0);
  char* p =
      static_cast<char*>(mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0));
  ASSERT_NE(p, MAP_FAILED);
  p[4096] = 'z';
  char c;
  ASSERT_EQ(pread(fd.get(), &c, 1, 4096), 1);
  EXPECT_EQ(c, 'z');
  ASSERT_EQ(pwrite(fd.get(), "y", 1, 0), 1);
  EXPECT_EQ(p[0], 'y');
  munmap(p, 8192);
}

}  // namespace
}  // namespace sandboxd::test
