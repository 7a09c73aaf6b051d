// The file system on a gofer in this process, through the vfs as system calls use it.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/fs.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <set>
#include <thread>

#include "gofer/server/in_process_server.h"
#include "kernel/fs/gofer/superblock.h"
#include "kernel/mm/mappable.h"
#include "kernel/vfs/fd_table.h"
#include "kernel/vfs/vfs.h"
#include "kernel/wait/testing/thread_blocker.h"

namespace sandboxd::gofer_fs {
namespace {

class TestCaller final : public vfs::Caller {
 public:
  explicit TestCaller(Ref<vfs::MountNamespace> ns)
      : ns_(std::move(ns)),
        creds_(creds::Credentials::Root(creds::UserNamespace::CreateInitial(),
                                        creds::CapSet::All())) {}
  creds::CredRef credentials() const override { return creds_; }
  vfs::Path root() const override { return ns_->root(); }
  vfs::Path cwd() const override { return ns_->root(); }
  Ref<vfs::MountNamespace> mount_namespace() const override { return ns_; }
  uint32_t umask() const override { return 0; }
  vfs::FdTable& files() override { return *files_; }
  mm::UserMemory memory() const override { CHECK_MSG(false, "no user memory here"); }
  wait::Blocker& blocker() override { return blocker_; }
  uint64_t file_size_limit() const override { return limit; }
  void SendSignalToSelf(int signo) override { last_signal = signo; }
  int32_t process_id() const override { return 1; }

  void Become(creds::CredRef who) { creds_ = std::move(who); }
  uint64_t limit = ~uint64_t{0};
  int last_signal = 0;

 private:
  Ref<vfs::MountNamespace> ns_;
  creds::CredRef creds_;
  Ref<vfs::FdTable> files_ = MakeRef<vfs::FdTable>();
  wait::ThreadBlocker blocker_;
};

class GoferFsTest : public ::testing::TestWithParam<Sharing> {
 protected:
  GoferFsTest() {
    ::chmod(tree_.path().c_str(), 0755);
    Start(GetParam());
  }
  ~GoferFsTest() override {
    // Everything that refers to the mount goes before the server waits for its client.
    caller_.reset();
  }

  void Start(Sharing sharing) {
    UniqueFd socket = server_.Connect();
    gofer_ = MUST(socket.Dup());
    auto superblock = MUST(Connect(std::move(socket), sharing));
    auto mount = MUST(vfs_.NewMount(std::move(superblock), 0, "root"));
    caller_ = std::make_unique<TestCaller>(MakeRef<vfs::MountNamespace>(std::move(mount)));
  }
  // From now on every request to the gofer fails.
  void LoseGofer() { ::shutdown(gofer_.get(), SHUT_RDWR); }

  TestCaller& c() { return *caller_; }
  Result<Ref<vfs::File>> Open(const std::string& path, int flags, uint32_t mode = 0644) {
    return vfs_.Open(c(), path, {}, {.flags = flags, .mode = mode});
  }
  Result<vfs::Attr> Stat(const std::string& path) {
    auto at = vfs_.Resolve(c(), path, {.follow_last = false});
    if (!at.ok()) return at.error();
    return vfs_.Stat(c(), *at);
  }
  Result<size_t> Write(vfs::File& file, const std::string& text) {
    mm::BufferSource source(std::as_bytes(std::span(text)));
    return file.Write(c(), source);
  }
  std::string ReadAll(vfs::File& file, int64_t offset = 0) {
    std::string text(1 << 16, '\0');
    mm::BufferSink sink(std::as_writable_bytes(std::span(text)));
    auto n = file.ReadAt(c(), sink, offset);
    if (!n.ok()) return ErrnoName(n.error());
    text.resize(*n);
    return text;
  }
  std::string ReadPath(const std::string& path) {
    auto file = Open(path, O_RDONLY);
    return file.ok() ? ReadAll(**file) : ErrnoName(file.error());
  }
  std::multiset<std::string> List(vfs::File& dir) {
    std::multiset<std::string> names;
    EXPECT_TRUE(dir.ReadDir(c(),
                            [&](const vfs::DirEntry& entry) {
                              names.emplace(entry.name);
                              return true;
                            })
                    .ok());
    return names;
  }

  gofer::TempTree tree_;
  gofer::InProcessServer server_{tree_.path()};
  UniqueFd gofer_;
  vfs::Vfs vfs_;
  std::unique_ptr<TestCaller> caller_;
};

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
  EXPECT_TRUE(Stat("/a/unknown").Is(Errno::kEIO));
  EXPECT_TRUE(Open("/n", O_RDWR | O_CREAT).Is(Errno::kEIO));
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
