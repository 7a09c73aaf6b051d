// Files and their names.
#include "kernel/fs/gofer/gofer_fs_testing.h"

namespace sandboxd::gofer_fs {
namespace {

TEST_P(GoferFsTest, StatIsTheHosts) {
  tree_.Write("f", "12345");
  struct stat host;
  ASSERT_EQ(::stat(tree_.At("f").c_str(), &host), 0);
  vfs::Attr attr = MUST(Stat("/f"));
  EXPECT_EQ(attr.mode, host.st_mode);
  EXPECT_EQ(attr.size, 5u);
  EXPECT_EQ(attr.uid.value, host.st_uid);
  EXPECT_EQ(attr.nlink, 1u);
  EXPECT_EQ(attr.mtime, (vfs::Time{host.st_mtim.tv_sec, uint32_t(host.st_mtim.tv_nsec)}));
  EXPECT_TRUE(Stat("/none").Is(Errno::kENOENT));
  EXPECT_TRUE(Stat("/f/x").Is(Errno::kENOTDIR));
  EXPECT_TRUE(S_ISDIR(MUST(Stat("/")).mode));
}

TEST_P(GoferFsTest, WritesReachTheHostAndTheStat) {
  auto file = MUST(Open("/f", O_RDWR | O_CREAT | O_EXCL, 0640));
  EXPECT_EQ(MUST(Write(*file, "hello ")), 6u);
  EXPECT_EQ(MUST(Write(*file, "world")), 5u);
  EXPECT_EQ(tree_.Read("f"), "hello world");
  EXPECT_EQ(ReadAll(*file), "hello world");
  EXPECT_EQ(ReadAll(*file, 6), "world");
  EXPECT_EQ(ReadAll(*file, 100), "");
  struct stat host;
  ASSERT_EQ(::stat(tree_.At("f").c_str(), &host), 0);
  vfs::Attr attr = MUST(Stat("/f"));
  EXPECT_EQ(attr.size, 11u);
  EXPECT_EQ(attr.mode, mode_t{S_IFREG | 0640});
  EXPECT_EQ(attr.blocks, static_cast<uint64_t>(host.st_blocks));
  EXPECT_EQ(attr.mtime, (vfs::Time{host.st_mtim.tv_sec, uint32_t(host.st_mtim.tv_nsec)}));
  EXPECT_TRUE(Open("/f", O_RDWR | O_CREAT | O_EXCL).Is(Errno::kEEXIST));
}

TEST_P(GoferFsTest, TruncateAndAllocate) {
  tree_.Write("f", "0123456789");
  auto file = MUST(Open("/f", O_RDWR));
  ASSERT_TRUE(file->Truncate(c(), 4).ok());
  EXPECT_EQ(tree_.Read("f"), "0123");
  EXPECT_EQ(MUST(Stat("/f")).size, 4u);
  ASSERT_TRUE(file->Allocate(c(), 0, 0, 5000).ok());
  EXPECT_EQ(MUST(file->GetAttr()).size, 5000u);
  MUST(Open("/f", O_WRONLY | O_TRUNC));
  EXPECT_EQ(MUST(Stat("/f")).size, 0u);
  EXPECT_EQ(tree_.Read("f"), "");
}

TEST_P(GoferFsTest, LargeTransfersArriveWhole) {
  std::string big(3'000'000, 'x');
  for (size_t i = 0; i < big.size(); i += 1000) big[i] = static_cast<char>('a' + i / 1000 % 26);
  auto file = MUST(Open("/big", O_RDWR | O_CREAT));
  EXPECT_EQ(MUST(Write(*file, big)), big.size());
  EXPECT_EQ(tree_.Read("big"), big);
  std::string back(big.size() + 10, '\0');
  mm::BufferSink sink(std::as_writable_bytes(std::span(back)));
  EXPECT_EQ(MUST(file->ReadAt(c(), sink, 0)), big.size());
  back.resize(big.size());
  EXPECT_EQ(back, big);
}

TEST_P(GoferFsTest, AppendsOfSeveralWritersDoNotOverwriteEachOther) {
  MUST(Open("/log", O_WRONLY | O_CREAT));
  constexpr int kWriters = 4, kLines = 200;
  std::vector<std::thread> threads;
  for (int w = 0; w < kWriters; ++w) {
    auto file = MUST(Open("/log", O_WRONLY | O_APPEND));
    threads.emplace_back([this, file, w] {
      for (int i = 0; i < kLines; ++i) {
        EXPECT_TRUE(Write(*file, std::string(9, static_cast<char>('a' + w)) + "\n").ok());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  std::string log = tree_.Read("log");
  ASSERT_EQ(log.size(), size_t{kWriters * kLines * 10});
  for (size_t at = 0; at < log.size(); at += 10) {
    EXPECT_EQ(log.substr(at, 10), std::string(9, log[at]) + "\n");
  }
}

TEST_P(GoferFsTest, AppendMovesThePositionToTheEnd) {
  tree_.Write("f", "0123456789");
  auto file = MUST(Open("/f", O_RDWR | O_APPEND));
  ASSERT_TRUE(Write(*file, "ab").ok());
  EXPECT_EQ(file->position(), 12);
  EXPECT_EQ(tree_.Read("f"), "0123456789ab");
}

TEST_P(GoferFsTest, FileSizeLimitStopsWritesAndAppends) {
  auto file = MUST(Open("/f", O_RDWR | O_CREAT));
  c().limit = 8;
  EXPECT_EQ(MUST(Write(*file, "0123456789")), 8u);
  EXPECT_TRUE(Write(*file, "x").Is(Errno::kEFBIG));
  EXPECT_EQ(c().last_signal, SIGXFSZ);
  auto append = MUST(Open("/f", O_WRONLY | O_APPEND));
  EXPECT_TRUE(Write(*append, "x").Is(Errno::kEFBIG));
  EXPECT_EQ(tree_.Read("f"), "01234567");
}

TEST_P(GoferFsTest, SeekFindsHolesAndData) {
  auto file = MUST(Open("/f", O_RDWR | O_CREAT));
  std::string block(65536, 'd');
  mm::BufferSource source(std::as_bytes(std::span(block)));
  ASSERT_TRUE(file->WriteAt(c(), source, 1 << 20).ok());
  EXPECT_EQ(MUST(file->Seek(c(), 0, SEEK_END)), (1 << 20) + 65536);
  int64_t data = MUST(file->Seek(c(), 0, SEEK_DATA));
  EXPECT_LE(data, 1 << 20);
  EXPECT_EQ(data, file->position());
  EXPECT_TRUE(file->Seek(c(), 2 << 20, SEEK_DATA).Is(Errno::kENXIO));
}

TEST_P(GoferFsTest, NamesComeAndGo) {
  ASSERT_TRUE(vfs_.Mkdir(c(), "/d", {}, 0755).ok());
  EXPECT_EQ(MUST(Stat("/d")).nlink, 2u);
  MUST(Open("/d/f", O_WRONLY | O_CREAT));
  ASSERT_TRUE(vfs_.Symlink(c(), "f", "/d/l", {}).ok());
  EXPECT_TRUE(S_ISREG(vfs_.Stat(c(), MUST(vfs_.Resolve(c(), "/d/l"))).value().mode));
  EXPECT_EQ(MUST(vfs_.ReadLink(c(), "/d/l", {})), "f");
  EXPECT_TRUE(vfs_.Rmdir(c(), "/d", {}).Is(Errno::kENOTEMPTY));
  ASSERT_TRUE(vfs_.Rename(c(), "/d/f", {}, "/d/g", {}, 0).ok());
  EXPECT_TRUE(Stat("/d/f").Is(Errno::kENOENT));
  EXPECT_TRUE(vfs_.Unlink(c(), "/d/l", {}).ok());
  EXPECT_TRUE(vfs_.Unlink(c(), "/d/g", {}).ok());
  EXPECT_TRUE(vfs_.Rmdir(c(), "/d", {}).ok());
  EXPECT_FALSE(std::filesystem::exists(tree_.At("d")));
  EXPECT_TRUE(Stat("/d").Is(Errno::kENOENT));
}

TEST_P(GoferFsTest, SubdirectoriesCountAsLinksOfTheirParent) {
  ASSERT_TRUE(vfs_.Mkdir(c(), "/a", {}, 0755).ok());
  ASSERT_TRUE(vfs_.Mkdir(c(), "/b", {}, 0755).ok());
  ASSERT_TRUE(vfs_.Mkdir(c(), "/a/x", {}, 0755).ok());
  auto expect_host_links = [&](const char* name) {
    struct stat host;
    ASSERT_EQ(::stat(tree_.At(name).c_str(), &host), 0);
    EXPECT_EQ(MUST(Stat(std::string("/") + name)).nlink, host.st_nlink) << name;
  };
  expect_host_links("a");
  ASSERT_TRUE(vfs_.Rename(c(), "/a/x", {}, "/b/y", {}, 0).ok());
  expect_host_links("a");
  expect_host_links("b");
  ASSERT_TRUE(vfs_.Rmdir(c(), "/b/y", {}).ok());
  expect_host_links("b");
}

TEST_P(GoferFsTest, HardLinksAreOneInode) {
  tree_.Write("a", "one");
  ASSERT_TRUE(vfs_.Link(c(), "/a", {}, "/b", {}).ok());
  auto a = MUST(vfs_.Resolve(c(), "/a")), b = MUST(vfs_.Resolve(c(), "/b"));
  EXPECT_EQ(a.dentry->inode().get(), b.dentry->inode().get());
  EXPECT_EQ(MUST(Stat("/a")).nlink, 2u);
  ASSERT_TRUE(vfs_.Unlink(c(), "/a", {}).ok());
  EXPECT_EQ(MUST(Stat("/b")).nlink, 1u);
  EXPECT_EQ(ReadPath("/b"), "one");
}

TEST_P(GoferFsTest, TheSizeOfADirectoryFollowsItsEntries) {
  auto host_size = [&] {
    struct stat host;
    EXPECT_EQ(stat(tree_.At("d").c_str(), &host), 0);
    return static_cast<uint64_t>(host.st_size);
  };
  ASSERT_TRUE(vfs_.Mkdir(c(), "/d", {}, 0755).ok());
  EXPECT_EQ(MUST(Stat("/d")).size, host_size());
  const uint64_t empty = host_size();
  // Enough for any file system's directory to grow.
  const std::string name(200, 'n');
  for (int i = 0; i < 60; ++i) {
    MUST(Open("/d/" + name + std::to_string(i), O_WRONLY | O_CREAT));
    EXPECT_EQ(MUST(Stat("/d")).size, host_size());
  }
  EXPECT_GT(host_size(), empty);
  ASSERT_TRUE(vfs_.Rename(c(), "/d/" + name + "0", {}, "/g", {}, 0).ok());
  EXPECT_EQ(MUST(Stat("/d")).size, host_size());
}

TEST_P(GoferFsTest, HostHardLinksAreOneInodeWhicheverIsFoundFirst) {
  tree_.Write("a", "one");
  ASSERT_EQ(::link(tree_.At("a").c_str(), tree_.At("b").c_str()), 0);
  EXPECT_EQ(MUST(Stat("/a")).ino, MUST(Stat("/b")).ino);
  ASSERT_TRUE(vfs_.Unlink(c(), "/b", {}).ok());
  EXPECT_EQ(ReadPath("/a"), "one");
}

TEST_P(GoferFsTest, RemovedFileLivesWhileItIsOpen) {
  tree_.Write("f", "still here");
  auto file = MUST(Open("/f", O_RDWR));
  ASSERT_TRUE(vfs_.Unlink(c(), "/f", {}).ok());
  EXPECT_EQ(ReadAll(*file), "still here");
  EXPECT_EQ(MUST(file->GetAttr()).nlink, 0u);
  EXPECT_TRUE(Open("/f", O_RDONLY).Is(Errno::kENOENT));
  auto other = MUST(Open("/f", O_RDWR | O_CREAT));
  EXPECT_EQ(ReadAll(*other), "");
}

TEST_P(GoferFsTest, ReplacedFileLivesWhileItIsOpen) {
  tree_.Write("old", "old");
  tree_.Write("new", "new");
  auto old = MUST(Open("/old", O_RDONLY));
  ASSERT_TRUE(vfs_.Rename(c(), "/new", {}, "/old", {}, 0).ok());
  EXPECT_EQ(ReadAll(*old), "old");
  EXPECT_EQ(ReadPath("/old"), "new");
  EXPECT_EQ(MUST(old->GetAttr()).nlink, 0u);
}

TEST_P(GoferFsTest, ExchangeSwapsFileAndDirectory) {
  tree_.Write("f", "file");
  ASSERT_TRUE(vfs_.Mkdir(c(), "/d", {}, 0755).ok());
  tree_.Write("d/inner", "inner");
  ASSERT_TRUE(vfs_.Rename(c(), "/f", {}, "/d", {}, RENAME_EXCHANGE).ok());
  EXPECT_EQ(ReadPath("/d"), "file");
  EXPECT_EQ(ReadPath("/f/inner"), "inner");
}

TEST_P(GoferFsTest, WhatIsBelowARenamedDirectoryIsStillReached) {
  std::filesystem::create_directories(tree_.At("a/b"));
  tree_.Write("a/b/f", "deep");
  ASSERT_TRUE(Stat("/a/b/f").ok());
  ASSERT_TRUE(vfs_.Rename(c(), "/a", {}, "/z", {}, 0).ok());
  EXPECT_EQ(ReadPath("/z/b/f"), "deep");
}

TEST_P(GoferFsTest, UnnamedFileIsNamedLater) {
  auto file = Open("/", O_RDWR | O_TMPFILE, 0600);
  if (file.Is(Errno::kEOPNOTSUPP)) GTEST_SKIP() << "no O_TMPFILE on the test file system";
  ASSERT_TRUE(file.ok());
  ASSERT_TRUE(Write(**file, "late").ok());
  vfs::At empty{.start = (*file)->path(), .allow_empty = true};
  ASSERT_TRUE(vfs_.Link(c(), "", empty, "/named", {}).ok());
  EXPECT_EQ(tree_.Read("named"), "late");
  EXPECT_EQ(MUST(Stat("/named")).ino, MUST((*file)->GetAttr()).ino);
  EXPECT_EQ(MUST(Stat("/named")).nlink, 1u);
}

TEST_P(GoferFsTest, AttributesChange) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root to give files away";
  tree_.Write("f", "x");
  vfs::Path at = MUST(vfs_.Resolve(c(), "/f"));
  ASSERT_TRUE(vfs_.Chmod(c(), at, 04755).ok());
  ASSERT_TRUE(vfs_.Chown(c(), at, vfs::KUid(123), vfs::KGid(456)).ok());
  using Update = vfs::Vfs::TimeUpdate;
  ASSERT_TRUE(
      vfs_.SetTimes(c(), at, {Update::Kind::kSet, {100, 1}}, {Update::Kind::kSet, {200, 2}}).ok());
  struct stat host;
  ASSERT_EQ(::stat(tree_.At("f").c_str(), &host), 0);
  vfs::Attr attr = MUST(Stat("/f"));
  EXPECT_EQ(attr.mode, host.st_mode);
  EXPECT_EQ(attr.mode, mode_t{S_IFREG | 0755});  // chown took the set-user-ID bit
  EXPECT_EQ(attr.uid.value, 123u);
  EXPECT_EQ(host.st_uid, 123u);
  EXPECT_EQ(host.st_gid, 456u);
  EXPECT_EQ(attr.atime, (vfs::Time{100, 1}));
  EXPECT_EQ(attr.mtime, (vfs::Time{200, 2}));
  EXPECT_EQ(host.st_mtim.tv_sec, 200);
}

// Root with CAP_FSETID keeps set-id bits over its writes, though the host took them; others do not.
TEST_P(GoferFsTest, SetIdBitsGoWithAWriteOfTheUnprivileged) {
  auto file = MUST(Open("/f", O_RDWR | O_CREAT, 04777));
  ASSERT_TRUE(Write(*file, "x").ok());
  EXPECT_EQ(MUST(Stat("/f")).mode & 07777, mode_t{04777});
  auto nobody = creds::Credentials::Root(c().credentials()->user_ns, {})->Clone();
  nobody->fsuid = nobody->euid = creds::KUid(1000);
  c().Become(nobody);
  ASSERT_TRUE(Write(*file, "y").ok());
  EXPECT_EQ(MUST(Stat("/f")).mode & 07777, mode_t{0777});
  struct stat host;
  ASSERT_EQ(::stat(tree_.At("f").c_str(), &host), 0);
  EXPECT_EQ(host.st_mode & 07777, mode_t{0777});
}

TEST_P(GoferFsTest, NewFilesBelongToTheirMaker) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root to give files away";
  auto user = c().credentials()->Clone();
  user->fsuid = creds::KUid(1000);
  user->fsgid = creds::KGid(1001);
  c().Become(user);
  MUST(Open("/f", O_RDWR | O_CREAT));
  struct stat host;
  ASSERT_EQ(::stat(tree_.At("f").c_str(), &host), 0);
  EXPECT_EQ(host.st_uid, 1000u);
  EXPECT_EQ(host.st_gid, 1001u);
}

TEST_P(GoferFsTest, NodesAreMadeAndNeverOpenedOnTheHost) {
  ASSERT_TRUE(vfs_.Mknod(c(), "/fifo", {}, S_IFIFO | 0600, {}).ok());
  ASSERT_TRUE(vfs_.Mknod(c(), "/sock", {}, S_IFSOCK | 0600, {}).ok());
  EXPECT_EQ(MUST(Stat("/fifo")).mode, mode_t{S_IFIFO | 0600});
  EXPECT_TRUE(Open("/sock", O_RDWR).Is(Errno::kENXIO));
  struct stat host;
  ASSERT_EQ(::lstat(tree_.At("sock").c_str(), &host), 0);
  EXPECT_TRUE(S_ISSOCK(host.st_mode));
}

INSTANTIATE_TEST_SUITE_P(, GoferFsTest, ::testing::Values(Sharing::kExclusive, Sharing::kShared),
                         [](const auto& info) {
                           return info.param == Sharing::kExclusive ? "Exclusive" : "Shared";
                         });

}  // namespace
}  // namespace sandboxd::gofer_fs
