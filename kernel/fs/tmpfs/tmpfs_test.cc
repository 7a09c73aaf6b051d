#include "kernel/fs/tmpfs/tmpfs.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "kernel/vfs/testing/test_caller.h"

namespace sandboxd::tmpfs {
namespace {

using vfs::At;
using vfs::ReadAll;
using vfs::WriteString;

class TmpfsTest : public ::testing::Test {
 protected:
  explicit TmpfsTest(Options options = {})
      : superblock_(MakeRef<TmpfsSuperblock>("tmpfs", options, HostMemoryFiles())),
        caller_(vfs_, superblock_) {}
  Ref<vfs::File> Create(std::string_view path) {
    return MUST(vfs_.Open(caller_, path, {}, {O_RDWR | O_CREAT, 0644}));
  }
  vfs::Attr Stat(std::string_view path) {
    return MUST(vfs_.Stat(caller_, MUST(vfs_.Resolve(caller_, path))));
  }

  vfs::Vfs vfs_;
  Ref<TmpfsSuperblock> superblock_;
  vfs::TestCaller caller_;
};

TEST_F(TmpfsTest, WhatIsWrittenIsRead) {
  auto file = Create("/f");
  EXPECT_EQ(MUST(WriteString(caller_, *file, "hello")), 5u);
  EXPECT_EQ(MUST(ReadAll(caller_, *file)), "");
  ASSERT_EQ(MUST(file->Seek(caller_, 1, SEEK_SET)), 1);
  EXPECT_EQ(MUST(ReadAll(caller_, *file)), "ello");
  EXPECT_EQ(Stat("/f").size, 5u);
}

TEST_F(TmpfsTest, GrowingBeyondTheHeapKeepsTheBytes) {
  auto file = Create("/f");
  std::string text(200000, 'x');
  for (size_t i = 0; i < text.size(); i += 997) text[i] = static_cast<char>('a' + i % 26);
  ASSERT_EQ(MUST(WriteString(caller_, *file, text.substr(0, 1000))), 1000u);
  ASSERT_EQ(MUST(WriteString(caller_, *file, text.substr(1000))), text.size() - 1000);
  ASSERT_EQ(MUST(file->Seek(caller_, 0, SEEK_SET)), 0);
  EXPECT_EQ(MUST(ReadAll(caller_, *file)), text);
}

TEST_F(TmpfsTest, HolesReadAsZeroAndAreFound) {
  auto file = Create("/f");
  ASSERT_EQ(MUST(file->Seek(caller_, 1 << 20, SEEK_SET)), 1 << 20);
  ASSERT_TRUE(WriteString(caller_, *file, "end").ok());
  EXPECT_LT(Stat("/f").blocks * 512, 1u << 20);
  EXPECT_EQ(MUST(file->Seek(caller_, 0, SEEK_DATA)), 1 << 20);
  EXPECT_EQ(MUST(file->Seek(caller_, 0, SEEK_HOLE)), 0);
  EXPECT_TRUE(file->Seek(caller_, (1 << 20) + 3, SEEK_DATA).Is(Errno::kENXIO));
  ASSERT_TRUE(file->Allocate(caller_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 1 << 20, 2).ok());
  ASSERT_EQ(MUST(file->Seek(caller_, 1 << 20, SEEK_SET)), 1 << 20);
  EXPECT_EQ(MUST(ReadAll(caller_, *file)), std::string("\0\0d", 3));
}

TEST_F(TmpfsTest, ALargeFileThatIsUsedInSmallPiecesStaysRight) {
  auto file = Create("/f");
  std::string text(1 << 20, '.');
  ASSERT_TRUE(WriteString(caller_, *file, text).ok());
  uint32_t random = 1;
  const auto put_and_look = [&](size_t length) {
    for (int i = 0; i < 500; i++) {
      random = random * 1664525 + 1013904223;
      const size_t at = random % (length - 100);
      text.replace(at, 100, 100, static_cast<char>('a' + i % 26));
      ASSERT_TRUE(file->Seek(caller_, static_cast<int64_t>(at), SEEK_SET).ok());
      ASSERT_EQ(MUST(WriteString(caller_, *file, text.substr(at, 100))), 100u);
    }
    ASSERT_TRUE(file->Seek(caller_, 0, SEEK_SET).ok());
    ASSERT_TRUE(MUST(ReadAll(caller_, *file)) == text) << "of " << length << " bytes";
    EXPECT_EQ(Stat("/f").size, text.size());
  };
  put_and_look(text.size());
  // Shorter, then longer again: what was cut off reads as zero.
  ASSERT_TRUE(file->Truncate(caller_, 300'001).ok());
  ASSERT_TRUE(file->Truncate(caller_, 700'000).ok());
  text.resize(300'001);
  text.resize(700'000, '\0');
  put_and_look(300'001);
  put_and_look(700'000);
  ASSERT_TRUE(
      file->Allocate(caller_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4096, 65536).ok());
  text.replace(4096, 65536, 65536, '\0');
  put_and_look(700'000);
}

TEST_F(TmpfsTest, TruncateShrinksAndGrowsWithZeros) {
  auto file = Create("/f");
  ASSERT_TRUE(WriteString(caller_, *file, "abcdef").ok());
  ASSERT_TRUE(file->Truncate(caller_, 2).ok());
  ASSERT_TRUE(file->Truncate(caller_, 4).ok());
  ASSERT_EQ(MUST(file->Seek(caller_, 0, SEEK_SET)), 0);
  EXPECT_EQ(MUST(ReadAll(caller_, *file)), std::string("ab\0\0", 4));
}

TEST_F(TmpfsTest, AppendMovesThePositionToTheEnd) {
  ASSERT_TRUE(WriteString(caller_, *Create("/f"), "12345").ok());
  auto file = MUST(vfs_.Open(caller_, "/f", {}, {O_RDWR | O_APPEND, 0}));
  ASSERT_TRUE(WriteString(caller_, *file, "678").ok());
  EXPECT_EQ(file->position(), 8);
  EXPECT_EQ(Stat("/f").size, 8u);
}

TEST_F(TmpfsTest, FileSizeLimitCutsAndThenRefuses) {
  caller_.set_file_size_limit(4);
  auto file = Create("/f");
  EXPECT_EQ(MUST(WriteString(caller_, *file, "123456")), 4u);
  EXPECT_TRUE(caller_.signals().empty());
  EXPECT_TRUE(WriteString(caller_, *file, "7").Is(Errno::kEFBIG));
  EXPECT_EQ(caller_.signals().back(), SIGXFSZ);
}

TEST_F(TmpfsTest, WriteByAnotherUserDropsSetUserId) {
  auto file = Create("/f");
  ASSERT_TRUE(vfs_.Chmod(caller_, file->path(), 06777).ok());
  caller_.BecomeUser(1000, 1000);
  ASSERT_TRUE(WriteString(caller_, *file, "x").ok());
  EXPECT_EQ(Stat("/f").mode & 07777, 0777u);
}

TEST_F(TmpfsTest, ReaddirPositionSurvivesChanges) {
  for (const char* name : {"/a", "/b", "/c"}) Create(name);
  auto dir = MUST(vfs_.Open(caller_, "/", {}, {O_RDONLY | O_DIRECTORY, 0}));
  std::vector<std::string> names;
  auto take_two = [&](const vfs::DirEntry& e) {
    if (names.size() % 3 == 2 && names.size() < 4) return false;
    names.emplace_back(e.name);
    return true;
  };
  ASSERT_TRUE(dir->ReadDir(caller_, take_two).ok());
  EXPECT_EQ(names, (std::vector<std::string>{".", ".."}));
  ASSERT_TRUE(vfs_.Unlink(caller_, "/a", {}).ok());
  Create("/d");
  EXPECT_EQ(vfs::ListNames(caller_, *dir), (std::vector<std::string>{"b", "c", "d"}));
}

TEST_F(TmpfsTest, DotDotHasTheParentsInode) {
  ASSERT_TRUE(vfs_.Mkdir(caller_, "/d", {}, 0755).ok());
  auto dir = MUST(vfs_.Open(caller_, "/d", {}, {O_RDONLY | O_DIRECTORY, 0}));
  uint64_t dot_dot = 0;
  ASSERT_TRUE(dir->ReadDir(caller_,
                           [&](const vfs::DirEntry& e) {
                             if (e.name == "..") dot_dot = e.ino;
                             return true;
                           })
                  .ok());
  EXPECT_EQ(dot_dot, Stat("/").ino);
}

TEST_F(TmpfsTest, XattrsFollowTheirFlags) {
  auto path = Create("/f")->path();
  EXPECT_TRUE(vfs_.SetXattr(caller_, path, "user.a", "1", XATTR_REPLACE).Is(Errno::kENODATA));
  ASSERT_TRUE(vfs_.SetXattr(caller_, path, "user.a", "1", 0).ok());
  EXPECT_TRUE(vfs_.SetXattr(caller_, path, "user.a", "2", XATTR_CREATE).Is(Errno::kEEXIST));
  EXPECT_EQ(MUST(vfs_.GetXattr(caller_, path, "user.a")), "1");
  ASSERT_TRUE(vfs_.RemoveXattr(caller_, path, "user.a").ok());
  EXPECT_TRUE(vfs_.GetXattr(caller_, path, "user.a").Is(Errno::kENODATA));
  EXPECT_TRUE(vfs_.SetXattr(caller_, path, "nope", "", 0).Is(Errno::kEOPNOTSUPP));
}

TEST_F(TmpfsTest, MappingGivesReadRightsOnlyWhereOnlyReadingIsAllowed) {
  auto file = Create("/f");
  ASSERT_TRUE(WriteString(caller_, *file, "mapped").ok());
  auto mappable = MUST(file->Mmap(caller_, PROT_READ, MAP_SHARED));
  auto read_only = MUST(mappable->HostBacking(0, 4096, mm::MapAccess::kSharedReadOnly));
  auto writable = MUST(mappable->HostBacking(0, 4096, mm::MapAccess::kSharedWritable));
  EXPECT_EQ(fcntl(read_only.fd, F_GETFL) & O_ACCMODE, O_RDONLY);
  EXPECT_EQ(fcntl(writable.fd, F_GETFL) & O_ACCMODE, O_RDWR);
  ASSERT_EQ(pwrite(writable.fd, "M", 1, 0), 1);
  ASSERT_EQ(MUST(file->Seek(caller_, 0, SEEK_SET)), 0);
  EXPECT_EQ(MUST(ReadAll(caller_, *file)), "Mapped");
  EXPECT_EQ(mappable->MapsName(), "/f");
}

TEST_F(TmpfsTest, DeepTreesAreTakenApartWithoutRecursion) {
  constexpr int kDepth = 100000;
  for (int i = 0; i < kDepth; i++) {
    ASSERT_TRUE(vfs_.Mkdir(caller_, "d", {}, 0755).ok());
    caller_.Chdir(MUST(vfs_.Resolve(caller_, "d")));
  }
  caller_.Chdir(caller_.root());
  EXPECT_EQ(Stat("/d").nlink, 3u);
}

class SmallTmpfsTest : public TmpfsTest {
 protected:
  SmallTmpfsTest() : TmpfsTest({.max_pages = 32, .max_inodes = 4}) {}
};

TEST_F(SmallTmpfsTest, FullFileSystemGivesShortWriteThenEnospc) {
  auto file = Create("/f");
  std::string text(64 * 4096, 'x');
  size_t total = 0;
  for (;;) {
    auto n = WriteString(caller_, *file, text);
    if (!n.ok()) {
      EXPECT_EQ(n.error(), Errno::kENOSPC);
      break;
    }
    total += *n;
  }
  EXPECT_EQ(total, 32u * 4096);
  file.Reset();
  ASSERT_TRUE(vfs_.Unlink(caller_, "/f", {}).ok());
  EXPECT_EQ(MUST(superblock_->StatFs()).blocks_free, 32u);
}

TEST_F(SmallTmpfsTest, InodesRunOut) {
  for (const char* name : {"/a", "/b", "/c"}) Create(name);
  EXPECT_TRUE(vfs_.Mkdir(caller_, "/d", {}, 0755).Is(Errno::kENOSPC));
  ASSERT_TRUE(vfs_.Unlink(caller_, "/a", {}).ok());
  EXPECT_TRUE(vfs_.Mkdir(caller_, "/d", {}, 0755).ok());
}

TEST(TmpfsOptionsTest, SizesAndModes) {
  auto o = MUST(ParseOptions("size=64k,mode=0755,uid=5,nr_inodes=10", {}));
  EXPECT_EQ(o.max_pages, 16u);
  EXPECT_EQ(o.mode, 0755u);
  EXPECT_EQ(o.uid, vfs::KUid(5));
  EXPECT_EQ(o.max_inodes, 10u);
  EXPECT_TRUE(ParseOptions("bogus=1", {}).Is(Errno::kEINVAL));
  EXPECT_TRUE(ParseOptions("size=x", {}).Is(Errno::kEINVAL));
}

TEST_F(TmpfsTest, MemfdSealsHold) {
  vfs_.SetMemfdOpener(MakeMemfdOpener(vfs_));
  auto file = MUST(vfs_.OpenMemfd(caller_, "x", {.allow_sealing = true}));
  ASSERT_TRUE(WriteString(caller_, *file, "abc").ok());
  ASSERT_TRUE(file->inode()->AddSeals(F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_SEAL).ok());
  EXPECT_TRUE(WriteString(caller_, *file, "d").Is(Errno::kEPERM));
  EXPECT_TRUE(file->Truncate(caller_, 0).Is(Errno::kEPERM));
  EXPECT_TRUE(file->inode()->AddSeals(F_SEAL_GROW).Is(Errno::kEPERM));
  EXPECT_EQ(vfs_.PathString(file->path(), caller_.root()), "/memfd:x (deleted)");
}

}  // namespace
}  // namespace sandboxd::tmpfs
