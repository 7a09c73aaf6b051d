// Options and names of TCP sockets: tcp(7), ip(7), ipv6(7), bind(2).
#include <vector>

#include "test/syscalls/inet_testing.h"

namespace sandboxd::test {
namespace {

class TcpOptionTest : public testing::TestWithParam<const char*> {
 protected:
  const char* address() const { return GetParam(); }
  int family() const { return FamilyOf(address()); }
};
INSTANTIATE_TEST_SUITE_P(Addresses, TcpOptionTest, testing::Values("127.0.0.1", "::1"),
                         [](const auto& info) {
                           return info.param[0] == ':' ? std::string("V6") : std::string("V4");
                         });

// --- options ---

TEST_P(TcpOptionTest, OptionsAreKeptAndInherited) {
  Fd listener = Bound(address(), SOCK_STREAM);
  EXPECT_EQ(GetInt(listener.get(), IPPROTO_TCP, TCP_NODELAY), 0);
  EXPECT_EQ(SetInt(listener.get(), IPPROTO_TCP, TCP_NODELAY, 1), 0);
  EXPECT_EQ(SetInt(listener.get(), SOL_SOCKET, SO_KEEPALIVE, 1), 0);
  EXPECT_EQ(SetInt(listener.get(), IPPROTO_TCP, TCP_KEEPIDLE, 33), 0);
  EXPECT_EQ(listen(listener.get(), 1), 0);
  Fd client = ConnectedTo(address(), LocalOf(listener.get()).port());
  Fd server(accept(listener.get(), nullptr, nullptr));
  EXPECT_EQ(GetInt(server.get(), IPPROTO_TCP, TCP_NODELAY), 1);
  EXPECT_EQ(GetInt(server.get(), SOL_SOCKET, SO_KEEPALIVE), 1);
  EXPECT_EQ(GetInt(server.get(), IPPROTO_TCP, TCP_KEEPIDLE), 33);
  EXPECT_EQ(GetInt(client.get(), IPPROTO_TCP, TCP_KEEPIDLE), 7200);
}

TEST_P(TcpOptionTest, OptionsAreChecked) {
  Fd fd(socket(family(), SOCK_STREAM, 0));
  EXPECT_ERRNO(EINVAL, SetInt(fd.get(), IPPROTO_TCP, TCP_KEEPIDLE, 0));
  EXPECT_ERRNO(EINVAL, SetInt(fd.get(), IPPROTO_TCP, TCP_KEEPCNT, 128));
  EXPECT_ERRNO(EINVAL, SetInt(fd.get(), IPPROTO_IP, IP_TTL, 256));
  EXPECT_ERRNO(ENOPROTOOPT, SetInt(fd.get(), IPPROTO_TCP, 9999, 1));
  char name[16] = {};
  socklen_t length = sizeof(name);
  EXPECT_EQ(getsockopt(fd.get(), IPPROTO_TCP, TCP_CONGESTION, name, &length), 0);
  EXPECT_NE(name[0], '\0');
  EXPECT_ERRNO(ENOENT, setsockopt(fd.get(), IPPROTO_TCP, TCP_CONGESTION, "none-such", 9));
}

TEST_P(TcpOptionTest, InfoTellsTheState) {
  TcpPair pair(address());
  tcp_info info = {};
  socklen_t length = sizeof(info);
  EXPECT_EQ(getsockopt(pair.client.get(), IPPROTO_TCP, TCP_INFO, &info, &length), 0);
  EXPECT_EQ(info.tcpi_state, TCP_ESTABLISHED);
  shutdown(pair.server.get(), SHUT_WR);
  EXPECT_EQ(PollNow(pair.client.get(), POLLRDHUP, 10000), POLLRDHUP);
  EXPECT_EQ(getsockopt(pair.client.get(), IPPROTO_TCP, TCP_INFO, &info, &length), 0);
  EXPECT_EQ(info.tcpi_state, TCP_CLOSE_WAIT);
}

// --- names ---

TEST_P(TcpOptionTest, PortsAreTakenOnce) {
  Fd first = Bound(address(), SOCK_STREAM);
  Inet at(address(), LocalOf(first.get()).port());
  Fd second(socket(family(), SOCK_STREAM, 0));
  EXPECT_ERRNO(EADDRINUSE, bind(second.get(), at.get(), at.length));
  EXPECT_ERRNO(EINVAL, bind(first.get(), at.get(), at.length));
  Inet any(family() == AF_INET ? "0.0.0.0" : "::", at.port());
  EXPECT_ERRNO(EADDRINUSE, bind(second.get(), any.get(), any.length));
}

TEST_P(TcpOptionTest, ReuseAddressSharesUntilSomebodyListens) {
  auto reusing = [&] {
    Fd fd(socket(family(), SOCK_STREAM, 0));
    SetInt(fd.get(), SOL_SOCKET, SO_REUSEADDR, 1);
    return fd;
  };
  Fd first = reusing(), second = reusing(), third = reusing();
  Inet at(address(), 0);
  ASSERT_EQ(bind(first.get(), at.get(), at.length), 0);
  at = LocalOf(first.get());
  EXPECT_EQ(bind(second.get(), at.get(), at.length), 0);
  EXPECT_EQ(listen(first.get(), 1), 0);
  EXPECT_ERRNO(EADDRINUSE, listen(second.get(), 1));
  EXPECT_ERRNO(EADDRINUSE, bind(third.get(), at.get(), at.length));
}

TEST_P(TcpOptionTest, ReusePortSharesListeners) {
  auto reusing = [&] {
    Fd fd(socket(family(), SOCK_STREAM, 0));
    SetInt(fd.get(), SOL_SOCKET, SO_REUSEPORT, 1);
    return fd;
  };
  Fd first = reusing(), second = reusing();
  Inet at(address(), 0);
  ASSERT_EQ(bind(first.get(), at.get(), at.length), 0);
  at = LocalOf(first.get());
  ASSERT_EQ(bind(second.get(), at.get(), at.length), 0);
  EXPECT_EQ(listen(first.get(), 100), 0);
  EXPECT_EQ(listen(second.get(), 100), 0);
  std::vector<Fd> clients;
  for (int i = 0; i < 50; i++) clients.push_back(ConnectedTo(address(), at.port()));
  EXPECT_EQ(PollNow(first.get(), POLLIN), POLLIN);
  EXPECT_EQ(PollNow(second.get(), POLLIN), POLLIN);
}

TEST_P(TcpOptionTest, PortsComeBackWithTheirSocket) {
  int port;
  {
    Fd first = Bound(address(), SOCK_STREAM);
    port = LocalOf(first.get()).port();
  }
  Fd again = Bound(address(), SOCK_STREAM, port);
  EXPECT_EQ(LocalOf(again.get()).port(), port);
}

TEST_P(TcpOptionTest, WhoEndsFirstKeepsThePortAWhile) {
  Fd listener = Listener(address());
  Inet at = LocalOf(listener.get());
  Fd client = ConnectedTo(address(), at.port());
  Inet from = LocalOf(client.get());
  {
    Fd server(accept(listener.get(), nullptr, nullptr));
    Fd first(std::move(client));
  }
  Fd again(socket(family(), SOCK_STREAM, 0));
  EXPECT_ERRNO(EADDRINUSE, bind(again.get(), from.get(), from.length));
}

TEST(InetTest, ForeignAddressesAreRefused) {
  Fd fd(socket(AF_INET, SOCK_STREAM, 0));
  Inet foreign("192.0.2.1", 80);
  EXPECT_ERRNO(EADDRNOTAVAIL, bind(fd.get(), foreign.get(), foreign.length));
  Inet v6("::1", 80);
  EXPECT_ERRNO(EAFNOSUPPORT, connect(fd.get(), v6.get(), v6.length));
  Inet local("127.0.0.1", 80);
  EXPECT_ERRNO(EINVAL, connect(fd.get(), local.get(), 8));
  EXPECT_ERRNO(EINVAL, bind(fd.get(), local.get(), 8));
}

TEST(InetTest, WholeLoopbackNetworkIsLocal) {
  Fd listener = Listener("127.4.5.6");
  Fd client = ConnectedTo("127.4.5.6", LocalOf(listener.get()).port());
  EXPECT_EQ(PeerOf(client.get()).text(), "127.4.5.6");
  EXPECT_EQ(LocalOf(client.get()).text(), "127.0.0.1");
}

TEST(InetTest, V6SocketTakesV4Connections) {
  Fd listener = Listener("::");
  Fd client = ConnectedTo("127.0.0.1", LocalOf(listener.get()).port());
  Inet peer;
  Fd server(accept(listener.get(), peer.get(), &peer.length));
  ASSERT_GE(server.get(), 0);
  EXPECT_EQ(peer.text(), "::ffff:127.0.0.1");
  EXPECT_EQ(LocalOf(server.get()).text(), "::ffff:127.0.0.1");
}

TEST(InetTest, V6OnlySocketLeavesV4Alone) {
  Fd six(socket(AF_INET6, SOCK_STREAM, 0));
  EXPECT_EQ(GetInt(six.get(), IPPROTO_IPV6, IPV6_V6ONLY), 0);
  EXPECT_EQ(SetInt(six.get(), IPPROTO_IPV6, IPV6_V6ONLY, 1), 0);
  Inet any6("::", 0);
  ASSERT_EQ(bind(six.get(), any6.get(), any6.length), 0);
  EXPECT_ERRNO(EINVAL, SetInt(six.get(), IPPROTO_IPV6, IPV6_V6ONLY, 0));
  ASSERT_EQ(listen(six.get(), 1), 0);
  int port = LocalOf(six.get()).port();
  Fd client(socket(AF_INET, SOCK_STREAM, 0));
  Inet to("127.0.0.1", port);
  EXPECT_ERRNO(ECONNREFUSED, connect(client.get(), to.get(), to.length));
  Fd four = Bound("0.0.0.0", SOCK_STREAM, port);
}

TEST(InetTest, V6SocketConnectsToV4Mapped) {
  Fd listener = Listener("127.0.0.1");
  Fd client = ConnectedTo("::ffff:127.0.0.1", LocalOf(listener.get()).port());
  EXPECT_EQ(LocalOf(client.get()).text(), "::ffff:127.0.0.1");
  Fd only(socket(AF_INET6, SOCK_STREAM, 0));
  SetInt(only.get(), IPPROTO_IPV6, IPV6_V6ONLY, 1);
  Inet to("::ffff:127.0.0.1", LocalOf(listener.get()).port());
  EXPECT_ERRNO(ENETUNREACH, connect(only.get(), to.get(), to.length));
}

TEST(InetTest, LowPortsNeedPrivilege) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root";
  int status = AsUser([] {
    Fd fd(socket(AF_INET, SOCK_STREAM, 0));
    Inet low("127.0.0.1", 81);
    return bind(fd.get(), low.get(), low.length) == -1 && errno == EACCES ? 0 : 1;
  });
  EXPECT_TRUE(ExitedWith(status, 0));
}

TEST(InetTest, KindsOfSocketAreChecked) {
  EXPECT_ERRNO(EPROTONOSUPPORT, socket(AF_INET, SOCK_STREAM, IPPROTO_UDP));
  EXPECT_ERRNO(EPROTONOSUPPORT, socket(AF_INET, SOCK_DGRAM, IPPROTO_TCP));
  EXPECT_ERRNO(EINVAL, socket(AF_INET, SOCK_STREAM, -1));
  EXPECT_ERRNO(ESOCKTNOSUPPORT, socket(AF_INET, SOCK_SEQPACKET, 0));
  int fds[2];
  EXPECT_ERRNO(EOPNOTSUPP, socketpair(AF_INET, SOCK_STREAM, 0, fds));
}

}  // namespace
}  // namespace sandboxd::test
