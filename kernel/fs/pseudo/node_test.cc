#include "kernel/fs/pseudo/node.h"

#include <dirent.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kernel/vfs/testing/test_caller.h"

namespace sandboxd::pseudo {
namespace {

// A tree with one of each.
class TestSuperblock final : public vfs::Superblock {
 public:
  TestSuperblock() {
    Builder b(*this, 1);
    Ref<TableDirectory> root = b.MakeDirectory();
    b.Constant(*root, "constant", "text\n");
    b.Constant(*root, "a/b/deep", "deep\n");
    b.Link(*root, "link", "a/b/deep");
    b.Text(*root, "counter",
           [this](vfs::Caller&) -> Result<std::string> { return std::to_string(++generated); });
    TextOptions o;
    o.accept = [this](vfs::Caller&, std::string_view text) -> Result<void> {
      if (text == "bad") return Errno::kEINVAL;
      written = text;
      return Ok();
    };
    b.Writable(*root, "sink", std::move(o), 0200);
    o.generate = [](vfs::Caller&) -> Result<std::string> { return std::string("secret"); };
    o.may_open = [](vfs::Caller&) -> Result<void> { return Errno::kEACCES; };
    b.Writable(*root, "closed", std::move(o));
    root_ = std::move(root);
  }
  std::string_view type_name() const override { return "test"; }
  Ref<vfs::Inode> RootInode() override { return root_; }
  Result<vfs::FsStat> StatFs() override { return vfs::FsStat{}; }

  int generated = 0;
  std::string written;

 private:
  ~TestSuperblock() override = default;
  Ref<vfs::Inode> root_;
};

class PseudoTest : public testing::Test {
 protected:
  Result<Ref<vfs::File>> Open(std::string_view path, int flags = O_RDONLY) {
    return vfs_.Open(caller_, path, {}, {flags, 0});
  }
  std::string Read(vfs::File& file) { return MUST(vfs::ReadAll(caller_, file)); }

  Ref<TestSuperblock> sb_ = MakeRef<TestSuperblock>();
  vfs::Vfs vfs_;
  vfs::TestCaller caller_{vfs_, sb_};
};

TEST_F(PseudoTest, TablesListWhatTheyHave) {
  auto dir = MUST(Open("/"));
  EXPECT_EQ(
      vfs::ListNames(caller_, *dir),
      (std::vector<std::string>{".", "..", "constant", "a", "link", "counter", "sink", "closed"}));
  auto attr = MUST(MUST(Open("/a"))->GetAttr());
  EXPECT_EQ(attr.nlink, 3u);
  EXPECT_EQ(attr.mode, S_IFDIR | 0555u);
}

TEST_F(PseudoTest, FilesInFoldersAndThroughLinks) {
  EXPECT_EQ(Read(*MUST(Open("/a/b/deep"))), "deep\n");
  EXPECT_EQ(Read(*MUST(Open("/link"))), "deep\n");
  EXPECT_TRUE(Open("/a/none").Is(Errno::kENOENT));
}

TEST_F(PseudoTest, OnePassIsOneSnapshot) {
  auto file = MUST(Open("/counter"));
  EXPECT_EQ(Read(*file), "1");
  EXPECT_EQ(Read(*file), "") << "at the end";
  EXPECT_EQ(sb_->generated, 1);
  ASSERT_EQ(MUST(file->Seek(caller_, 0, SEEK_SET)), 0);
  EXPECT_EQ(Read(*file), "2");
}

TEST_F(PseudoTest, WritesArriveWhole) {
  auto file = MUST(Open("/sink", O_WRONLY | O_TRUNC));
  EXPECT_EQ(MUST(vfs::WriteString(caller_, *file, "value\n")), 6u);
  EXPECT_EQ(sb_->written, "value\n");
  EXPECT_TRUE(vfs::WriteString(caller_, *file, "bad").Is(Errno::kEINVAL));
  EXPECT_EQ(file->position(), 6);
}

TEST_F(PseudoTest, WhatIsNotOfferedIsRefused) {
  EXPECT_TRUE(Open("/closed").Is(Errno::kEACCES));
  caller_.BecomeUser(1000, 1000);
  EXPECT_TRUE(Open("/constant", O_WRONLY).Is(Errno::kEACCES));
  EXPECT_TRUE(Open("/new", O_WRONLY | O_CREAT).Is(Errno::kEACCES));
  caller_.BecomeRoot();
  auto file = MUST(Open("/constant", O_WRONLY));
  EXPECT_TRUE(vfs::WriteString(caller_, *file, "x").Is(Errno::kEINVAL));
}

}  // namespace
}  // namespace sandboxd::pseudo
