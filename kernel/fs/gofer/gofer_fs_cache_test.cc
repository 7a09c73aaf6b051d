// Listings, mappings, xattrs, and what is asked of the gofer.
#include "kernel/fs/gofer/gofer_fs_testing.h"

namespace sandboxd::gofer_fs {
namespace {

TEST_P(GoferFsTest, DirectoryIsListedOnce) {
  std::multiset<std::string> expected{".", ".."};
  for (int i = 0; i < 1500; ++i) {
    expected.insert("file" + std::to_string(i));
    tree_.Write("file" + std::to_string(i), "");
  }
  auto dir = MUST(Open("/", O_RDONLY | O_DIRECTORY));
  EXPECT_EQ(List(*dir), expected);
  EXPECT_TRUE(List(*dir).empty());
  ASSERT_TRUE(dir->Seek(c(), 0, SEEK_SET).ok());
  EXPECT_EQ(List(*dir), expected);
}

TEST_P(GoferFsTest, ListingGoesOnWhereTheSinkWasFull) {
  for (char name : {'a', 'b', 'c'}) tree_.Write(std::string(1, name), "");
  auto dir = MUST(Open("/", O_RDONLY | O_DIRECTORY));
  std::multiset<std::string> seen;
  for (bool more = true; more;) {
    int room = 2;
    more = false;
    ASSERT_TRUE(dir->ReadDir(c(),
                             [&](const vfs::DirEntry& entry) {
                               if (room-- == 0) return false;
                               seen.emplace(entry.name);
                               more = true;
                               return true;
                             })
                    .ok());
  }
  EXPECT_EQ(seen, (std::multiset<std::string>{".", "..", "a", "b", "c"}));
}

TEST_P(GoferFsTest, ListingSeesWhatWasMadeSince) {
  auto names = [&] { return List(*MUST(Open("/", O_RDONLY | O_DIRECTORY))); };
  EXPECT_EQ(names().size(), 2u);
  MUST(Open("/f", O_WRONLY | O_CREAT));
  EXPECT_EQ(names().count("f"), 1u);
  ASSERT_TRUE(vfs_.Rename(c(), "/f", {}, "/g", {}, 0).ok());
  EXPECT_EQ(names().count("g"), 1u);
  ASSERT_TRUE(vfs_.Unlink(c(), "/g", {}).ok());
  EXPECT_EQ(names().size(), 2u);
}

TEST_P(GoferFsTest, InodeNumbersOfListingAndStatAgree) {
  tree_.Write("f", "");
  auto dir = MUST(Open("/", O_RDONLY | O_DIRECTORY));
  uint64_t listed = 0, self = 0;
  ASSERT_TRUE(dir->ReadDir(c(),
                           [&](const vfs::DirEntry& entry) {
                             if (entry.name == "f") listed = entry.ino;
                             if (entry.name == ".") self = entry.ino;
                             return true;
                           })
                  .ok());
  EXPECT_EQ(listed, MUST(Stat("/f")).ino);
  EXPECT_EQ(self, MUST(Stat("/")).ino);
}

TEST_P(GoferFsTest, MappingsGetDescriptorsWithTheRightsTheyNeed) {
  tree_.Write("f", "mapped");
  auto reading = MUST(Open("/f", O_RDONLY));
  auto writing = MUST(Open("/f", O_RDWR));
  auto private_map = MUST(reading->Mmap(c(), 0, 0));
  auto shared_map = MUST(writing->Mmap(c(), 0, 0));
  auto read_only = MUST(private_map->HostBacking(0, 4096, mm::MapAccess::kPrivate));
  EXPECT_EQ(::fcntl(read_only.fd, F_GETFL) & O_ACCMODE, O_RDONLY);
  auto from_writer = MUST(shared_map->HostBacking(0, 4096, mm::MapAccess::kSharedReadOnly));
  EXPECT_EQ(::fcntl(from_writer.fd, F_GETFL) & O_ACCMODE, O_RDONLY);
  auto shared = MUST(shared_map->HostBacking(4096, 4096, mm::MapAccess::kSharedWritable));
  EXPECT_EQ(::fcntl(shared.fd, F_GETFL) & O_ACCMODE, O_RDWR);
  EXPECT_EQ(shared.offset, 4096u);
  EXPECT_TRUE(private_map->HostBacking(0, 4096, mm::MapAccess::kSharedWritable).Is(Errno::kEACCES));
  EXPECT_EQ(private_map->identity(), shared_map->identity());
  EXPECT_EQ(private_map->MapsName(), "/f");
  ASSERT_TRUE(vfs_.Unlink(c(), "/f", {}).ok());
  EXPECT_EQ(private_map->MapsName(), "/f (deleted)");
  // The stat follows what is written behind the kernel's back.
  ASSERT_EQ(::pwrite(shared.fd, "longer than it was", 18, 0), 18);
  EXPECT_EQ(MUST(writing->GetAttr()).size, 18u);
  EXPECT_TRUE(shared_map->Sync(0, 4096).ok());
}

TEST_P(GoferFsTest, XattrsAreStoredOnTheHost) {
  tree_.Write("f", "");
  vfs::Path at = MUST(vfs_.Resolve(c(), "/f"));
  EXPECT_TRUE(vfs_.GetXattr(c(), at, "user.color").Is(Errno::kENODATA));
  auto set = vfs_.SetXattr(c(), at, "user.color", "blue", 0);
  if (set.Is(Errno::kEOPNOTSUPP)) GTEST_SKIP() << "no user xattrs on the test file system";
  ASSERT_TRUE(set.ok());
  EXPECT_EQ(MUST(vfs_.GetXattr(c(), at, "user.color")), "blue");
  EXPECT_EQ(MUST(vfs_.ListXattr(c(), at)), std::vector<std::string>{"user.color"});
  ASSERT_TRUE(vfs_.RemoveXattr(c(), at, "user.color").ok());
  EXPECT_TRUE(vfs_.GetXattr(c(), at, "user.color").Is(Errno::kENODATA));
  EXPECT_TRUE(vfs_.GetXattr(c(), at, "system.posix_acl_access").Is(Errno::kEOPNOTSUPP));
}

TEST_P(GoferFsTest, SyncsAndStatFs) {
  auto file = MUST(Open("/f", O_RDWR | O_CREAT));
  ASSERT_TRUE(Write(*file, "x").ok());
  EXPECT_TRUE(file->Sync(false).ok());
  EXPECT_TRUE(file->Sync(true).ok());
  auto dir = MUST(Open("/", O_RDONLY | O_DIRECTORY));
  EXPECT_TRUE(dir->Sync(false).ok());
  EXPECT_TRUE(file->path().mount->superblock()->Sync().ok());
  EXPECT_GT(MUST(vfs_.StatFs(file->path())).blocks, 0u);
}

// More files than the kernel keeps descriptors of: they give theirs up and are found again.
TEST_P(GoferFsTest, DescriptorsOfClosedFilesAreBounded) {
  auto open_fds = [] {
    return std::distance(std::filesystem::directory_iterator("/proc/self/fd"), {});
  };
  ASSERT_TRUE(vfs_.Mkdir(c(), "/d", {}, 0755).ok());
  constexpr int kFiles = 1500;
  for (int i = 0; i < kFiles; ++i) {
    auto file = MUST(Open("/d/" + std::to_string(i), O_RDWR | O_CREAT));
    ASSERT_TRUE(Write(*file, std::to_string(i)).ok());
  }
  // A host descriptor and, in the server, which is this process too, one for the fid.
  EXPECT_LT(open_fds(), 2 * 1024 + 100);
  for (int i = 0; i < kFiles; i += 100) {
    std::string path = "/d/" + std::to_string(i);
    EXPECT_EQ(MUST(Stat(path)).size, std::to_string(i).size());
    EXPECT_EQ(ReadPath(path), std::to_string(i));
  }
}

TEST_P(GoferFsTest, DeepTreeGoesAwayWithoutRecursion) {
  std::string path;
  vfs::Path at = c().root();
  for (int i = 0; i < 3000; ++i) {
    vfs::At here{.start = at};
    ASSERT_TRUE(vfs_.Mkdir(c(), "d", here, 0755).ok());
    at = MUST(vfs_.Resolve(c(), "d", here));
  }
}

INSTANTIATE_TEST_SUITE_P(, GoferFsTest, ::testing::Values(Sharing::kExclusive, Sharing::kShared),
                         [](const auto& info) {
                           return info.param == Sharing::kExclusive ? "Exclusive" : "Shared";
                         });

// --- What is known asks nobody
// --------------------------------------------------------------------

class ExclusiveTest : public GoferFsTest {};
INSTANTIATE_TEST_SUITE_P(, ExclusiveTest, ::testing::Values(Sharing::kExclusive));

TEST_P(ExclusiveTest, WhatIsCachedAsksNobody) {
  std::filesystem::create_directories(tree_.At("a/b"));
  tree_.Write("a/b/f", "content");
  ASSERT_EQ(::symlink("a/b", tree_.At("l").c_str()), 0);
  EXPECT_EQ(ReadPath("/l/f"), "content");
  EXPECT_TRUE(Stat("/a/none").Is(Errno::kENOENT));
  auto kept = MUST(Open("/new", O_RDWR | O_CREAT));
  EXPECT_EQ(List(*MUST(Open("/a", O_RDONLY | O_DIRECTORY))).size(), 3u);
  LoseGofer();
  EXPECT_EQ(MUST(Stat("/a/b/f")).size, 7u);
  EXPECT_TRUE(Stat("/a/none").Is(Errno::kENOENT));
  EXPECT_EQ(ReadPath("/l/f"), "content");
  EXPECT_EQ(List(*MUST(Open("/a", O_RDONLY | O_DIRECTORY))).size(), 3u);
  ASSERT_TRUE(Write(*kept, "still").ok());
  EXPECT_EQ(MUST(Stat("/new")).size, 5u);
  EXPECT_TRUE(Open("/new", O_WRONLY | O_TRUNC).ok());
  EXPECT_EQ(tree_.Read("new"), "");
  // And what is not known fails rather than hangs.
  EXPECT_TRUE(Stat("/a/unknown").Is(Errno::kENOENT));  // /a was listed
  EXPECT_TRUE(Stat("/a/b/unknown").Is(Errno::kEIO));
  EXPECT_TRUE(Open("/n", O_RDWR | O_CREAT).Is(Errno::kEIO));
}

TEST_P(ExclusiveTest, ListingBringsAttributesAndMissingNames) {
  for (int i = 0; i < 400; ++i) tree_.Write("f" + std::to_string(i), std::string(size_t(i), 'x'));
  std::filesystem::create_directories(tree_.At("d/e"));
  EXPECT_EQ(List(*MUST(Open("/", O_RDONLY | O_DIRECTORY))).size(), 403u);
  LoseGofer();
  for (int i = 0; i < 400; ++i) EXPECT_EQ(MUST(Stat("/f" + std::to_string(i))).size, size_t(i));
  EXPECT_EQ(MUST(Stat("/d")).nlink, 3u);
  EXPECT_TRUE(Stat("/none").Is(Errno::kENOENT));
  EXPECT_TRUE(Stat("/d/e").Is(Errno::kEIO));
}

TEST_P(ExclusiveTest, ListingDoesNotBringBackWhatChanged) {
  tree_.Write("f", "1");
  tree_.Write("g", "1");
  auto list = [&] { return List(*MUST(Open("/", O_RDONLY | O_DIRECTORY))).size(); };
  EXPECT_EQ(MUST(Stat("/f")).size, 1u);
  EXPECT_EQ(list(), 4u);
  ASSERT_TRUE(Write(*MUST(Open("/f", O_WRONLY)), "12345").ok());
  ASSERT_TRUE(vfs_.Rename(c(), "/g", {}, "/h", {}, 0).ok());
  MUST(Open("/g", O_WRONLY | O_CREAT));
  EXPECT_EQ(MUST(Stat("/f")).size, 5u);
  EXPECT_EQ(MUST(Stat("/g")).size, 0u);
  EXPECT_EQ(MUST(Stat("/h")).size, 1u);
  EXPECT_EQ(list(), 5u);
}

TEST_P(ExclusiveTest, DirectoryThatIsAskedOftenIsListed) {
  for (int i = 0; i < 100; ++i) tree_.Write(std::to_string(i), "");
  for (int i = 0; i < 20; ++i) EXPECT_TRUE(Stat("/missing" + std::to_string(i)).Is(Errno::kENOENT));
  LoseGofer();
  for (int i = 0; i < 100; ++i) EXPECT_TRUE(Stat("/" + std::to_string(i)).ok());
  EXPECT_TRUE(Stat("/another").Is(Errno::kENOENT));
}

class SharedTest : public GoferFsTest {};
INSTANTIATE_TEST_SUITE_P(, SharedTest, ::testing::Values(Sharing::kShared));

TEST_P(SharedTest, ChangesOfTheHostAreSeen) {
  EXPECT_TRUE(Stat("/f").Is(Errno::kENOENT));
  tree_.Write("f", "1");
  EXPECT_EQ(MUST(Stat("/f")).size, 1u);
  tree_.Write("f", "12345");
  EXPECT_EQ(MUST(Stat("/f")).size, 5u);
  uint64_t ino = MUST(Stat("/f")).ino;
  tree_.Write("g", "other");
  std::filesystem::rename(tree_.At("g"), tree_.At("f"));
  EXPECT_NE(MUST(Stat("/f")).ino, ino);
  EXPECT_EQ(ReadPath("/f"), "other");
  std::filesystem::remove(tree_.At("f"));
  EXPECT_TRUE(Stat("/f").Is(Errno::kENOENT));
  tree_.Write("listed", "");
  EXPECT_EQ(List(*MUST(Open("/", O_RDONLY | O_DIRECTORY))).count("listed"), 1u);
}

}  // namespace
}  // namespace sandboxd::gofer_fs
