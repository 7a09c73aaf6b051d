// xattr(7).
#include <sys/stat.h>
#include <sys/xattr.h>

#include "test/syscalls/testing.h"

namespace sandboxd::test {
namespace {

class XattrTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (setxattr(file_.c_str(), "user.probe", "", 0, 0) != 0 && errno == EOPNOTSUPP)
      GTEST_SKIP() << "/tmp has no extended attributes";
    removexattr(file_.c_str(), "user.probe");
  }
  TempDir dir_;
  std::string file_ = dir_.Put("f");
};

TEST_F(XattrTest, SetGetListRemove) {
  ASSERT_EQ(setxattr(file_.c_str(), "user.a", "value", 5, 0), 0);
  char text[16] = {};
  EXPECT_EQ(getxattr(file_.c_str(), "user.a", nullptr, 0), 5);
  EXPECT_EQ(getxattr(file_.c_str(), "user.a", text, sizeof text), 5);
  EXPECT_STREQ(text, "value");
  EXPECT_ERRNO(ERANGE, getxattr(file_.c_str(), "user.a", text, 2));
  char names[256] = {};
  EXPECT_GE(listxattr(file_.c_str(), names, sizeof names), 7);
  ASSERT_EQ(removexattr(file_.c_str(), "user.a"), 0);
  EXPECT_ERRNO(ENODATA, getxattr(file_.c_str(), "user.a", text, sizeof text));
  EXPECT_ERRNO(ENODATA, removexattr(file_.c_str(), "user.a"));
}

TEST_F(XattrTest, CreateAndReplace) {
  EXPECT_ERRNO(ENODATA, setxattr(file_.c_str(), "user.a", "1", 1, XATTR_REPLACE));
  ASSERT_EQ(setxattr(file_.c_str(), "user.a", "1", 1, XATTR_CREATE), 0);
  EXPECT_ERRNO(EEXIST, setxattr(file_.c_str(), "user.a", "1", 1, XATTR_CREATE));
  EXPECT_ERRNO(EINVAL, setxattr(file_.c_str(), "user.a", "1", 1, 8));
}

TEST_F(XattrTest, NamesAreChecked) {
  EXPECT_ERRNO(ERANGE, setxattr(file_.c_str(), "", "1", 1, 0));
  EXPECT_ERRNO(ERANGE,
               setxattr(file_.c_str(), ("user." + std::string(300, 'x')).c_str(), "1", 1, 0));
  EXPECT_ERRNO(EOPNOTSUPP, setxattr(file_.c_str(), "unknown.a", "1", 1, 0));
  EXPECT_ERRNO(E2BIG, setxattr(file_.c_str(), "user.a", std::string(70000, 'x').data(), 70000, 0));
}

TEST_F(XattrTest, UserNamesAreForFilesAndFolders) {
  ASSERT_EQ(mkfifo((dir_ / "fifo").c_str(), 0644), 0);
  EXPECT_ERRNO(EPERM, setxattr((dir_ / "fifo").c_str(), "user.a", "1", 1, 0));
  char c;
  EXPECT_ERRNO(ENODATA, getxattr((dir_ / "fifo").c_str(), "user.a", &c, 1));
  EXPECT_EQ(setxattr(dir_.path().c_str(), "user.a", "1", 1, 0), 0);
  Fd fd(open(file_.c_str(), O_RDONLY));
  EXPECT_EQ(fsetxattr(fd.get(), "user.b", "2", 1, 0), 0);
  EXPECT_EQ(fgetxattr(fd.get(), "user.b", &c, 1), 1);
}

TEST_F(XattrTest, TrustedIsForAdministrators) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root";
  ASSERT_EQ(chmod(dir_.path().c_str(), 0755), 0);
  ASSERT_EQ(chmod(file_.c_str(), 0666), 0);
  EXPECT_TRUE(
      ExitedWith(AsUser([&] {
                   char c;
                   if (setxattr(file_.c_str(), "trusted.a", "1", 1, 0) != -1 || errno != EPERM)
                     return 1;
                   if (getxattr(file_.c_str(), "trusted.a", &c, 1) != -1 || errno != ENODATA)
                     return 2;
                   return setxattr(file_.c_str(), "user.a", "1", 1, 0) == 0 ? 0 : 3;
                 }),
                 0));
}

}  // namespace
}  // namespace sandboxd::test
