// The server as a hostile or a standard client sees it: raw frames.
#include "gofer/server/session.h"

#include <dirent.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/fs.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <filesystem>
#include <random>

#include "gofer/protocol/socket.h"
#include "gofer/server/in_process_server.h"

namespace sandboxd::gofer {
namespace {

// One connection, driven message by message.
class Peer {
 public:
  explicit Peer(UniqueFd socket) : socket_(std::move(socket)) {}

  template <typename Response, typename Request>
  Result<Response> Call(const Request& request) {
    std::vector<std::byte> bytes;
    TRY(EncodeFrame(3, request, bytes));
    TRY(SendFrame(socket_.get(), bytes));
    ReceivedFrame received = TRY(ReceiveFrame(socket_.get(), kMaxMessageSize, buffer_));
    donated = std::move(received.donated);
    EXPECT_EQ(received.frame.tag, 3);
    if (received.frame.type == MessageType::kRlerror) {
      return static_cast<Errno>(TRY(DecodeBody<Rlerror>(received.frame.body)).error);
    }
    EXPECT_EQ(received.frame.type, Response::kType);
    return DecodeBody<Response>(received.frame.body);
  }

  // Version and attach as fid 0.
  void Start(const char* version) {
    auto answer = Call<Rversion>(Tversion{.msize = kDefaultMessageSize, .version = version});
    ASSERT_TRUE(answer.ok());
    ASSERT_EQ(answer->version, version);
    ASSERT_TRUE(Call<Rattach>(Tattach{.fid = 0}).ok());
  }
  Result<Rwalk> Walk(uint32_t fid, uint32_t newfid, std::vector<std::string> names) {
    return Call<Rwalk>(Twalk{.fid = fid, .newfid = newfid, .names = std::move(names)});
  }
  int socket() const { return socket_.get(); }
  void Close() { socket_.Reset(); }

  UniqueFd donated;  // with the last response

 private:
  UniqueFd socket_;
  std::vector<std::byte> buffer_;
};

class SessionTest : public ::testing::Test {
 protected:
  Peer Connect(const char* version = kVersionL) {
    Peer peer(server_.Connect());
    peer.Start(version);
    return peer;
  }

  TempTree tree_;
  InProcessServer server_{tree_.path()};
};

// --- Sessions -----------------------------------------------------------------------------------

TEST_F(SessionTest, VersionIsNegotiated) {
  Peer peer(server_.Connect());
  auto version = [&](const char* offered) {
    auto answer = peer.Call<Rversion>(Tversion{.msize = 8192, .version = offered});
    return answer.ok() ? answer->version : ErrnoName(answer.error());
  };
  EXPECT_EQ(version("9P2000.L"), "9P2000.L");
  EXPECT_EQ(version("9P2000.L.sandboxd1"), "9P2000.L.sandboxd1");
  EXPECT_EQ(version("9P2000.L.sandboxd2"), "9P2000.L");
  EXPECT_EQ(version("9P2000.u"), "unknown");
  EXPECT_EQ(version("9P2000"), "unknown");
}

TEST_F(SessionTest, MessageSizeIsBounded) {
  Peer peer(server_.Connect());
  auto huge = peer.Call<Rversion>(Tversion{.msize = ~uint32_t{0}, .version = kVersionL});
  ASSERT_TRUE(huge.ok());
  EXPECT_EQ(huge->msize, kMaxMessageSize);
  EXPECT_TRUE(
      peer.Call<Rversion>(Tversion{.msize = 100, .version = kVersionL}).Is(Errno::kEMSGSIZE));
}

TEST_F(SessionTest, NothingIsServedBeforeTheVersion) {
  Peer peer(server_.Connect());
  EXPECT_TRUE(peer.Call<Rattach>(Tattach{.fid = 0}).Is(Errno::kECONNRESET));
}

TEST_F(SessionTest, ExtensionIsRefusedUnlessNegotiated) {
  Peer peer = Connect(kVersionL);
  EXPECT_TRUE(peer.Call<Rstat>(Tstat{0}).Is(Errno::kEOPNOTSUPP));
  tree_.Write("f", "x");
  ASSERT_TRUE(peer.Walk(0, 1, {"f"}).ok());
  ASSERT_TRUE(peer.Call<Rlopen>(Tlopen{.fid = 1, .flags = O_RDONLY}).ok());
  EXPECT_FALSE(peer.donated.valid());
}

TEST_F(SessionTest, AttachKnowsOneTreeAndNoAuthentication) {
  Peer peer = Connect();
  EXPECT_TRUE(peer.Call<Rattach>(Tattach{.fid = 1, .aname = "/etc"}).Is(Errno::kENOENT));
  EXPECT_TRUE(peer.Call<Rattach>(Tattach{.fid = 1, .aname = "../.."}).Is(Errno::kENOENT));
  EXPECT_TRUE(peer.Call<Rattach>(Tattach{.fid = 1, .afid = 0}).Is(Errno::kEOPNOTSUPP));
  EXPECT_TRUE(peer.Call<Rattach>(Tattach{.fid = 0}).Is(Errno::kEINVAL));  // in use
  EXPECT_TRUE(peer.Call<Rattach>(Tattach{.fid = 1, .aname = "/"}).ok());
  EXPECT_TRUE(peer.Call<Rattach>(Tauth{.afid = 5}).Is(Errno::kEOPNOTSUPP));
}

TEST_F(SessionTest, FidTableIsBounded) {
  Peer peer(server_.Connect(/*max_fids=*/3));
  peer.Start(kVersionL);
  EXPECT_TRUE(peer.Walk(0, 1, {}).ok());
  EXPECT_TRUE(peer.Walk(0, 2, {}).ok());
  EXPECT_TRUE(peer.Walk(0, 3, {}).Is(Errno::kEMFILE));
  EXPECT_TRUE(peer.Call<Rclunk>(Tclunk{2}).ok());
  EXPECT_TRUE(peer.Walk(0, 3, {}).ok());
  EXPECT_TRUE(peer.Call<Rclunk>(Tclunk{2}).Is(Errno::kEBADF));
}

TEST_F(SessionTest, DisconnectFreesEverything) {
  auto open_fds = [] {
    return std::distance(std::filesystem::directory_iterator("/proc/self/fd"), {});
  };
  tree_.Write("f", "x");
  auto before = open_fds();
  {
    Peer peer = Connect();
    for (uint32_t fid = 1; fid < 50; ++fid) {
      ASSERT_TRUE(peer.Walk(0, fid, {"f"}).ok());
      ASSERT_TRUE(peer.Call<Rlopen>(Tlopen{.fid = fid, .flags = O_RDONLY}).ok());
    }
  }
  server_.Join();
  EXPECT_EQ(open_fds(), before);
}

TEST_F(SessionTest, RandomFramesNeverCrashTheServer) {
  std::mt19937 random(1);
  for (int round = 0; round < 300; ++round) {
    Peer peer = Connect(round % 2 == 0 ? kVersionL : kVersionSandboxd);
    for (int i = 0; i < 10; ++i) {
      std::vector<std::byte> frame(kHeaderSize + random() % 60);
      for (std::byte& b : frame) b = static_cast<std::byte>(random() % 3);
      uint32_t size = static_cast<uint32_t>(frame.size());
      std::memcpy(frame.data(), &size, sizeof(size));
      frame[4] = static_cast<std::byte>(random() % 230);
      if (!SendFrame(peer.socket(), frame).ok()) break;  // a malformed one ends the session
      std::vector<std::byte> buffer;
      if (!ReceiveFrame(peer.socket(), kMaxMessageSize, buffer).ok()) break;
    }
  }
  Peer peer = Connect();
  EXPECT_TRUE(peer.Walk(0, 1, {}).ok());
}

TEST_F(SessionTest, OversizedFrameEndsTheSession) {
  Peer peer = Connect();
  uint32_t size = kDefaultMessageSize + 1;
  std::vector<std::byte> frame(kHeaderSize);
  std::memcpy(frame.data(), &size, sizeof(size));
  ASSERT_TRUE(SendFrame(peer.socket(), frame).ok());
  std::vector<std::byte> buffer;
  EXPECT_FALSE(ReceiveFrame(peer.socket(), kMaxMessageSize, buffer).ok());
}

// --- Escapes ------------------------------------------------------------------------------------

TEST_F(SessionTest, NamesThatAreNotOneComponentAreRefused) {
  ::mkdir(tree_.At("d").c_str(), 0755);
  Peer peer = Connect();
  ASSERT_TRUE(peer.Walk(0, 1, {"d"}).ok());
  for (std::string name :
       {std::string(".."), std::string("."), std::string(""), std::string("/"), std::string("/etc"),
        std::string("d/.."), std::string("a/b"), std::string("x\0y", 3)}) {
    EXPECT_TRUE(peer.Walk(1, 2, {name}).Is(Errno::kEINVAL)) << name;
    EXPECT_TRUE(
        peer.Call<Rmkdir>(Tmkdir{.dfid = 1, .name = name, .mode = 0755}).Is(Errno::kEINVAL));
    EXPECT_TRUE(peer.Call<Rlcreate>(Tlcreate{.fid = 1, .name = name}).Is(Errno::kEINVAL));
    EXPECT_TRUE(
        peer.Call<Rsymlink>(Tsymlink{.dfid = 1, .name = name, .target = "t"}).Is(Errno::kEINVAL));
    EXPECT_TRUE(peer.Call<Rmknod>(Tmknod{.dfid = 1, .name = name, .mode = S_IFIFO | 0600})
                    .Is(Errno::kEINVAL));
    EXPECT_TRUE(peer.Call<Rlink>(Tlink{.dfid = 1, .fid = 1, .name = name}).Is(Errno::kEINVAL));
    EXPECT_TRUE(
        peer.Call<Runlinkat>(Tunlinkat{.dirfid = 1, .name = name, .flags = 0}).Is(Errno::kEINVAL));
    EXPECT_TRUE(peer.Call<Rrenameat>(
                        Trenameat{.olddirfid = 0, .oldname = "d", .newdirfid = 1, .newname = name})
                    .Is(Errno::kEINVAL));
    EXPECT_TRUE(peer.Call<Rrenameat>(
                        Trenameat{.olddirfid = 1, .oldname = name, .newdirfid = 1, .newname = "z"})
                    .Is(Errno::kEINVAL));
  }
  EXPECT_TRUE(peer.Walk(1, 2, {std::string(256, 'n')}).Is(Errno::kENAMETOOLONG));
}

TEST_F(SessionTest, SymlinksAreNeverFollowed) {
  ASSERT_EQ(::symlink("/etc", tree_.At("abs").c_str()), 0);
  ASSERT_EQ(::symlink("../../../../etc/passwd", tree_.At("up").c_str()), 0);
  ASSERT_EQ(::symlink("/proc/self/root", tree_.At("magic").c_str()), 0);
  Peer peer = Connect(kVersionSandboxd);
  for (const char* name : {"abs", "up", "magic"}) {
    ASSERT_TRUE(peer.Walk(0, 1, {name}).ok());
    EXPECT_EQ(peer.Call<Rstat>(Tstat{1})->stat.attr.mode & S_IFMT, mode_t{S_IFLNK});
    EXPECT_FALSE(peer.Walk(1, 2, {"passwd"}).ok());
    EXPECT_TRUE(peer.Call<Rlopen>(Tlopen{.fid = 1, .flags = O_RDONLY}).Is(Errno::kELOOP));
    EXPECT_TRUE(peer.Call<Ropenfd>(Topenfd{.fid = 1, .flags = O_RDONLY}).Is(Errno::kELOOP));
    EXPECT_FALSE(peer.donated.valid());
    // Creating through a dangling or foreign link must not reach its target.
    EXPECT_TRUE(
        peer.Call<Rlcreate>(Tlcreate{.fid = 0, .name = name, .flags = O_RDWR}).Is(Errno::kELOOP));
    ASSERT_TRUE(peer.Call<Rclunk>(Tclunk{1}).ok());
  }
  // A walk stops at the link: one qid, and newfid is not in use.
  EXPECT_EQ(peer.Walk(0, 1, {"abs", "passwd"})->qids.size(), 1u);
  EXPECT_TRUE(peer.Call<Rstat>(Tstat{1}).Is(Errno::kEBADF));
}

// A tree that contains a procfs has magic links in it; none of them may be walked or opened.
TEST(ProcTreeTest, MagicLinksAreNeverFollowed) {
  InProcessServer server("/proc/self", Access::kReadWrite);
  Peer peer(server.Connect());
  peer.Start(kVersionSandboxd);
  for (const char* name : {"root", "cwd", "exe"}) {
    ASSERT_TRUE(peer.Walk(0, 1, {name}).ok());
    EXPECT_FALSE(peer.Walk(1, 2, {"etc"}).ok());
    EXPECT_TRUE(peer.Call<Ropenfd>(Topenfd{.fid = 1, .flags = O_RDONLY}).Is(Errno::kELOOP));
    ASSERT_TRUE(peer.Call<Rclunk>(Tclunk{1}).ok());
  }
}

TEST_F(SessionTest, RenameRaceDoesNotLeadOutside) {
  // While a client walks d/e, somebody replaces d by a link to the outside.
  ::mkdir(tree_.At("d").c_str(), 0755);
  ::mkdir(tree_.At("d/e").c_str(), 0755);
  ASSERT_EQ(::symlink("/", tree_.At("link").c_str()), 0);
  struct stat inside;
  ASSERT_EQ(::stat(tree_.At("d").c_str(), &inside), 0);
  std::atomic<bool> stop = false;
  std::thread racer([&] {
    while (!stop.load(std::memory_order_relaxed)) {
      ::renameat2(AT_FDCWD, tree_.At("d").c_str(), AT_FDCWD, tree_.At("link").c_str(),
                  RENAME_EXCHANGE);
    }
  });
  Peer peer = Connect(kVersionSandboxd);
  int through = 0;
  for (int i = 0; i < 3000; ++i) {
    Twalkgetattr walk{.fid = 0, .steps = {{kNoFid, "d"}, {kNoFid, "e"}}};
    auto answer = peer.Call<Rwalkgetattr>(walk);
    ASSERT_TRUE(answer.ok());
    if (answer->error == 0) {
      ++through;
      EXPECT_EQ(answer->stats[0].ino, inside.st_ino);
    } else {
      EXPECT_TRUE(answer->stats.size() == 1 && answer->stats[0].attr.IsSymlink());
    }
    EXPECT_FALSE(peer.Walk(0, 1, {"d", "etc"})->qids.size() == 2);
  }
  stop.store(true, std::memory_order_relaxed);
  racer.join();
  EXPECT_GT(through, 0);
}

TEST_F(SessionTest, SpecialFilesAreNeverOpened) {
  ASSERT_EQ(::mkfifo(tree_.At("fifo").c_str(), 0666), 0);
  ASSERT_EQ(::mknod(tree_.At("sock").c_str(), S_IFSOCK | 0666, 0), 0);
  Peer peer = Connect(kVersionSandboxd);
  for (const char* name : {"fifo", "sock"}) {
    ASSERT_TRUE(peer.Walk(0, 1, {name}).ok());
    EXPECT_TRUE(peer.Call<Rlopen>(Tlopen{.fid = 1, .flags = O_RDWR}).Is(Errno::kENXIO));
    EXPECT_TRUE(peer.Call<Ropenfd>(Topenfd{.fid = 1, .flags = O_RDONLY}).Is(Errno::kENXIO));
    EXPECT_TRUE(
        peer.Call<Rlcreate>(Tlcreate{.fid = 0, .name = name, .flags = O_RDWR}).Is(Errno::kENXIO));
    ASSERT_TRUE(peer.Call<Rclunk>(Tclunk{1}).ok());
  }
}

TEST_F(SessionTest, DirectoriesAreNeverDonated) {
  Peer peer = Connect(kVersionSandboxd);
  EXPECT_TRUE(peer.Call<Ropenfd>(Topenfd{.fid = 0, .flags = O_RDONLY}).Is(Errno::kEISDIR));
  ASSERT_TRUE(peer.Walk(0, 1, {}).ok());
  ASSERT_TRUE(peer.Call<Rlopen>(Tlopen{.fid = 1, .flags = O_RDONLY}).ok());
  EXPECT_FALSE(peer.donated.valid());
}

// --- 9P2000.L as a standard client uses it
// --------------------------------------------------------

TEST_F(SessionTest, StandardClientCreatesWritesAndReads) {
  Peer peer = Connect(kVersionL);
  ASSERT_TRUE(peer.Walk(0, 1, {}).ok());
  auto created =
      peer.Call<Rlcreate>(Tlcreate{.fid = 1, .name = "f", .flags = O_RDWR, .mode = 0640, .gid = 0});
  ASSERT_TRUE(created.ok());
  EXPECT_FALSE(peer.donated.valid());
  std::string text = "hello, gofer";
  ASSERT_EQ(peer.Call<Rwrite>(Twrite{.fid = 1, .data = {std::as_bytes(std::span(text))}})->count,
            text.size());
  auto read = peer.Call<Rread>(Tread{.fid = 1, .offset = 7, .count = 100});
  ASSERT_TRUE(read.ok());
  EXPECT_EQ(read->data.bytes.size(), 5u);
  EXPECT_EQ(tree_.Read("f"), text);
  auto attr = peer.Call<Rgetattr>(Tgetattr{.fid = 1});
  EXPECT_EQ(attr->attr.mode, mode_t{S_IFREG | 0640});
  EXPECT_EQ(attr->attr.size, text.size());
  EXPECT_EQ(attr->qid.path, created->qid.path);
  EXPECT_TRUE(peer.Call<Rfsync>(Tfsync{.fid = 1}).ok());
}

TEST_F(SessionTest, StandardClientListsRenamesAndRemoves) {
  Peer peer = Connect(kVersionL);
  ASSERT_TRUE(peer.Call<Rmkdir>(Tmkdir{.dfid = 0, .name = "d", .mode = 0755}).ok());
  ASSERT_TRUE(peer.Call<Rsymlink>(Tsymlink{.dfid = 0, .name = "l", .target = "elsewhere"}).ok());
  ASSERT_TRUE(peer.Walk(0, 1, {"l"}).ok());
  EXPECT_EQ(peer.Call<Rreadlink>(Treadlink{1})->target, "elsewhere");
  ASSERT_TRUE(peer.Walk(0, 2, {"d"}).ok());
  ASSERT_TRUE(peer.Call<Rrename>(Trename{.fid = 1, .dfid = 2, .name = "m"}).ok());
  EXPECT_TRUE(std::filesystem::is_symlink(tree_.At("d/m")));

  EXPECT_TRUE(peer.Call<Rreaddir>(Treaddir{.fid = 2, .count = 8000}).Is(Errno::kEBADF));
  ASSERT_TRUE(peer.Walk(2, 3, {}).ok());
  ASSERT_TRUE(peer.Call<Rlopen>(Tlopen{.fid = 3, .flags = O_RDONLY}).ok());
  auto listed = peer.Call<Rreaddir>(Treaddir{.fid = 3, .count = 8000});
  ASSERT_TRUE(listed.ok());
  Decoder decoder(listed->data.bytes);
  std::vector<std::string> names;
  while (decoder.ok() && decoder.remaining() != 0) {
    DirEntry entry;
    decoder(entry);
    names.push_back(entry.name);
    if (entry.name == "m") {
      EXPECT_EQ(entry.type, DT_LNK);
    }
  }
  EXPECT_TRUE(decoder.ok());
  std::ranges::sort(names);
  EXPECT_EQ(names, (std::vector<std::string>{".", "..", "m"}));

  ASSERT_TRUE(peer.Call<Rremove>(Tremove{1}).ok());
  EXPECT_FALSE(std::filesystem::exists(std::filesystem::symlink_status(tree_.At("d/m"))));
  EXPECT_TRUE(peer.Call<Rclunk>(Tclunk{1}).Is(Errno::kEBADF));
  ASSERT_TRUE(peer.Call<Rremove>(Tremove{2}).ok());
  EXPECT_FALSE(std::filesystem::exists(tree_.At("d")));
  EXPECT_TRUE(peer.Call<Rremove>(Tremove{0}).Is(Errno::kEBUSY));  // the root
}

TEST_F(SessionTest, RemoveOfAFidWhoseNameIsNowAnotherFileIsRefused) {
  Peer peer = Connect(kVersionL);
  tree_.Write("a", "one");
  tree_.Write("b", "two");
  ASSERT_TRUE(peer.Walk(0, 1, {"a"}).ok());
  std::filesystem::rename(tree_.At("b"), tree_.At("a"));
  EXPECT_TRUE(peer.Call<Rremove>(Tremove{1}).Is(Errno::kESTALE));
  EXPECT_EQ(tree_.Read("a"), "two");
}

TEST_F(SessionTest, TrenameIntoARingOfStaleFidsEnds) {
  // a/b by fid, then b moved out and a moved into it: fid 1's picture of its parent is stale.
  std::filesystem::create_directories(tree_.At("a/b"));
  Peer peer = Connect(kVersionL);
  ASSERT_TRUE(peer.Walk(0, 1, {"a"}).ok());
  ASSERT_TRUE(peer.Walk(1, 2, {"b"}).ok());
  std::filesystem::rename(tree_.At("a/b"), tree_.At("b"));
  ASSERT_TRUE(peer.Call<Rrename>(Trename{.fid = 1, .dfid = 2, .name = "a"}).ok());
  EXPECT_TRUE(std::filesystem::is_directory(tree_.At("b/a")));
  EXPECT_TRUE(peer.Call<Rremove>(Tremove{1}).Is(Errno::kEBUSY));  // its place is not known any more
}

TEST_F(SessionTest, LocksConflictBetweenFidsAndEndWithThem) {
  tree_.Write("f", "0123456789");
  Peer peer = Connect(kVersionL);
  for (uint32_t fid : {1u, 2u}) {
    ASSERT_TRUE(peer.Walk(0, fid, {"f"}).ok());
    ASSERT_TRUE(peer.Call<Rlopen>(Tlopen{.fid = fid, .flags = O_RDWR}).ok());
  }
  auto lock = [&](uint32_t fid, LockType type) {
    return peer.Call<Rlock>(Tlock{.fid = fid, .type = type, .start = 2, .length = 3})->status;
  };
  EXPECT_EQ(lock(1, LockType::kWrite), LockStatus::kSuccess);
  EXPECT_EQ(lock(2, LockType::kRead), LockStatus::kBlocked);
  auto who = peer.Call<Rgetlock>(Tgetlock{.fid = 2, .type = LockType::kRead, .length = 10});
  EXPECT_EQ(who->type, LockType::kWrite);
  EXPECT_EQ(who->start, 2u);
  EXPECT_EQ(who->length, 3u);
  ASSERT_TRUE(peer.Call<Rclunk>(Tclunk{1}).ok());
  EXPECT_EQ(lock(2, LockType::kRead), LockStatus::kSuccess);
}

TEST_F(SessionTest, StandardXattrsGoThroughFids) {
  tree_.Write("f", "");
  Peer peer = Connect(kVersionL);
  ASSERT_TRUE(peer.Walk(0, 1, {"f"}).ok());
  ASSERT_TRUE(peer.Walk(0, 2, {"f"}).ok());
  std::string value = "blue";
  ASSERT_TRUE(
      peer.Call<Rxattrcreate>(Txattrcreate{.fid = 2, .name = "user.color", .size = 4}).ok());
  EXPECT_TRUE(peer.Call<Rwrite>(Twrite{.fid = 2, .data = {std::as_bytes(std::span("toolong"))}})
                  .Is(Errno::kENOSPC));
  ASSERT_TRUE(peer.Call<Rwrite>(Twrite{.fid = 2, .data = {std::as_bytes(std::span(value))}}).ok());
  Result<Rclunk> set = peer.Call<Rclunk>(Tclunk{2});
  if (set.Is(Errno::kEOPNOTSUPP)) GTEST_SKIP() << "no user xattrs on the test file system";
  ASSERT_TRUE(set.ok());
  EXPECT_EQ(peer.Call<Rxattrwalk>(Txattrwalk{.fid = 1, .newfid = 3, .name = "user.color"})->size,
            4u);
  auto read = peer.Call<Rread>(Tread{.fid = 3, .count = 100});
  ASSERT_TRUE(read.ok());
  EXPECT_TRUE(std::ranges::equal(read->data.bytes, std::as_bytes(std::span(value))));
  EXPECT_TRUE(peer.Call<Rxattrwalk>(Txattrwalk{.fid = 1, .newfid = 4, .name = "user.none"})
                  .Is(Errno::kENODATA));
}

TEST_F(SessionTest, XattrFidsAreBounded) {
  tree_.Write("f", "");
  Peer peer = Connect(kVersionL);
  ASSERT_TRUE(peer.Walk(0, 1, {"f"}).ok());
  uint32_t fid = 10;
  while (peer.Call<Rxattrwalk>(Txattrwalk{.fid = 1, .newfid = fid}).ok()) ++fid;
  EXPECT_EQ(fid - 10, Session::kMaxXattrFids);
  ASSERT_TRUE(peer.Call<Rclunk>(Tclunk{10}).ok());
  EXPECT_TRUE(peer.Call<Rxattrwalk>(Txattrwalk{.fid = 1, .newfid = 10}).ok());
}

// --- Read-only
// --------------------------------------------------------------------------------------

TEST(ReadOnlyTest, EveryMutationIsRefused) {
  TempTree tree;
  tree.Write("f", "content");
  ::mkdir(tree.At("d").c_str(), 0755);
  InProcessServer server(tree.path(), Access::kReadOnly);
  Peer peer(server.Connect());
  peer.Start(kVersionSandboxd);
  ASSERT_TRUE(peer.Walk(0, 1, {"f"}).ok());
  constexpr Errno kRefused = Errno::kEROFS;
  auto open = [&](uint32_t flags) { return peer.Call<Ropenfd>(Topenfd{1, flags}); };
  EXPECT_TRUE(open(O_WRONLY).Is(kRefused));
  EXPECT_TRUE(open(O_RDWR).Is(kRefused));
  EXPECT_TRUE(open(O_RDONLY | O_TRUNC).Is(kRefused));
  EXPECT_TRUE(peer.Call<Rlopen>(Tlopen{1, O_RDWR}).Is(kRefused));
  EXPECT_TRUE(
      peer.Call<Rwalkopen>(Twalkopen{.fid = 0, .newfid = 9, .flags = O_RDWR, .names = {"f"}})
          ->error == static_cast<uint32_t>(kRefused));
  EXPECT_TRUE(peer.Call<Rlcreate>(Tlcreate{.fid = 0, .name = "n", .flags = O_RDWR}).Is(kRefused));
  EXPECT_TRUE(
      peer.Call<Rmake>(Tmake{.dfid = 0, .newfid = 9, .name = "n", .mode = S_IFREG}).Is(kRefused));
  EXPECT_TRUE(peer.Call<Rmake>(Tmake{.dfid = 0, .newfid = 9, .mode = S_IFREG, .flags = O_TMPFILE})
                  .Is(kRefused));
  EXPECT_TRUE(peer.Call<Rmkdir>(Tmkdir{.dfid = 0, .name = "n"}).Is(kRefused));
  EXPECT_TRUE(peer.Call<Rsymlink>(Tsymlink{.dfid = 0, .name = "n", .target = "t"}).Is(kRefused));
  EXPECT_TRUE(peer.Call<Rmknod>(Tmknod{.dfid = 0, .name = "n", .mode = S_IFIFO}).Is(kRefused));
  EXPECT_TRUE(peer.Call<Rlink>(Tlink{.dfid = 0, .fid = 1, .name = "n"}).Is(kRefused));
  EXPECT_TRUE(peer.Call<Rrename>(Trename{.fid = 1, .dfid = 0, .name = "n"}).Is(kRefused));
  EXPECT_TRUE(peer.Call<Rrenameat>(
                      Trenameat{.olddirfid = 0, .oldname = "f", .newdirfid = 0, .newname = "n"})
                  .Is(kRefused));
  EXPECT_TRUE(
      peer.Call<Rrename2>(Trename2{.olddirfid = 0, .oldname = "f", .newdirfid = 0, .newname = "n"})
          .Is(kRefused));
  EXPECT_TRUE(peer.Call<Runlinkat>(Tunlinkat{.dirfid = 0, .name = "f"}).Is(kRefused));
  EXPECT_TRUE(peer.Call<Rsetattr>(Tsetattr{.fid = 1, .valid = kSetMode}).Is(kRefused));
  EXPECT_TRUE(peer.Call<Rsetattr>(Tsetattr{.fid = 1, .valid = kSetSize}).Is(kRefused));
  EXPECT_TRUE(peer.Call<Rwrite>(Twrite{.fid = 1}).Is(kRefused));
  EXPECT_TRUE(
      peer.Call<Rxattrcreate>(Txattrcreate{.fid = 1, .name = "user.x", .size = 1}).Is(kRefused));
  EXPECT_TRUE(peer.Call<Rsetxattr>(Tsetxattr{.fid = 1, .name = "user.x"}).Is(kRefused));
  EXPECT_TRUE(peer.Call<Rremovexattr>(Tremovexattr{.fid = 1, .name = "user.x"}).Is(kRefused));
  ASSERT_TRUE(peer.Walk(0, 2, {"f"}).ok());
  EXPECT_TRUE(peer.Call<Rremove>(Tremove{2}).Is(kRefused));

  ASSERT_TRUE(open(O_RDONLY).ok());
  ASSERT_TRUE(peer.donated.valid());
  EXPECT_EQ(::fcntl(peer.donated.get(), F_GETFL) & O_ACCMODE, O_RDONLY);
  EXPECT_EQ(::write(peer.donated.get(), "x", 1), -1);
  EXPECT_EQ(tree.Read("f"), "content");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(tree.path()), {}), 2);
  peer.Close();
}

}  // namespace
}  // namespace sandboxd::gofer
