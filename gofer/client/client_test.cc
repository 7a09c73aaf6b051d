// The client against a server in this process.
#include "gofer/client/client.h"

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

#include "gofer/protocol/socket.h"
#include "gofer/server/in_process_server.h"

namespace sandboxd::gofer {
namespace {

class ClientTest : public ::testing::Test {
 protected:
  ClientTest() {
    client_ = MUST(Client::Connect(server_.Connect()));
    root_ = MUST(client_->Attach());
  }
  ~ClientTest() override { root_ = {}; }

  OpenedFile MakeFile(const char* name, uint32_t mode = 0644, uint32_t flags = O_RDWR) {
    return MUST(client_->Make(root_.fid, name, {.mode = S_IFREG | mode, .flags = flags}));
  }
  std::string HostRead(int fd) {
    char buffer[100];
    ssize_t n = ::pread(fd, buffer, sizeof(buffer), 0);
    return n < 0 ? "error" : std::string(buffer, static_cast<size_t>(n));
  }

  TempTree tree_;
  InProcessServer server_{tree_.path()};
  std::unique_ptr<Client> client_;
  File root_;
};

TEST_F(ClientTest, StatIsTheHosts) {
  tree_.Write("f", "12345");
  struct stat host;
  ASSERT_EQ(::stat(tree_.At("f").c_str(), &host), 0);
  File f = MUST(client_->Walk(root_.fid, "f"));
  EXPECT_EQ(f.stat.ino, host.st_ino);
  EXPECT_EQ(f.stat.dev, host.st_dev);
  EXPECT_EQ(f.stat.attr.mode, host.st_mode);
  EXPECT_EQ(f.stat.attr.size, 5u);
  EXPECT_EQ(f.stat.attr.nlink, 1u);
  EXPECT_EQ(f.stat.attr.blocks, static_cast<uint64_t>(host.st_blocks));
  EXPECT_EQ(f.stat.attr.mtime.seconds, static_cast<uint64_t>(host.st_mtim.tv_sec));
  EXPECT_EQ(f.stat.attr.mtime.nanos, static_cast<uint64_t>(host.st_mtim.tv_nsec));
  EXPECT_EQ(MUST(client_->GetStat(f.fid)), f.stat);
  EXPECT_TRUE(root_.stat.attr.IsDirectory());
}

TEST_F(ClientTest, WalkOfManyNamesSaysWhereItStopped) {
  std::filesystem::create_directories(tree_.At("a/b/c"));
  auto full = MUST(client_->Walk(root_.fid, std::vector<std::string>{"a", "b", "c"}));
  EXPECT_EQ(full.files.size(), 3u);
  EXPECT_FALSE(full.error);
  auto part = MUST(client_->Walk(root_.fid, std::vector<std::string>{"a", "b", "none", "c"}));
  ASSERT_EQ(part.files.size(), 2u);
  EXPECT_EQ(part.error, Errno::kENOENT);
  // What was reached on the way can be used.
  EXPECT_TRUE(client_->Walk(part.files[1].fid, "c").ok());
  auto none = MUST(client_->Walk(root_.fid, std::vector<std::string>{"none"}));
  EXPECT_TRUE(none.files.empty());
  EXPECT_TRUE(client_->Walk(root_.fid, "none").Is(Errno::kENOENT));
}

TEST_F(ClientTest, WalkOpenDonatesTheHostFile) {
  std::filesystem::create_directories(tree_.At("a"));
  tree_.Write("a/f", "text");
  auto file = MUST(client_->WalkOpen(root_.fid, {"a", "f"}, O_RDONLY));
  EXPECT_EQ(HostRead(file.host.get()), "text");
  EXPECT_EQ(file.stat.attr.size, 4u);
  EXPECT_TRUE(client_->GetStat(file.fid).ok());
  EXPECT_TRUE(client_->WalkOpen(root_.fid, {"a", "g"}, O_RDONLY).Is(Errno::kENOENT));
  EXPECT_TRUE(client_->WalkOpen(root_.fid, {"a"}, O_RDONLY).Is(Errno::kENXIO));
}

TEST_F(ClientTest, DonatedDescriptorHasTheRightsAskedFor) {
  tree_.Write("f", "x");
  File f = MUST(client_->Walk(root_.fid, "f"));
  UniqueFd reading = MUST(client_->Open(f.fid, O_RDONLY));
  EXPECT_EQ(::pwrite(reading.get(), "y", 1, 0), -1);
  UniqueFd writing = MUST(client_->Open(f.fid, O_WRONLY));
  EXPECT_EQ(::pwrite(writing.get(), "y", 1, 0), 1);
  char c;
  EXPECT_EQ(::pread(writing.get(), &c, 1, 0), -1);
  EXPECT_EQ(tree_.Read("f"), "y");
  MUST(client_->Open(f.fid, O_WRONLY | O_TRUNC));
  EXPECT_EQ(tree_.Read("f"), "");
  EXPECT_TRUE(client_->Open(root_.fid, O_RDONLY).Is(Errno::kEISDIR));
}

TEST_F(ClientTest, MakesEveryKindOfFileWithItsOwner) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root to give files away";
  auto make = [&](const char* name, NewFile file) {
    file.uid = 1234;
    file.gid = 4321;
    auto made = client_->Make(root_.fid, name, file);
    EXPECT_TRUE(made.ok()) << name << ": " << (made.ok() ? "" : ErrnoName(made.error()));
    struct stat host {};
    EXPECT_EQ(::lstat(tree_.At(name).c_str(), &host), 0);
    EXPECT_EQ(host.st_uid, 1234u) << name;
    EXPECT_EQ(host.st_gid, 4321u) << name;
    EXPECT_EQ(made->stat.attr.mode, host.st_mode) << name;
    EXPECT_EQ(made->stat.ino, host.st_ino) << name;
    EXPECT_EQ(made->stat.attr.uid, 1234u) << name;
    return host;
  };
  EXPECT_EQ(make("f", {.mode = S_IFREG | 04751}).st_mode, mode_t{S_IFREG | 04751});
  EXPECT_EQ(make("d", {.mode = S_IFDIR | 01777}).st_mode, mode_t{S_IFDIR | 01777});
  EXPECT_EQ(make("l", {.mode = S_IFLNK | 0777, .target = "over/there"}).st_size, 10);
  EXPECT_EQ(make("p", {.mode = S_IFIFO | 0604}).st_mode, mode_t{S_IFIFO | 0604});
  EXPECT_EQ(make("s", {.mode = S_IFSOCK | 0600}).st_mode, mode_t{S_IFSOCK | 0600});
  EXPECT_EQ(make("c", {.mode = S_IFCHR | 0666, .rdev = 0x103}).st_rdev, dev_t{0x103});
  File link = MUST(client_->Walk(root_.fid, "l"));
  EXPECT_EQ(MUST(client_->ReadLink(link.fid)), "over/there");
}

TEST_F(ClientTest, MakeOfAnExistingNameOpensItUnlessExclusive) {
  tree_.Write("f", "old");
  EXPECT_TRUE(client_->Make(root_.fid, "f", {.mode = S_IFREG, .flags = O_RDWR | O_EXCL})
                  .Is(Errno::kEEXIST));
  OpenedFile f = MakeFile("f");
  EXPECT_EQ(HostRead(f.host.get()), "old");
  EXPECT_TRUE(client_->Make(root_.fid, "f", {.mode = S_IFDIR | 0755}).Is(Errno::kEEXIST));
}

TEST_F(ClientTest, UnnamedFileCanBeLinkedLater) {
  auto made = client_->Make(root_.fid, "", {.mode = S_IFREG | 0600, .flags = O_RDWR | O_TMPFILE});
  if (made.Is(Errno::kEOPNOTSUPP)) GTEST_SKIP() << "no O_TMPFILE on the test file system";
  ASSERT_TRUE(made.ok());
  EXPECT_EQ(made->stat.attr.nlink, 0u);
  ASSERT_EQ(::pwrite(made->host.get(), "late", 4, 0), 4);
  ASSERT_TRUE(client_->Link(root_.fid, "named", made->fid).ok());
  EXPECT_EQ(tree_.Read("named"), "late");
}

TEST_F(ClientTest, SetAttrChangesWhatItSays) {
  OpenedFile f = MakeFile("f");
  ASSERT_TRUE(
      client_->SetAttr(f.fid, {.valid = kSetMode | kSetSize, .mode = 0600, .size = 100}).ok());
  ASSERT_TRUE(client_
                  ->SetAttr(f.fid, {.valid = kSetAtime | kSetAtimeTo | kSetMtime | kSetMtimeTo,
                                    .atime = {1000, 5},
                                    .mtime = {2000, 999'999'999}})
                  .ok());
  Stat stat = MUST(client_->GetStat(f.fid));
  EXPECT_EQ(stat.attr.mode, mode_t{S_IFREG | 0600});
  EXPECT_EQ(stat.attr.size, 100u);
  EXPECT_EQ(stat.attr.atime, (Time{1000, 5}));
  EXPECT_EQ(stat.attr.mtime, (Time{2000, 999'999'999}));
  EXPECT_TRUE(client_->SetAttr(root_.fid, {.valid = kSetSize}).Is(Errno::kEISDIR));
  EXPECT_TRUE(client_->SetAttr(f.fid, {.valid = 0x8000}).Is(Errno::kEINVAL));
}

TEST_F(ClientTest, SetAttrOfASymlinkIsNotOfItsTarget) {
  tree_.Write("target", "");
  ASSERT_EQ(::chmod(tree_.At("target").c_str(), 0640), 0);
  ASSERT_EQ(::symlink("target", tree_.At("l").c_str()), 0);
  File link = MUST(client_->Walk(root_.fid, "l"));
  EXPECT_FALSE(client_->SetAttr(link.fid, {.valid = kSetMode, .mode = 0}).ok());
  ASSERT_TRUE(
      client_->SetAttr(link.fid, {.valid = kSetMtime | kSetMtimeTo, .mtime = {77, 0}}).ok());
  EXPECT_EQ(MUST(client_->GetStat(link.fid)).attr.mtime.seconds, 77u);
  struct stat host;
  ASSERT_EQ(::stat(tree_.At("target").c_str(), &host), 0);
  EXPECT_EQ(host.st_mode & 07777, mode_t{0640});
  EXPECT_NE(host.st_mtim.tv_sec, 77);
}

TEST_F(ClientTest, LinkRenameUnlink) {
  OpenedFile f = MakeFile("f");
  OpenedFile d = MUST(client_->Make(root_.fid, "d", {.mode = S_IFDIR | 0755}));
  ASSERT_TRUE(client_->Link(d.fid, "g", f.fid).ok());
  EXPECT_EQ(MUST(client_->GetStat(f.fid)).attr.nlink, 2u);
  EXPECT_TRUE(client_->Rename(root_.fid, "f", d.fid, "g", RENAME_NOREPLACE).Is(Errno::kEEXIST));
  ASSERT_TRUE(client_->Rename(d.fid, "g", root_.fid, "h", 0).ok());
  ASSERT_TRUE(client_->Rename(root_.fid, "h", root_.fid, "d", RENAME_EXCHANGE).ok());
  EXPECT_TRUE(std::filesystem::is_directory(tree_.At("h")));
  EXPECT_TRUE(client_->Rename(root_.fid, "h", root_.fid, "i", RENAME_WHITEOUT).Is(Errno::kEINVAL));
  EXPECT_TRUE(client_->Unlink(root_.fid, "h", 0).Is(Errno::kEISDIR));
  EXPECT_TRUE(client_->Unlink(root_.fid, "h", AT_REMOVEDIR).ok());
  EXPECT_TRUE(client_->Unlink(root_.fid, "d", 0).ok());
  EXPECT_TRUE(client_->Unlink(root_.fid, "d", 0).Is(Errno::kENOENT));
}

TEST_F(ClientTest, RemovedFileLivesAsLongAsItsFid) {
  OpenedFile f = MakeFile("f");
  ASSERT_EQ(::pwrite(f.host.get(), "still", 5, 0), 5);
  f.host.Reset();
  ASSERT_TRUE(client_->Unlink(root_.fid, "f", 0).ok());
  EXPECT_EQ(MUST(client_->GetStat(f.fid)).attr.nlink, 0u);
  UniqueFd again = MUST(client_->Open(f.fid, O_RDONLY));
  EXPECT_EQ(HostRead(again.get()), "still");
}

TEST_F(ClientTest, ReadDirListsALargeDirectoryOnce) {
  std::set<std::string> expected{".", ".."};
  for (int i = 0; i < 3000; ++i) {
    std::string name = "file-with-a-rather-long-name-" + std::to_string(i);
    tree_.Write(name, "");
    expected.insert(name);
  }
  for (int round = 0; round < 2; ++round) {
    std::multiset<std::string> seen;
    uint64_t offset = 0;
    for (;;) {
      auto entries = MUST(client_->ReadDir(root_.fid, offset));
      if (entries.empty()) break;
      for (const DirEntry& entry : entries) seen.insert(entry.name);
      offset = entries.back().offset;
    }
    EXPECT_TRUE(std::ranges::equal(seen, expected));
  }
  OpenedFile f = MakeFile("x");
  EXPECT_TRUE(client_->ReadDir(f.fid, 0).Is(Errno::kENOTDIR));
}

TEST_F(ClientTest, ReadDirStatHasTheAttributesOfItsEntries) {
  std::filesystem::create_directories(tree_.At("d"));
  for (int i = 0; i < 1000; ++i) tree_.Write(std::to_string(i), std::string(size_t(i), 'x'));
  size_t seen = 0;
  uint64_t offset = 0;
  for (;;) {
    auto entries = MUST(client_->ReadDirStat(root_.fid, offset));
    if (entries.empty()) break;
    for (const DirEntryStat& entry : entries) {
      ++seen;
      bool itself = entry.entry.name == "." || entry.entry.name == "..";
      EXPECT_EQ(entry.has_stat, !itself);
      if (itself) continue;
      EXPECT_EQ(entry.stat, MUST(client_->Walk(root_.fid, entry.entry.name)).stat);
      EXPECT_EQ(entry.stat.qid.path, entry.entry.qid.path);
    }
    offset = entries.back().entry.offset;
  }
  EXPECT_EQ(seen, 1003u);
}

TEST_F(ClientTest, XattrsInOneRoundTrip) {
  OpenedFile f = MakeFile("f");
  std::string value(5000, 'v');
  ConstBytes bytes = std::as_bytes(std::span(value));
  Result<void> set = client_->SetXattr(f.fid, "user.big", bytes.first(3000), 0);
  if (set.Is(Errno::kEOPNOTSUPP)) GTEST_SKIP() << "no user xattrs on the test file system";
  ASSERT_TRUE(set.ok());
  EXPECT_TRUE(std::ranges::equal(MUST(client_->GetXattr(f.fid, "user.big")), bytes.first(3000)));
  EXPECT_TRUE(client_->GetXattr(f.fid, "user.none").Is(Errno::kENODATA));
  auto names = MUST(client_->ListXattr(f.fid));
  std::string_view list(reinterpret_cast<const char*>(names.data()), names.size());
  EXPECT_NE(list.find(std::string_view("user.big\0", 9)), list.npos);
  ASSERT_TRUE(client_->RemoveXattr(f.fid, "user.big").ok());
  EXPECT_TRUE(client_->GetXattr(f.fid, "user.big").Is(Errno::kENODATA));
}

TEST_F(ClientTest, StatFsIsTheHosts) {
  Rstatfs fs = MUST(client_->StatFs(root_.fid));
  EXPECT_GT(fs.bsize, 0u);
  EXPECT_GT(fs.namelen, 0u);
}

TEST_F(ClientTest, ReleasedFidsAreFreedOnTheServerAndTheirNumbersUsedAgain) {
  OpenedFile f = MakeFile("f");
  uint32_t number = f.fid.number();
  f.fid.Reset();
  client_->FlushReleased();
  EXPECT_EQ(MUST(client_->Walk(root_.fid, "f")).fid.number(), number);
  // Far more than the server would hold at once if they were not freed.
  for (int i = 0; i < 1000; ++i) EXPECT_TRUE(client_->Walk(root_.fid, "f").ok());
}

TEST_F(ClientTest, ManyThreadsShareOneConnection) {
  for (int i = 0; i < 8; ++i) tree_.Write(std::to_string(i), std::string(size_t(i) + 1, 'x'));
  std::vector<std::thread> threads;
  std::atomic<int> good = 0;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&, i] {
      std::string name = std::to_string(i);
      for (int round = 0; round < 300; ++round) {
        auto file = client_->WalkOpen(root_.fid, {name}, O_RDONLY);
        if (!file.ok() || HostRead(file->host.get()).size() != size_t(i) + 1) return;
        if (!client_->GetStat(file->fid).ok()) return;
        if (!client_->ListXattr(file->fid).ok()) return;
      }
      good.fetch_add(1);
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(good.load(), 8);
}

// More callers than tags: everyone gets a turn.
TEST_F(ClientTest, MoreThreadsThanTags) {
  std::vector<std::thread> threads;
  std::atomic<int> good = 0;
  for (size_t i = 0; i < 2 * Connection::kMaxInFlight; ++i) {
    threads.emplace_back([&] {
      for (int round = 0; round < 50; ++round) {
        if (!client_->GetStat(root_.fid).ok()) return;
      }
      good.fetch_add(1);
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(good.load(), 2 * static_cast<int>(Connection::kMaxInFlight));
}

// --- A gofer that breaks
// --------------------------------------------------------------------------

class BrokenServerTest : public ::testing::Test {
 protected:
  BrokenServerTest() {
    int fds[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    client_end_ = UniqueFd(fds[0]);
    server_end_ = UniqueFd(fds[1]);
  }
  template <typename Response>
  void AnswerNext(const Response& response, std::optional<uint16_t> tag = {}) {
    std::vector<std::byte> buffer, bytes;
    auto request = ReceiveFrame(server_end_.get(), kMaxMessageSize, buffer);
    ASSERT_TRUE(request.ok());
    ASSERT_TRUE(EncodeFrame(tag.value_or(request->frame.tag), response, bytes).ok());
    ASSERT_TRUE(SendFrame(server_end_.get(), bytes).ok());
  }

  UniqueFd client_end_, server_end_;
};

TEST_F(BrokenServerTest, ServerWithoutTheExtensionIsRefused) {
  std::thread server([&] { AnswerNext(Rversion{.msize = 8192, .version = kVersionL}); });
  EXPECT_TRUE(Client::Connect(std::move(client_end_)).Is(Errno::kEPROTONOSUPPORT));
  server.join();
}

TEST_F(BrokenServerTest, DeathOfTheGoferFailsEveryCallThatWaits) {
  std::thread server([&] { AnswerNext(Rversion{.msize = 8192, .version = kVersionSandboxd}); });
  auto client = MUST(Client::Connect(std::move(client_end_)));
  server.join();
  std::vector<std::thread> callers;
  std::atomic<int> failed = 0;
  for (int i = 0; i < 4; ++i) {
    callers.emplace_back([&] {
      if (client->Attach().Is(Errno::kEIO)) failed.fetch_add(1);
    });
  }
  std::vector<std::byte> buffer;
  for (int i = 0; i < 4; ++i) {
    EXPECT_TRUE(ReceiveFrame(server_end_.get(), kMaxMessageSize, buffer).ok());
  }
  server_end_.Reset();
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(failed.load(), 4);
  EXPECT_TRUE(client->Attach().Is(Errno::kEIO));
}

TEST_F(BrokenServerTest, ResponseWithAnUnknownTagBreaksTheConnection) {
  std::thread server([&] {
    AnswerNext(Rversion{.msize = 8192, .version = kVersionSandboxd});
    AnswerNext(Rattach{}, uint16_t{999});
  });
  auto client = MUST(Client::Connect(std::move(client_end_)));
  EXPECT_TRUE(client->Attach().Is(Errno::kEIO));
  server.join();
}

TEST_F(BrokenServerTest, MissingDescriptorIsAProtocolError) {
  std::thread server([&] {
    AnswerNext(Rversion{.msize = 8192, .version = kVersionSandboxd});
    AnswerNext(Ropenfd{.has_fd = true});
  });
  auto client = MUST(Client::Connect(std::move(client_end_)));
  FidHandle fid(client.get(), 5);
  EXPECT_TRUE(client->Open(fid, O_RDONLY).Is(Errno::kEPROTO));
  server.join();
}

}  // namespace
}  // namespace sandboxd::gofer
