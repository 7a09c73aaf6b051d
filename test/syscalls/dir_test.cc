// mkdir(2), rmdir(2), unlink(2), link(2), symlink(2), mknod(2), getdents(2), getcwd(2), chdir(2),
// chroot(2).
#include <dirent.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

#include <set>
#include <vector>

#include "test/syscalls/testing.h"

namespace sandboxd::test {
namespace {

struct stat StatOf(const std::string& path) {
  struct stat st {};
  EXPECT_EQ(lstat(path.c_str(), &st), 0) << path;
  return st;
}

TEST(MkdirTest, MakesWithUmaskAndRefuses) {
  TempDir dir;
  mode_t old = umask(022);
  ASSERT_EQ(mkdir((dir / "d").c_str(), 01777), 0);
  umask(old);
  EXPECT_EQ(StatOf(dir / "d").st_mode & 07777, 01755u);
  EXPECT_EQ(StatOf(dir / "d").st_nlink >= 1, true);
  EXPECT_ERRNO(EEXIST, mkdir((dir / "d").c_str(), 0755));
  EXPECT_ERRNO(EEXIST, mkdir((dir / "d/.").c_str(), 0755));
  EXPECT_ERRNO(EEXIST, mkdir("/", 0755));
  EXPECT_ERRNO(ENOENT, mkdir((dir / "none/x").c_str(), 0755));
  EXPECT_ERRNO(ENOENT, mkdir("", 0755));
  EXPECT_EQ(mkdir((dir / "slash/").c_str(), 0755), 0);
  ASSERT_EQ(symlink("nowhere", (dir / "dangling").c_str()), 0);
  EXPECT_ERRNO(EEXIST, mkdir((dir / "dangling").c_str(), 0755));
}

TEST(MkdirTest, SetGroupIdIsInherited) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root";
  TempDir dir;
  ASSERT_EQ(chown(dir.path().c_str(), static_cast<uid_t>(-1), 4321), 0);
  ASSERT_EQ(chmod(dir.path().c_str(), 02755), 0);
  ASSERT_EQ(mkdir((dir / "d").c_str(), 0755), 0);
  dir.Put("f");
  EXPECT_EQ(StatOf(dir / "d").st_gid, 4321u);
  EXPECT_EQ(StatOf(dir / "d").st_mode & 07777, 02755u);
  EXPECT_EQ(StatOf(dir / "f").st_gid, 4321u);
  EXPECT_EQ(StatOf(dir / "f").st_mode & S_ISGID, 0u);
}

TEST(RmdirTest, OnlyEmptyFolders) {
  TempDir dir;
  ASSERT_EQ(mkdir((dir / "d").c_str(), 0755), 0);
  dir.Put("d/f");
  EXPECT_ERRNO(ENOTEMPTY, rmdir((dir / "d").c_str()));
  EXPECT_ERRNO(ENOTDIR, rmdir((dir / "d/f").c_str()));
  EXPECT_ERRNO(EINVAL, rmdir((dir / "d/.").c_str()));
  EXPECT_ERRNO(ENOTEMPTY, rmdir((dir / "d/..").c_str()));
  EXPECT_ERRNO(ENOENT, rmdir((dir / "none").c_str()));
  EXPECT_ERRNO(EBUSY, rmdir("/"));
  ASSERT_EQ(unlink((dir / "d/f").c_str()), 0);
  EXPECT_EQ(rmdir((dir / "d/").c_str()), 0);
}

TEST(UnlinkTest, FilesGoFoldersStay) {
  TempDir dir;
  std::string file = dir.Put("f", "kept");
  Fd fd(open(file.c_str(), O_RDONLY));
  ASSERT_EQ(unlink(file.c_str()), 0);
  struct stat st;
  ASSERT_EQ(fstat(fd.get(), &st), 0);
  EXPECT_EQ(st.st_nlink, 0u);
  char text[4];
  EXPECT_EQ(read(fd.get(), text, 4), 4);
  EXPECT_ERRNO(ENOENT, unlink(file.c_str()));
  EXPECT_ERRNO(EISDIR, unlink(dir.path().c_str()));
  EXPECT_ERRNO(ENOTDIR, unlink((dir.Put("g") + "/").c_str()));
  EXPECT_ERRNO(EINVAL, unlinkat(AT_FDCWD, "x", 0x4000));
}

TEST(UnlinkTest, StickyFoldersProtectOthersFiles) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root";
  TempDir dir;
  ASSERT_EQ(chmod(dir.path().c_str(), 01777), 0);
  std::string roots = dir.Put("roots");
  EXPECT_TRUE(ExitedWith(AsUser([&] {
                           if (unlink(roots.c_str()) != -1 || errno != EPERM) return 1;
                           std::string mine = dir / "mine";
                           if (close(open(mine.c_str(), O_CREAT | O_WRONLY, 0644)) != 0) return 2;
                           return unlink(mine.c_str()) == 0 ? 0 : 3;
                         }),
                         0));
}

TEST(LinkTest, SharesTheFile) {
  TempDir dir;
  std::string file = dir.Put("f", "x");
  ASSERT_EQ(link(file.c_str(), (dir / "g").c_str()), 0);
  EXPECT_EQ(StatOf(file).st_ino, StatOf(dir / "g").st_ino);
  EXPECT_EQ(StatOf(file).st_nlink, 2u);
  EXPECT_ERRNO(EEXIST, link(file.c_str(), (dir / "g").c_str()));
  EXPECT_ERRNO(EPERM, link(dir.path().c_str(), (dir / "d").c_str()));
  EXPECT_ERRNO(ENOENT, link((dir / "none").c_str(), (dir / "h").c_str()));
  EXPECT_ERRNO(EXDEV, link("/proc/self/status", (dir / "p").c_str()));
  ASSERT_EQ(symlink("f", (dir / "l").c_str()), 0);
  ASSERT_EQ(link((dir / "l").c_str(), (dir / "l2").c_str()), 0);
  EXPECT_TRUE(S_ISLNK(StatOf(dir / "l2").st_mode));
  ASSERT_EQ(
      linkat(AT_FDCWD, (dir / "l").c_str(), AT_FDCWD, (dir / "f2").c_str(), AT_SYMLINK_FOLLOW), 0);
  EXPECT_TRUE(S_ISREG(StatOf(dir / "f2").st_mode));
}

TEST(SymlinkTest, HoldsAnyText) {
  TempDir dir;
  EXPECT_ERRNO(ENOENT, symlink("", (dir / "l").c_str()));
  ASSERT_EQ(symlink("a/b//c", (dir / "l").c_str()), 0);
  EXPECT_ERRNO(EEXIST, symlink("x", (dir / "l").c_str()));
  ASSERT_EQ(mkdir((dir / "d").c_str(), 0755), 0);
  dir.Put("d/f", "through");
  ASSERT_EQ(symlink("d", (dir / "to-d").c_str()), 0);
  ASSERT_EQ(symlink((dir / "d").c_str(), (dir / "abs").c_str()), 0);
  EXPECT_EQ(ReadFile(dir / "to-d/f"), "through");
  EXPECT_EQ(ReadFile(dir / "abs/../d/f"), "through");
}

TEST(SymlinkTest, FortyLinksAreTheLimit) {
  TempDir dir;
  dir.Put("0", "end");
  for (int i = 1; i <= 41; i++) {
    ASSERT_EQ(symlink(std::to_string(i - 1).c_str(), (dir / std::to_string(i)).c_str()), 0);
  }
  EXPECT_EQ(ReadFile(dir / "40"), "end");
  EXPECT_ERRNO(ELOOP, open((dir / "41").c_str(), O_RDONLY));
}

TEST(MknodTest, KindsOfNodes) {
  TempDir dir;
  ASSERT_EQ(mknod((dir / "fifo").c_str(), S_IFIFO | 0644, 0), 0);
  EXPECT_TRUE(S_ISFIFO(StatOf(dir / "fifo").st_mode));
  ASSERT_EQ(mknod((dir / "file").c_str(), 0644, 0), 0);
  EXPECT_TRUE(S_ISREG(StatOf(dir / "file").st_mode));
  ASSERT_EQ(mknod((dir / "sock").c_str(), S_IFSOCK | 0644, 0), 0);
  EXPECT_ERRNO(ENXIO, open((dir / "sock").c_str(), O_RDONLY));
  EXPECT_ERRNO(EPERM, mknod((dir / "d").c_str(), S_IFDIR | 0755, 0));
  EXPECT_ERRNO(EINVAL, mknod((dir / "x").c_str(), 0170000, 0));
  EXPECT_ERRNO(EEXIST, mknod((dir / "fifo").c_str(), S_IFIFO | 0644, 0));
}

TEST(MknodTest, DevicesNeedACapability) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root";
  TempDir dir;
  ASSERT_EQ(chmod(dir.path().c_str(), 0777), 0);
  EXPECT_TRUE(ExitedWith(
      AsUser([&] {
        return mknod((dir / "null").c_str(), S_IFCHR | 0666, makedev(1, 3)) == -1 && errno == EPERM
                   ? 0
                   : 1;
      }),
      0));
}

std::set<std::string> Names(const std::string& path) {
  std::set<std::string> names;
  DIR* d = opendir(path.c_str());
  EXPECT_NE(d, nullptr);
  while (dirent* e = readdir(d)) names.insert(e->d_name);
  closedir(d);
  return names;
}

TEST(GetdentsTest, EveryNameOnceInSmallPieces) {
  TempDir dir;
  std::set<std::string> expected{".", ".."};
  for (int i = 0; i < 300; i++) {
    std::string name = "file-" + std::to_string(i);
    dir.Put(name);
    expected.insert(name);
  }
  EXPECT_EQ(Names(dir.path()), expected);
  Fd fd(open(dir.path().c_str(), O_RDONLY | O_DIRECTORY));
  std::multiset<std::string> seen;
  char buffer[256];
  for (;;) {
    long n = syscall(SYS_getdents64, fd.get(), buffer, sizeof buffer);
    ASSERT_GE(n, 0);
    if (n == 0) break;
    for (long at = 0; at < n;) {
      auto* e = reinterpret_cast<dirent64*>(buffer + at);
      seen.insert(e->d_name);
      at += e->d_reclen;
    }
  }
  EXPECT_EQ(seen, std::multiset<std::string>(expected.begin(), expected.end()));
  ASSERT_EQ(lseek(fd.get(), 0, SEEK_SET), 0);
  EXPECT_ERRNO(EINVAL, syscall(SYS_getdents64, fd.get(), buffer, 8));
  EXPECT_ERRNO(ENOTDIR, syscall(SYS_getdents64, TempFile().Open(O_RDONLY).get(), buffer, 256));
}

TEST(GetdentsTest, RemovalWhileReadingLosesNoOther) {
  TempDir dir;
  for (int i = 0; i < 100; i++) dir.Put(std::to_string(i));
  DIR* d = opendir(dir.path().c_str());
  ASSERT_NE(d, nullptr);
  int removed = 0;
  while (dirent* e = readdir(d)) {
    if (e->d_name[0] == '.') continue;
    ASSERT_EQ(unlinkat(dirfd(d), e->d_name, 0), 0) << e->d_name;
    removed++;
  }
  closedir(d);
  EXPECT_EQ(removed, 100);
}

TEST(CwdTest, FollowsChdirAndKnowsDeletedFolders) {
  TempDir dir;
  ASSERT_EQ(mkdir((dir / "d").c_str(), 0755), 0);
  EXPECT_TRUE(ExitedWith(InChild([&] {
                           char text[4096];
                           if (chdir((dir / "d").c_str()) != 0) return 1;
                           if (syscall(SYS_getcwd, text, sizeof text) !=
                               static_cast<long>((dir / "d").size() + 1))
                             return 2;
                           if (dir / "d" != text) return 3;
                           if (syscall(SYS_getcwd, text, 3) != -1 || errno != ERANGE) return 4;
                           if (rmdir("../d") != 0) return 5;
                           if (syscall(SYS_getcwd, text, sizeof text) != -1 || errno != ENOENT)
                             return 6;
                           if (open("new", O_CREAT | O_WRONLY, 0644) != -1 || errno != ENOENT)
                             return 7;
                           if (chdir("..") != 0) return 8;
                           if (syscall(SYS_getcwd, text, sizeof text) < 0 || dir.path() != text)
                             return 9;
                           if (chdir("/dev/null") != -1 || errno != ENOTDIR) return 10;
                           Fd file(open("/dev/null", O_RDONLY));
                           if (fchdir(file.get()) != -1 || errno != ENOTDIR) return 11;
                           return 0;
                         }),
                         0));
}

TEST(ChrootTest, IsTheRootForWalks) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root";
  TempDir dir;
  dir.Put("f", "inside");
  ASSERT_EQ(symlink("/f", (dir / "abs").c_str()), 0);
  EXPECT_TRUE(ExitedWith(InChild([&] {
                           if (chroot(dir.path().c_str()) != 0) return errno == EPERM ? 0 : 1;
                           if (chdir("/") != 0) return 2;
                           if (ReadFile("/../../f") != "inside") return 3;
                           if (ReadFile("/abs") != "inside") return 4;
                           return access("/proc", F_OK) == -1 && errno == ENOENT ? 0 : 5;
                         }),
                         0));
}

TEST(DirTest, GetdentsStopsAtMemoryThatIsNotThere) {
  TempDir dir;
  dir.Put("a-file-with-a-rather-long-name");
  dir.Put("another-file-with-a-rather-long-name");
  Fd fd(open(dir.path().c_str(), O_RDONLY));
  const size_t page = PageSize();
  auto* memory = static_cast<char*>(
      mmap(nullptr, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  ASSERT_NE(memory, MAP_FAILED);
  ASSERT_EQ(mprotect(memory + page, page, PROT_NONE), 0);
  char* buffer = memory + page - 100;
  int entries = 0;
  for (;;) {
    long n = syscall(SYS_getdents64, fd.get(), buffer, 1000);
    ASSERT_GE(n, 0) << strerror(errno);
    if (n == 0) break;
    ASSERT_LE(n, 100);
    for (long at = 0; at < n; entries++) {
      uint16_t length;
      memcpy(&length, buffer + at + 16, sizeof(length));
      at += length;
    }
  }
  EXPECT_EQ(entries, 4);
  EXPECT_ERRNO(EFAULT, (lseek(fd.get(), 0, SEEK_SET),
                        syscall(SYS_getdents64, fd.get(), memory + page, 1000)));
  EXPECT_ERRNO(EINVAL, syscall(SYS_getdents64, fd.get(), buffer, 0x80000000));
  munmap(memory, 2 * page);
}

TEST(DirTest, EmptyPathComesBeforeABadDescriptor) {
  EXPECT_ERRNO(ENOENT, fchmodat(-1, "", 0444, 0));
  EXPECT_ERRNO(EBADF, fchmodat(-1, "x", 0444, 0));
}

}  // namespace
}  // namespace sandboxd::test
