// TCP over the loopback interface: tcp(7), ip(7), connect(2), listen(2), accept(2), shutdown(2).
#include <sys/uio.h>

#include <algorithm>
#include <csignal>
#include <numeric>
#include <thread>
#include <vector>

#include "test/syscalls/inet_testing.h"

namespace sandboxd::test {
namespace {

class TcpTest : public testing::TestWithParam<const char*> {
 protected:
  const char* address() const { return GetParam(); }
  int family() const { return FamilyOf(address()); }
};
INSTANTIATE_TEST_SUITE_P(Addresses, TcpTest, testing::Values("127.0.0.1", "::1"),
                         [](const auto& info) {
                           return info.param[0] == ':' ? std::string("V6") : std::string("V4");
                         });

// --- connections ---

TEST_P(TcpTest, ConnectionCarriesBytesBothWays) {
  TcpPair pair(address());
  EXPECT_EQ(SendText(pair.client.get(), "ping"), 4);
  EXPECT_EQ(ReceiveText(pair.server.get()), "ping");
  EXPECT_EQ(SendText(pair.server.get(), "pong"), 4);
  EXPECT_EQ(ReceiveText(pair.client.get()), "pong");
}

TEST_P(TcpTest, EndsKnowEachOther) {
  TcpPair pair(address());
  EXPECT_EQ(LocalOf(pair.client.get()).port(), PeerOf(pair.server.get()).port());
  EXPECT_EQ(LocalOf(pair.server.get()).port(), PeerOf(pair.client.get()).port());
  EXPECT_EQ(PeerOf(pair.server.get()).text(), address());
  EXPECT_EQ(LocalOf(pair.client.get()).text(), address());
  EXPECT_EQ(GetInt(pair.server.get(), SOL_SOCKET, SO_DOMAIN), family());
  EXPECT_EQ(GetInt(pair.server.get(), SOL_SOCKET, SO_PROTOCOL), IPPROTO_TCP);
}

TEST_P(TcpTest, AcceptGivesThePeersAddress) {
  Fd listener = Listener(address());
  Fd client = ConnectedTo(address(), LocalOf(listener.get()).port());
  Inet peer;
  Fd server(accept4(listener.get(), peer.get(), &peer.length, SOCK_CLOEXEC));
  ASSERT_GE(server.get(), 0);
  EXPECT_EQ(peer.port(), LocalOf(client.get()).port());
  EXPECT_EQ(peer.text(), address());
  EXPECT_EQ(fcntl(server.get(), F_GETFD), FD_CLOEXEC);
}

TEST_P(TcpTest, NobodyListensRefuses) {
  Fd bound = Bound(address(), SOCK_STREAM);
  Fd client(socket(family(), SOCK_STREAM, 0));
  Inet to(address(), LocalOf(bound.get()).port());
  EXPECT_ERRNO(ECONNREFUSED, connect(client.get(), to.get(), to.length));
  // And the socket can be used again.
  EXPECT_EQ(listen(bound.get(), 1), 0);
  EXPECT_EQ(connect(client.get(), to.get(), to.length), 0);
}

TEST_P(TcpTest, NonblockingConnectIsInProgress) {
  Fd listener = Listener(address());
  Fd client(socket(family(), SOCK_STREAM | SOCK_NONBLOCK, 0));
  Inet to(address(), LocalOf(listener.get()).port());
  EXPECT_ERRNO(EINPROGRESS, connect(client.get(), to.get(), to.length));
  EXPECT_EQ(PollNow(client.get(), POLLOUT, 10000), POLLOUT);
  EXPECT_EQ(GetInt(client.get(), SOL_SOCKET, SO_ERROR), 0);
  EXPECT_EQ(connect(client.get(), to.get(), to.length), 0);
  EXPECT_ERRNO(EISCONN, connect(client.get(), to.get(), to.length));
}

TEST_P(TcpTest, NonblockingConnectTellsOfRefusal) {
  Fd bound = Bound(address(), SOCK_STREAM);
  Fd client(socket(family(), SOCK_STREAM | SOCK_NONBLOCK, 0));
  Inet to(address(), LocalOf(bound.get()).port());
  EXPECT_ERRNO(EINPROGRESS, connect(client.get(), to.get(), to.length));
  EXPECT_EQ(PollNow(client.get(), POLLOUT, 10000), POLLOUT | POLLERR | POLLHUP);
  EXPECT_EQ(GetInt(client.get(), SOL_SOCKET, SO_ERROR), ECONNREFUSED);
  EXPECT_EQ(GetInt(client.get(), SOL_SOCKET, SO_ERROR), 0);
}

TEST_P(TcpTest, FullBacklogMakesConnectWait) {
  Fd listener = Listener(address(), 0);
  int port = LocalOf(listener.get()).port();
  Fd first = ConnectedTo(address(), port);
  Fd second(socket(family(), SOCK_STREAM | SOCK_NONBLOCK, 0));
  Inet to(address(), port);
  EXPECT_ERRNO(EINPROGRESS, connect(second.get(), to.get(), to.length));
  EXPECT_EQ(PollNow(second.get(), POLLOUT), 0);
  EXPECT_ERRNO(EALREADY, connect(second.get(), to.get(), to.length));
  Fd accepted(accept(listener.get(), nullptr, nullptr));
  EXPECT_EQ(PollNow(second.get(), POLLOUT, 10000), POLLOUT);
  EXPECT_EQ(PollNow(listener.get(), POLLIN, 10000), POLLIN);
}

TEST_P(TcpTest, ListenerIsReadableWhenSomebodyConnects) {
  Fd listener = Listener(address());
  EXPECT_EQ(PollNow(listener.get(), POLLIN | POLLOUT), 0);
  Fd client = ConnectedTo(address(), LocalOf(listener.get()).port());
  EXPECT_EQ(PollNow(listener.get(), POLLIN | POLLOUT), POLLIN);
  EXPECT_EQ(GetInt(listener.get(), SOL_SOCKET, SO_ACCEPTCONN), 1);
  EXPECT_EQ(GetInt(client.get(), SOL_SOCKET, SO_ACCEPTCONN), 0);
}

TEST_P(TcpTest, AcceptWaitsForAConnection) {
  Fd listener = Listener(address());
  int port = LocalOf(listener.get()).port();
  std::thread connector([&] { Fd client = ConnectedTo(address(), port); });
  Fd server(accept(listener.get(), nullptr, nullptr));
  EXPECT_GE(server.get(), 0);
  connector.join();
  fcntl(listener.get(), F_SETFL, O_NONBLOCK);
  EXPECT_ERRNO(EAGAIN, accept(listener.get(), nullptr, nullptr));
}

TEST_P(TcpTest, ConnectToAnyIsToThisHost) {
  Fd listener = Listener(address());
  Fd client = ConnectedTo(family() == AF_INET ? "0.0.0.0" : "::", LocalOf(listener.get()).port());
  EXPECT_EQ(PeerOf(client.get()).text(), address());
}

TEST_P(TcpTest, SocketConnectsToItself) {
  Fd fd = Bound(address(), SOCK_STREAM);
  Inet self = LocalOf(fd.get());
  ASSERT_EQ(connect(fd.get(), self.get(), self.length), 0) << strerror(errno);
  EXPECT_EQ(SendText(fd.get(), "echo"), 4);
  EXPECT_EQ(ReceiveText(fd.get()), "echo");
}

TEST_P(TcpTest, ConnectUnspecDisconnects) {
  TcpPair pair(address());
  sockaddr unspec = {};
  EXPECT_EQ(connect(pair.client.get(), &unspec, sizeof(unspec)), 0);
  char byte;
  EXPECT_ERRNO(ECONNRESET, recv(pair.server.get(), &byte, 1, 0));
  EXPECT_ERRNO(ECONNRESET, recv(pair.client.get(), &byte, 1, 0));
  EXPECT_ERRNO(ENOTCONN, recv(pair.client.get(), &byte, 1, 0));
  Fd listener = Listener(address());
  Inet to(address(), LocalOf(listener.get()).port());
  EXPECT_EQ(connect(pair.client.get(), to.get(), to.length), 0);
}

TEST_P(TcpTest, WrongStatesAreRefused) {
  TcpPair pair(address());
  Inet to = PeerOf(pair.client.get());
  EXPECT_ERRNO(EISCONN, connect(pair.client.get(), to.get(), to.length));
  EXPECT_ERRNO(EINVAL, accept(pair.client.get(), nullptr, nullptr));
  EXPECT_ERRNO(EINVAL, listen(pair.client.get(), 1));
  Fd fresh(socket(family(), SOCK_STREAM, 0));
  char byte = 0;
  Inet peer;
  EXPECT_ERRNO(ENOTCONN, recv(fresh.get(), &byte, 1, 0));
  EXPECT_ERRNO(EPIPE, send(fresh.get(), &byte, 1, MSG_NOSIGNAL));
  EXPECT_ERRNO(ENOTCONN, getpeername(fresh.get(), peer.get(), &peer.length));
  EXPECT_EQ(PollNow(fresh.get(), POLLIN | POLLOUT), POLLOUT | POLLHUP);
  EXPECT_ERRNO(ENOTCONN, shutdown(fresh.get(), SHUT_RDWR));
  EXPECT_EQ(PollNow(fresh.get(), POLLIN | POLLOUT), POLLIN | POLLOUT | POLLHUP);
  Fd listener = Listener(address());
  EXPECT_ERRNO(EISCONN, connect(listener.get(), to.get(), to.length));
  EXPECT_ERRNO(ENOTCONN, recv(listener.get(), &byte, 1, 0));
}

// --- ends ---

TEST_P(TcpTest, ShutdownWriteEndsTheStream) {
  TcpPair pair(address());
  SendText(pair.client.get(), "last");
  EXPECT_EQ(shutdown(pair.client.get(), SHUT_WR), 0);
  EXPECT_EQ(PollNow(pair.server.get(), POLLIN | POLLRDHUP, 10000), POLLIN | POLLRDHUP);
  EXPECT_EQ(ReceiveText(pair.server.get()), "last");
  EXPECT_EQ(ReceiveText(pair.server.get()), "");
  EXPECT_ERRNO(EPIPE, SendText(pair.client.get(), "x"));
  EXPECT_EQ(SendText(pair.server.get(), "answer"), 6);
  EXPECT_EQ(ReceiveText(pair.client.get()), "answer");
  EXPECT_ERRNO(EINVAL, shutdown(pair.client.get(), 3));
}

TEST_P(TcpTest, CloseEndsTheStreamThenResets) {
  TcpPair pair(address());
  SendText(pair.client.get(), "last");
  { Fd gone(std::move(pair.client)); }
  EXPECT_EQ(ReceiveText(pair.server.get()), "last");
  EXPECT_EQ(ReceiveText(pair.server.get()), "");
  // Nobody is there: the first write is answered with a reset, the second finds it.
  EXPECT_EQ(SendText(pair.server.get(), "x"), 1);
  EXPECT_EQ(PollNow(pair.server.get(), POLLOUT | POLLIN, 10000) & (POLLHUP | POLLERR),
            POLLHUP | POLLERR);
  EXPECT_ERRNO(EPIPE, SendText(pair.server.get(), "x"));
}

TEST_P(TcpTest, CloseWithUnreadDataResets) {
  TcpPair pair(address());
  SendText(pair.server.get(), "unread");
  EXPECT_EQ(PollNow(pair.client.get(), POLLIN, 10000), POLLIN);
  { Fd gone(std::move(pair.client)); }
  char byte;
  EXPECT_ERRNO(ECONNRESET, recv(pair.server.get(), &byte, 1, 0));
  EXPECT_EQ(recv(pair.server.get(), &byte, 1, 0), 0);
}

TEST_P(TcpTest, LingerOfZeroResets) {
  TcpPair pair(address());
  linger off = {1, 0};
  setsockopt(pair.client.get(), SOL_SOCKET, SO_LINGER, &off, sizeof(off));
  { Fd gone(std::move(pair.client)); }
  EXPECT_EQ(PollNow(pair.server.get(), POLLIN, 10000), POLLIN | POLLERR | POLLHUP);
  EXPECT_EQ(GetInt(pair.server.get(), SOL_SOCKET, SO_ERROR), ECONNRESET);
}

TEST_P(TcpTest, ClosingAListenerResetsWhoWaits) {
  Fd client(-1);
  {
    Fd listener = Listener(address());
    new (&client) Fd(ConnectedTo(address(), LocalOf(listener.get()).port()));
  }
  char byte;
  EXPECT_ERRNO(ECONNRESET, recv(client.get(), &byte, 1, 0));
}

TEST_P(TcpTest, ShutdownOfAListenerWakesAccept) {
  Fd listener = Listener(address());
  std::thread waiter([&] { EXPECT_ERRNO(EINVAL, accept(listener.get(), nullptr, nullptr)); });
  EXPECT_EQ(shutdown(listener.get(), SHUT_RDWR), 0);
  waiter.join();
  EXPECT_EQ(PollNow(listener.get(), POLLIN) & POLLHUP, POLLHUP);
}

TEST_P(TcpTest, WritingToAClosedEndRaisesSigpipe) {
  int status = InChild([&] {
    TcpPair pair(address());
    shutdown(pair.client.get(), SHUT_WR);
    return static_cast<int>(send(pair.client.get(), "x", 1, 0));
  });
  EXPECT_TRUE(KilledBy(status, SIGPIPE));
}

// --- data ---

TEST_P(TcpTest, LargeTransfersArriveInOrder) {
  TcpPair pair(address());
  std::vector<uint32_t> sent(1 << 20);
  std::iota(sent.begin(), sent.end(), 0u);
  std::thread writer([&] {
    EXPECT_EQ(write(pair.client.get(), sent.data(), sent.size() * 4),
              static_cast<ssize_t>(sent.size() * 4));
    shutdown(pair.client.get(), SHUT_WR);
  });
  std::vector<uint32_t> got(sent.size());
  auto* at = reinterpret_cast<char*>(got.data());
  size_t done = 0;
  for (size_t want = 1; done < got.size() * 4; want = want * 3 % 100003 + 1) {
    ssize_t n = read(pair.server.get(), at + done, std::min(want, got.size() * 4 - done));
    ASSERT_GT(n, 0);
    done += static_cast<size_t>(n);
  }
  writer.join();
  EXPECT_EQ(got, sent);
  EXPECT_EQ(ReceiveText(pair.server.get()), "");
}

TEST_P(TcpTest, FullBufferGivesEagainUntilRead) {
  TcpPair pair(address());
  fcntl(pair.client.get(), F_SETFL, O_NONBLOCK);
  std::vector<char> block(65536);
  size_t sent = 0;
  for (ssize_t n; (n = write(pair.client.get(), block.data(), block.size())) > 0;) {
    sent += static_cast<size_t>(n);
  }
  EXPECT_EQ(errno, EAGAIN);
  EXPECT_EQ(PollNow(pair.client.get(), POLLOUT), 0);
  for (size_t got = 0; got < sent;) {
    ssize_t n = read(pair.server.get(), block.data(), block.size());
    ASSERT_GT(n, 0);
    got += static_cast<size_t>(n);
  }
  EXPECT_EQ(PollNow(pair.client.get(), POLLOUT, 10000), POLLOUT);
}

TEST_P(TcpTest, PeekLeavesTheBytes) {
  TcpPair pair(address());
  SendText(pair.client.get(), "abcdef");
  EXPECT_EQ(ReceiveText(pair.server.get(), 3, MSG_PEEK), "abc");
  int unread = 0;
  EXPECT_EQ(ioctl(pair.server.get(), FIONREAD, &unread), 0);
  EXPECT_EQ(unread, 6);
  EXPECT_EQ(ReceiveText(pair.server.get()), "abcdef");
  EXPECT_ERRNO(EAGAIN, recv(pair.server.get(), &unread, 1, MSG_DONTWAIT));
}

TEST_P(TcpTest, WaitallWaitsForAll) {
  TcpPair pair(address());
  SendText(pair.client.get(), "first");
  std::thread writer([&] { SendText(pair.client.get(), "second"); });
  EXPECT_EQ(ReceiveText(pair.server.get(), 11, MSG_WAITALL), "firstsecond");
  writer.join();
}

TEST_P(TcpTest, TruncDiscardsBytes) {
  TcpPair pair(address());
  SendText(pair.client.get(), "abcdef");
  char untouched[4] = "zzz";
  EXPECT_EQ(recv(pair.server.get(), untouched, 3, MSG_TRUNC), 3);
  EXPECT_STREQ(untouched, "zzz");
  EXPECT_EQ(ReceiveText(pair.server.get()), "def");
}

TEST_P(TcpTest, VectorsAndMessagesGoThrough) {
  TcpPair pair(address());
  char one[] = "one", two[] = "two";
  iovec iov[2] = {{one, 3}, {two, 3}};
  EXPECT_EQ(writev(pair.client.get(), iov, 2), 6);
  msghdr m = {};
  m.msg_iov = iov;
  m.msg_iovlen = 2;
  Inet name;
  m.msg_name = name.get();
  m.msg_namelen = name.length;
  memset(one, 0, sizeof(one));
  EXPECT_EQ(recvmsg(pair.server.get(), &m, 0), 6);
  EXPECT_STREQ(one, "one");
  EXPECT_EQ(m.msg_namelen, 0u);
}

TEST_P(TcpTest, ReceiveTimeoutHolds) {
  TcpPair pair(address());
  timeval tv = {0, 10000};
  setsockopt(pair.server.get(), SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
  char byte;
  EXPECT_ERRNO(EAGAIN, recv(pair.server.get(), &byte, 1, 0));
  EXPECT_ERRNO(EAGAIN, read(pair.server.get(), &byte, 1));
  Fd listener = Listener(address());
  setsockopt(listener.get(), SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
  EXPECT_ERRNO(EAGAIN, accept(listener.get(), nullptr, nullptr));
}

TEST_P(TcpTest, LowWaterMarkHoldsPoll) {
  TcpPair pair(address());
  SetInt(pair.server.get(), SOL_SOCKET, SO_RCVLOWAT, 4);
  SendText(pair.client.get(), "abc");
  EXPECT_EQ(PollNow(pair.server.get(), POLLIN), 0);
  SendText(pair.client.get(), "d");
  EXPECT_EQ(PollNow(pair.server.get(), POLLIN, 10000), POLLIN);
}

TEST_P(TcpTest, BadMemoryIsEfault) {
  TcpPair pair(address());
  EXPECT_ERRNO(EFAULT, send(pair.client.get(), reinterpret_cast<void*>(8), 4, 0));
  SendText(pair.client.get(), "kept");
  EXPECT_ERRNO(EFAULT, recv(pair.server.get(), reinterpret_cast<void*>(8), 4, 0));
  EXPECT_ERRNO(EFAULT, recv(pair.server.get(), reinterpret_cast<void*>(8), 4, MSG_PEEK));
  EXPECT_EQ(ReceiveText(pair.server.get()), "kept");
}

}  // namespace
}  // namespace sandboxd::test
