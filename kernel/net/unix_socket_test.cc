#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/epoll.h>
#include <sys/un.h>

#include <algorithm>

#include "kernel/fs/tmpfs/tmpfs.h"
#include "kernel/net/network.h"
#include "kernel/vfs/testing/test_caller.h"

namespace sandboxd::net {
namespace {

SocketAddress Address(const std::string& name) {
  SocketAddress a;
  uint16_t family = AF_UNIX;
  memcpy(a.bytes.data(), &family, 2);
  memcpy(a.bytes.data() + 2, name.data(), name.size());
  a.length = 2 + name.size();
  return a;
}

const std::string kAbstract("\0name", 5);

class UnixSocketTest : public testing::Test {
 protected:
  UnixSocketTest()
      : network_(vfs_),
        caller_(vfs_, MakeRef<tmpfs::TmpfsSuperblock>("tmpfs", tmpfs::Options{},
                                                      tmpfs::HostMemoryFiles())) {}

  Ref<Socket> Make(int type) { return MUST(network_.Create(caller_, AF_UNIX, type, 0, 0)); }
  std::pair<Ref<Socket>, Ref<Socket>> Pair(int type) {
    return MUST(network_.CreatePair(caller_, AF_UNIX, type, 0, 0));
  }
  Result<size_t> Send(Socket& s, std::string_view text, std::vector<Ref<vfs::File>> files = {},
                      const SocketAddress* to = nullptr) {
    mm::BufferSource source(std::as_bytes(std::span(text)));
    SendRequest request;
    request.to = to;
    request.ancillary.files = std::move(files);
    return s.Send(caller_, source, request);
  }
  Result<std::string> Read(Socket& s, size_t max = 100, int flags = 0,
                           Received* received = nullptr) {
    std::string text(max, '\0');
    mm::BufferSink sink(std::as_writable_bytes(std::span(text)));
    Received r = TRY(s.Receive(caller_, sink, flags));
    text.resize(r.length);
    if (received != nullptr) *received = std::move(r);
    return text;
  }
  size_t OpenSockets() {
    std::string text = network_.unix_domain().ProcText();
    return static_cast<size_t>(std::ranges::count(text, '\n')) - 1;
  }

  vfs::Vfs vfs_;
  Network network_;
  vfs::TestCaller caller_;
};

TEST_F(UnixSocketTest, StreamsGlueWritesAndEndWithZero) {
  auto [a, b] = Pair(SOCK_STREAM);
  EXPECT_TRUE(Read(*b).Is(Errno::kEAGAIN));
  EXPECT_EQ(MUST(Send(*a, "one")), 3u);
  EXPECT_EQ(MUST(Send(*a, "two")), 3u);
  EXPECT_EQ(MUST(Read(*b, 4, MSG_PEEK)), "onet");
  EXPECT_EQ(MUST(Read(*b, 4)), "onet");
  EXPECT_EQ(MUST(Read(*b)), "wo");
  a.Reset();
  EXPECT_EQ(MUST(Read(*b)), "");
  EXPECT_TRUE(Send(*b, "x").Is(Errno::kEPIPE));
  EXPECT_NE(b->Poll(EPOLLIN) & EPOLLHUP, 0u);
}

TEST_F(UnixSocketTest, UnreadDataResetsThePeer) {
  auto [a, b] = Pair(SOCK_STREAM);
  MUST(Send(*a, "lost"));
  b.Reset();
  EXPECT_NE(a->Poll(EPOLLIN) & EPOLLERR, 0u);
  EXPECT_TRUE(Read(*a).Is(Errno::kECONNRESET));
  EXPECT_EQ(MUST(Read(*a)), "");
}

TEST_F(UnixSocketTest, AFullStreamIsPartialThenEagainThenWritableAgain) {
  auto [a, b] = Pair(SOCK_STREAM);
  std::string much(1 << 20, 'x');
  size_t sent = MUST(Send(*a, much));
  EXPECT_LT(sent, much.size());
  EXPECT_TRUE(Send(*a, "x").Is(Errno::kEAGAIN));
  EXPECT_EQ(a->Poll(EPOLLOUT), 0u);
  EXPECT_EQ(MUST(Read(*b, 1 << 20)).size(), sent);
  EXPECT_EQ(a->Poll(EPOLLOUT), uint32_t{EPOLLOUT});
}

TEST_F(UnixSocketTest, MessagesKeepTheirBoundaries) {
  for (int type : {SOCK_DGRAM, SOCK_SEQPACKET}) {
    auto [a, b] = Pair(type);
    MUST(Send(*a, "first"));
    MUST(Send(*a, ""));
    MUST(Send(*a, "third"));
    Received r;
    EXPECT_EQ(MUST(Read(*b, 3, 0, &r)), "fir");
    EXPECT_EQ(r.full_length, 5u);
    EXPECT_EQ(r.flags & MSG_TRUNC, MSG_TRUNC);
    EXPECT_EQ(MUST(Read(*b)), "");
    EXPECT_EQ(MUST(Read(*b)), "third");
    EXPECT_TRUE(Send(*a, std::string(1 << 20, 'x')).Is(Errno::kEMSGSIZE));
  }
}

TEST_F(UnixSocketTest, ConnectionsByPathAndByAbstractName) {
  for (const std::string& name : {std::string("/sock"), kAbstract}) {
    auto server = Make(SOCK_STREAM), client = Make(SOCK_STREAM);
    EXPECT_TRUE(client->Connect(caller_, Address(name)).error() ==
                (name[0] == '/' ? Errno::kENOENT : Errno::kECONNREFUSED));
    MUST(server->Bind(caller_, Address(name)));
    EXPECT_TRUE(Make(SOCK_STREAM)->Bind(caller_, Address(name)).Is(Errno::kEADDRINUSE));
    EXPECT_TRUE(client->Connect(caller_, Address(name)).Is(Errno::kECONNREFUSED));
    MUST(server->Listen(caller_, 0));
    EXPECT_TRUE(server->Accept(caller_, 0).Is(Errno::kEAGAIN));
    MUST(client->Connect(caller_, Address(name)));
    EXPECT_TRUE(client->Connect(caller_, Address(name)).Is(Errno::kEISCONN));
    // The backlog of 0 holds one.
    auto second = Make(SOCK_STREAM);
    EXPECT_TRUE(second->Connect(caller_, Address(name)).Is(Errno::kEAGAIN));
    MUST(Send(*client, "early"));
    auto accepted = MUST(server->Accept(caller_, 0));
    EXPECT_EQ(MUST(Read(*accepted)), "early");
    EXPECT_EQ(MUST(client->PeerAddress()).length, name.size() + 2 + (name[0] == '/' ? 1 : 0));
    EXPECT_EQ(MUST(accepted->PeerAddress()).length, 2u);
    EXPECT_EQ(MUST(client->peer_credentials()).pid, 1);
    MUST(second->Connect(caller_, Address(name)));
    server.Reset();  // with a connection that nobody accepted
    EXPECT_TRUE(Read(*second).Is(Errno::kECONNRESET));
    EXPECT_TRUE(Make(SOCK_STREAM)->Connect(caller_, Address(name)).Is(Errno::kECONNREFUSED));
  }
}

TEST_F(UnixSocketTest, DatagramsGoWhereTheyAreSentAndSayFromWhere) {
  auto receiver = Make(SOCK_DGRAM), sender = Make(SOCK_DGRAM);
  MUST(receiver->Bind(caller_, Address("/in")));
  MUST(sender->Bind(caller_, Address("/out")));
  SocketAddress to = Address("/in");
  EXPECT_TRUE(Send(*sender, "x").Is(Errno::kENOTCONN));
  MUST(Send(*sender, "hello", {}, &to));
  Received r;
  EXPECT_EQ(MUST(Read(*receiver, 100, 0, &r)), "hello");
  EXPECT_EQ(std::string(reinterpret_cast<char*>(r.from.bytes.data()) + 2), "/out");
  MUST(receiver->Connect(caller_, Address("/out")));
  EXPECT_TRUE(Send(*Make(SOCK_DGRAM), "x", {}, &to).Is(Errno::kEPERM));
  MUST(sender->Connect(caller_, to));
  receiver.Reset();
  EXPECT_TRUE(Send(*sender, "x").Is(Errno::kECONNREFUSED));
  EXPECT_TRUE(Make(SOCK_STREAM)->Connect(caller_, Address("/out")).Is(Errno::kEPROTOTYPE));
}

TEST_F(UnixSocketTest, ShutdownEndsOneDirection) {
  auto [a, b] = Pair(SOCK_STREAM);
  MUST(a->Shutdown(SHUT_WR));
  EXPECT_TRUE(Send(*a, "x").Is(Errno::kEPIPE));
  EXPECT_EQ(MUST(Read(*b)), "");
  MUST(Send(*b, "back"));
  EXPECT_EQ(MUST(Read(*a)), "back");
  EXPECT_TRUE(a->Shutdown(3).Is(Errno::kEINVAL));
}

TEST_F(UnixSocketTest, FilesTravelWithTheirBytes) {
  auto [a, b] = Pair(SOCK_STREAM);
  auto file = MUST(vfs_.Open(caller_, "/f", {}, {O_RDWR | O_CREAT, 0600}));
  MUST(Send(*a, "12"));
  MUST(Send(*a, "34", {file}));
  MUST(Send(*a, "56"));
  Received r;
  EXPECT_EQ(MUST(Read(*b, 100, MSG_PEEK, &r)), "1234");
  ASSERT_EQ(r.ancillary.files.size(), 1u);
  r = {};
  EXPECT_EQ(MUST(Read(*b, 100, 0, &r)), "1234");
  ASSERT_EQ(r.ancillary.files.size(), 1u);
  EXPECT_TRUE(r.ancillary.files[0] == file);
  EXPECT_EQ(MUST(Read(*b, 100, 0, &r)), "56");
  EXPECT_TRUE(r.ancillary.files.empty());
}

TEST_F(UnixSocketTest, SocketsThatOnlyTheirOwnQueuesHoldAreCollected) {
  {
    auto [a, b] = Pair(SOCK_STREAM);
    MUST(Send(*a, "x", {b}));  // b lies in its own queue
    auto [c, d] = Pair(SOCK_STREAM);
    MUST(Send(*c, "x", {a, d}));
    EXPECT_EQ(OpenSockets(), 4u);
  }
  Pair(SOCK_STREAM);  // closing any socket collects
  EXPECT_EQ(OpenSockets(), 0u);
}

TEST_F(UnixSocketTest, WhatIsReachableIsNotCollected) {
  auto [a, b] = Pair(SOCK_STREAM);
  auto [c, d] = Pair(SOCK_STREAM);
  MUST(Send(*a, "x", {d}));
  d.Reset();
  Pair(SOCK_STREAM);
  MUST(Send(*c, "still there"));
  Received r;
  MUST(Read(*b, 100, 0, &r));
  auto* back = vfs::FileAs<Socket>(*r.ancillary.files.at(0));
  EXPECT_EQ(MUST(Read(*back)), "still there");
}

TEST_F(UnixSocketTest, ALongChainOfSocketsInQueuesIsFreedWithoutRecursion) {
  auto [a, b] = Pair(SOCK_STREAM);
  for (int i = 0; i < 20000; i++) {
    auto [c, d] = Pair(SOCK_STREAM);
    MUST(Send(*c, "x", {a, b}));
    a = std::move(c);
    b = std::move(d);
  }
  a.Reset();
  b.Reset();
  EXPECT_EQ(OpenSockets(), 0u);
}

TEST_F(UnixSocketTest, OptionsReadBack) {
  auto s = Make(SOCK_DGRAM);
  int32_t value = 8192;
  MUST(s->SetOption(caller_, SOL_SOCKET, SO_SNDBUF, AsBytes(value)));
  auto bytes = MUST(s->GetOption(caller_, SOL_SOCKET, SO_SNDBUF, 4));
  memcpy(&value, bytes.data(), sizeof(value));
  EXPECT_EQ(value, 16384);
  EXPECT_TRUE(s->GetOption(caller_, SOL_SOCKET, 12345, 4).Is(Errno::kENOPROTOOPT));
  EXPECT_TRUE(s->GetOption(caller_, 6, 1, 4).Is(Errno::kEOPNOTSUPP));
  EXPECT_TRUE(network_.Create(caller_, AF_APPLETALK, SOCK_STREAM, 0, 0).Is(Errno::kEAFNOSUPPORT));
  EXPECT_TRUE(network_.Create(caller_, AF_UNIX, SOCK_RDM, 0, 0).Is(Errno::kESOCKTNOSUPPORT));
}

}  // namespace
}  // namespace sandboxd::net
