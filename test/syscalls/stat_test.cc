// stat(2), statx(2), access(2), readlink(2), chmod(2), chown(2), utimensat(2), statfs(2).
#include <linux/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

#include "test/syscalls/testing.h"

namespace sandboxd::test {
namespace {

struct stat StatOf(const std::string& path) {
  struct stat st {};
  EXPECT_EQ(lstat(path.c_str(), &st), 0) << path;
  return st;
}

TEST(StatTest, FieldsOfAFile) {
  TempDir dir;
  std::string file = dir.Put("f", "hello", 0640);
  ASSERT_EQ(link(file.c_str(), (dir / "g").c_str()), 0);
  struct stat st = StatOf(file);
  EXPECT_TRUE(S_ISREG(st.st_mode));
  EXPECT_EQ(st.st_size, 5);
  EXPECT_EQ(st.st_nlink, 2u);
  EXPECT_EQ(st.st_uid, geteuid());
  EXPECT_EQ(st.st_ino, StatOf(dir / "g").st_ino);
  EXPECT_EQ(st.st_dev, StatOf(dir.path()).st_dev);
  EXPECT_GT(st.st_mtime, 1'000'000'000);
}

TEST(StatTest, LinksAndFolders) {
  TempDir dir;
  ASSERT_EQ(symlink("target-name", (dir / "l").c_str()), 0);
  struct stat st = StatOf(dir / "l");
  EXPECT_TRUE(S_ISLNK(st.st_mode));
  EXPECT_EQ(st.st_size, 11);
  EXPECT_ERRNO(ENOENT, stat((dir / "l").c_str(), &st));
  EXPECT_TRUE(S_ISDIR(StatOf(dir.path()).st_mode));
  EXPECT_TRUE(S_ISCHR(StatOf("/dev/null").st_mode));
  EXPECT_EQ(StatOf("/dev/null").st_rdev, makedev(1, 3));
}

TEST(StatTest, EmptyPathIsTheDescriptor) {
  TempFile file("abc");
  Fd fd = file.Open(O_RDONLY);
  struct stat st;
  ASSERT_EQ(fstatat(fd.get(), "", &st, AT_EMPTY_PATH), 0);
  EXPECT_EQ(st.st_size, 3);
  EXPECT_ERRNO(ENOENT, fstatat(fd.get(), "", &st, 0));
  EXPECT_ERRNO(EINVAL, syscall(SYS_newfstatat, fd.get(), "", &st, 0x8000000));
  EXPECT_ERRNO(EBADF, fstat(-1, &st));
  EXPECT_ERRNO(EFAULT, stat(file.path(), reinterpret_cast<struct stat*>(8)));
}

TEST(StatxTest, GivesTheBasics) {
  TempFile file("abc");
  struct statx sx {};
  ASSERT_EQ(syscall(SYS_statx, AT_FDCWD, file.path(), 0, STATX_BASIC_STATS, &sx), 0);
  EXPECT_EQ(sx.stx_mask & STATX_BASIC_STATS, STATX_BASIC_STATS);
  EXPECT_EQ(sx.stx_size, 3u);
  EXPECT_TRUE(S_ISREG(sx.stx_mode));
  EXPECT_ERRNO(EINVAL, syscall(SYS_statx, AT_FDCWD, file.path(), 0x8000000, 0, &sx));
  EXPECT_ERRNO(EINVAL, syscall(SYS_statx, AT_FDCWD, file.path(), 0, 0x80000000u, &sx));
}

TEST(AccessTest, RootAndOthers) {
  TempDir dir;
  ASSERT_EQ(chmod(dir.path().c_str(), 0755), 0);
  std::string file = dir.Put("f", "", 0600);
  EXPECT_EQ(access(file.c_str(), F_OK), 0);
  EXPECT_EQ(access(file.c_str(), R_OK | W_OK), 0);
  EXPECT_ERRNO(EACCES, access(file.c_str(), X_OK));
  EXPECT_ERRNO(ENOENT, access((dir / "none").c_str(), F_OK));
  EXPECT_ERRNO(EINVAL, access(file.c_str(), 64));
  if (geteuid() != 0) GTEST_SKIP() << "the rest needs root";
  EXPECT_TRUE(ExitedWith(AsUser([&] {
                           if (access(file.c_str(), F_OK) != 0) return 1;
                           if (access(file.c_str(), R_OK) != -1 || errno != EACCES) return 2;
                           return 0;
                         }),
                         0));
}

TEST(ReadlinkTest, CutsAndRefuses) {
  TempDir dir;
  ASSERT_EQ(symlink("0123456789", (dir / "l").c_str()), 0);
  char text[16] = {};
  EXPECT_EQ(readlink((dir / "l").c_str(), text, 4), 4);
  EXPECT_STREQ(text, "0123");
  EXPECT_EQ(readlink((dir / "l").c_str(), text, sizeof text), 10);
  EXPECT_ERRNO(EINVAL, readlink(dir.path().c_str(), text, sizeof text));
  EXPECT_ERRNO(EINVAL, syscall(SYS_readlink, (dir / "l").c_str(), text, 0));
  EXPECT_ERRNO(ENOENT, readlink((dir / "none").c_str(), text, sizeof text));
}

TEST(ChmodTest, ChangesBitsAndNeedsOwnership) {
  TempDir dir;
  ASSERT_EQ(chmod(dir.path().c_str(), 0755), 0);
  std::string file = dir.Put("f");
  ASSERT_EQ(chmod(file.c_str(), 04751), 0);
  EXPECT_EQ(StatOf(file).st_mode & 07777, 04751u);
  Fd fd(open(file.c_str(), O_RDONLY));
  ASSERT_EQ(fchmod(fd.get(), 0600), 0);
  EXPECT_EQ(StatOf(file).st_mode & 07777, 0600u);
  EXPECT_ERRNO(ENOENT, chmod((dir / "none").c_str(), 0600));
  if (geteuid() != 0) GTEST_SKIP() << "the rest needs root";
  EXPECT_TRUE(ExitedWith(
      AsUser([&] { return chmod(file.c_str(), 0777) == -1 && errno == EPERM ? 0 : 1; }), 0));
  // Set-group-ID goes when the group is none of the caller's.
  std::string theirs = dir.Put("g");
  ASSERT_EQ(chown(theirs.c_str(), 1234, 4321), 0);
  EXPECT_TRUE(ExitedWith(AsUser([&] { return chmod(theirs.c_str(), 02755); }), 0));
  EXPECT_EQ(StatOf(theirs).st_mode & 07777, 0755u);
}

TEST(ChownTest, ChangesIdsAndDropsSetId) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root";
  TempDir dir;
  ASSERT_EQ(chmod(dir.path().c_str(), 0755), 0);
  std::string file = dir.Put("f");
  ASSERT_EQ(chmod(file.c_str(), 06755), 0);
  ASSERT_EQ(chown(file.c_str(), 1234, static_cast<gid_t>(-1)), 0);
  struct stat st = StatOf(file);
  EXPECT_EQ(st.st_uid, 1234u);
  EXPECT_EQ(st.st_gid, getegid());
  EXPECT_EQ(st.st_mode & 07777, 0755u);
  EXPECT_TRUE(
      ExitedWith(AsUser([&] {
                   if (chown(file.c_str(), 0, static_cast<gid_t>(-1)) != -1 || errno != EPERM)
                     return 1;
                   if (chown(file.c_str(), static_cast<uid_t>(-1), 1234) != 0) return 2;
                   if (chown(file.c_str(), static_cast<uid_t>(-1), 77) != -1 || errno != EPERM)
                     return 3;
                   return 0;
                 }),
                 0));
  ASSERT_EQ(symlink("none", (dir / "l").c_str()), 0);
  ASSERT_EQ(lchown((dir / "l").c_str(), 1234, 1234), 0);
  EXPECT_EQ(StatOf(dir / "l").st_uid, 1234u);
}

TEST(UtimensTest, SetsOmitsAndChecks) {
  TempDir dir;
  ASSERT_EQ(chmod(dir.path().c_str(), 0755), 0);
  std::string file = dir.Put("f", "", 0666);
  ASSERT_EQ(chmod(file.c_str(), 0666), 0);
  timespec times[2] = {{1000, 5}, {2000, 7}};
  ASSERT_EQ(utimensat(AT_FDCWD, file.c_str(), times, 0), 0);
  struct stat st = StatOf(file);
  EXPECT_EQ(st.st_atim.tv_sec, 1000);
  EXPECT_EQ(st.st_mtim.tv_sec, 2000);
  EXPECT_EQ(st.st_mtim.tv_nsec, 7);
  times[0] = {0, UTIME_OMIT};
  times[1] = {3000, 0};
  ASSERT_EQ(utimensat(AT_FDCWD, file.c_str(), times, 0), 0);
  st = StatOf(file);
  EXPECT_EQ(st.st_atim.tv_sec, 1000);
  EXPECT_EQ(st.st_mtim.tv_sec, 3000);
  times[1] = {0, 2'000'000'000};
  EXPECT_ERRNO(EINVAL, utimensat(AT_FDCWD, file.c_str(), times, 0));
  Fd fd(open(file.c_str(), O_RDONLY));
  ASSERT_EQ(futimens(fd.get(), nullptr), 0);
  EXPECT_GT(StatOf(file).st_mtim.tv_sec, 1'000'000'000);
  if (geteuid() != 0) GTEST_SKIP() << "the rest needs root";
  EXPECT_TRUE(ExitedWith(AsUser([&] {
                           timespec set[2] = {{1, 0}, {1, 0}};
                           if (utimensat(AT_FDCWD, file.c_str(), set, 0) != -1 || errno != EPERM)
                             return 1;
                           return utimensat(AT_FDCWD, file.c_str(), nullptr, 0) == 0 ? 0 : 2;
                         }),
                         0));
}

TEST(StatfsTest, HasAType) {
  struct statfs s {};
  ASSERT_EQ(statfs("/tmp", &s), 0);
  EXPECT_NE(s.f_type, 0);
  EXPECT_GT(s.f_bsize, 0);
  EXPECT_GE(s.f_namelen, 255);
  EXPECT_ERRNO(ENOENT, statfs("/tmp/none/x", &s));
}

}  // namespace
}  // namespace sandboxd::test
