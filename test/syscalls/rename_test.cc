// rename(2), renameat2(2).
#include <linux/fs.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "test/syscalls/testing.h"

namespace sandboxd::test {
namespace {

class RenameTest : public ::testing::Test {
 protected:
  int Rename(const std::string& from, const std::string& to) {
    return rename((dir_ / from).c_str(), (dir_ / to).c_str());
  }
  long Rename2(const std::string& from, const std::string& to, unsigned flags) {
    return syscall(SYS_renameat2, AT_FDCWD, (dir_ / from).c_str(), AT_FDCWD, (dir_ / to).c_str(),
                   flags);
  }
  void Mkdir(const std::string& name) { ASSERT_EQ(mkdir((dir_ / name).c_str(), 0755), 0); }
  bool Exists(const std::string& name) { return access((dir_ / name).c_str(), F_OK) == 0; }
  TempDir dir_;
};

TEST_F(RenameTest, MovesAndReplacesFiles) {
  dir_.Put("a", "A");
  dir_.Put("b", "B");
  ASSERT_EQ(Rename("a", "b"), 0);
  EXPECT_FALSE(Exists("a"));
  EXPECT_EQ(ReadFile(dir_ / "b"), "A");
  Mkdir("d");
  ASSERT_EQ(Rename("b", "d/c"), 0);
  EXPECT_EQ(ReadFile(dir_ / "d/c"), "A");
  EXPECT_ERRNO(ENOENT, Rename("none", "x"));
  EXPECT_ERRNO(ENOENT, Rename("d/c", "none/x"));
}

TEST_F(RenameTest, KindsMustMatch) {
  dir_.Put("f");
  Mkdir("d");
  Mkdir("e");
  dir_.Put("e/full");
  EXPECT_ERRNO(EISDIR, Rename("f", "d"));
  EXPECT_ERRNO(ENOTDIR, Rename("d", "f"));
  EXPECT_ERRNO(ENOTEMPTY, Rename("d", "e"));
  EXPECT_EQ(Rename("e", "d"), 0);
  EXPECT_TRUE(Exists("d/full"));
  EXPECT_ERRNO(ENOTDIR, Rename("f", "g/"));
  EXPECT_ERRNO(ENOTDIR, Rename("f/", "g"));
}

TEST_F(RenameTest, NotIntoItselfNorOverAnAncestor) {
  Mkdir("a");
  Mkdir("a/b");
  EXPECT_ERRNO(EINVAL, Rename("a", "a/b/c"));
  EXPECT_ERRNO(EINVAL, Rename("a", "a/x"));
  EXPECT_ERRNO(ENOTEMPTY, Rename("a/b", "a"));
  EXPECT_EQ(Rename("a", "a"), 0);
  EXPECT_ERRNO(EBUSY, Rename("a/.", "x"));
  EXPECT_ERRNO(EBUSY, Rename("a", "a/b/.."));
}

TEST_F(RenameTest, TwoNamesOfOneFileStay) {
  dir_.Put("f");
  ASSERT_EQ(link((dir_ / "f").c_str(), (dir_ / "g").c_str()), 0);
  EXPECT_EQ(Rename("f", "g"), 0);
  EXPECT_TRUE(Exists("f"));
  EXPECT_TRUE(Exists("g"));
}

TEST_F(RenameTest, NoReplaceAndExchange) {
  dir_.Put("a", "A");
  Mkdir("d");
  dir_.Put("d/inner");
  if (Rename2("a", "d", RENAME_NOREPLACE) == -1 && errno == EINVAL)
    GTEST_SKIP() << "the file system has no renameat2 flags";
  EXPECT_ERRNO(EEXIST, Rename2("a", "d", RENAME_NOREPLACE));
  ASSERT_EQ(Rename2("a", "d", RENAME_EXCHANGE), 0);
  EXPECT_EQ(ReadFile(dir_ / "d"), "A");
  EXPECT_TRUE(Exists("a/inner"));
  EXPECT_ERRNO(ENOENT, Rename2("a", "none", RENAME_EXCHANGE));
  EXPECT_ERRNO(EINVAL, Rename2("a", "d", RENAME_EXCHANGE | RENAME_NOREPLACE));
  EXPECT_ERRNO(EINVAL, Rename2("a", "d", 0x100));
  ASSERT_EQ(Rename2("d", "fresh", RENAME_NOREPLACE), 0);
  EXPECT_EQ(ReadFile(dir_ / "fresh"), "A");
}

TEST_F(RenameTest, OpenFilesAndFoldersFollow) {
  Mkdir("d");
  Fd folder(open((dir_ / "d").c_str(), O_RDONLY | O_DIRECTORY));
  ASSERT_EQ(Rename("d", "moved"), 0);
  Fd made(openat(folder.get(), "f", O_CREAT | O_WRONLY, 0644));
  EXPECT_GE(made.get(), 0);
  EXPECT_TRUE(Exists("moved/f"));
}

TEST_F(RenameTest, ReplacedFileLosesItsLink) {
  dir_.Put("a");
  Fd fd(open(dir_.Put("b").c_str(), O_RDONLY));
  ASSERT_EQ(Rename("a", "b"), 0);
  struct stat st;
  ASSERT_EQ(fstat(fd.get(), &st), 0);
  EXPECT_EQ(st.st_nlink, 0u);
}

TEST_F(RenameTest, AcrossFileSystemsIsExdev) {
  dir_.Put("a");
  EXPECT_ERRNO(EXDEV, rename((dir_ / "a").c_str(), "/proc/x"));
}

TEST_F(RenameTest, StickyFoldersProtect) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root";
  ASSERT_EQ(chmod(dir_.path().c_str(), 01777), 0);
  dir_.Put("roots");
  EXPECT_TRUE(ExitedWith(
      AsUser([&] { return Rename("roots", "stolen") == -1 && errno == EPERM ? 0 : 1; }), 0));
}

}  // namespace
}  // namespace sandboxd::test
