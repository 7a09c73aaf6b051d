// UDP over the loopback interface: udp(7), ip(7), ipv6(7), and the interface ioctls (netdevice(7)).
#include <time.h>
// After it:
#include <linux/errqueue.h>
#include <net/if.h>

#include <algorithm>
#include <thread>
#include <vector>

#include "test/syscalls/inet_testing.h"

namespace sandboxd::test {
namespace {

class UdpTest : public testing::TestWithParam<const char*> {
 protected:
  const char* address() const { return GetParam(); }
  int family() const { return FamilyOf(address()); }
};
INSTANTIATE_TEST_SUITE_P(Addresses, UdpTest, testing::Values("127.0.0.1", "::1"),
                         [](const auto& info) {
                           return info.param[0] == ':' ? std::string("V6") : std::string("V4");
                         });

ssize_t SendTo(int fd, Inet to, const std::string& text) {
  return sendto(fd, text.data(), text.size(), 0, to.get(), to.length);
}

// What recvmsg gives besides the bytes.
struct Message {
  char bytes[200] = {};
  char control[400] = {};
  Inet from;
  msghdr header = {};
  ssize_t length = -1;

  explicit Message(int fd, int flags = 0, size_t room = sizeof(bytes)) {
    iovec iov = {bytes, room};
    header.msg_iov = &iov;
    header.msg_iovlen = 1;
    header.msg_name = from.get();
    header.msg_namelen = from.length;
    header.msg_control = control;
    header.msg_controllen = sizeof(control);
    length = recvmsg(fd, &header, flags);
  }
  // The data of a control message; empty if there is none.
  std::string Control(int level, int type) {
    for (cmsghdr* c = CMSG_FIRSTHDR(&header); c != nullptr; c = CMSG_NXTHDR(&header, c)) {
      if (c->cmsg_level != level || c->cmsg_type != type) continue;
      return {reinterpret_cast<char*>(CMSG_DATA(c)), c->cmsg_len - CMSG_LEN(0)};
    }
    return "";
  }
};

template <typename T>
T As(const std::string& bytes) {
  T value = {};
  EXPECT_GE(bytes.size(), sizeof(T));
  memcpy(&value, bytes.data(), std::min(bytes.size(), sizeof(T)));
  return value;
}

TEST_P(UdpTest, DatagramsKeepTheirEdges) {
  Fd receiver = Bound(address(), SOCK_DGRAM);
  Fd sender(socket(family(), SOCK_DGRAM, 0));
  Inet to = LocalOf(receiver.get());
  EXPECT_EQ(SendTo(sender.get(), to, "one"), 3);
  EXPECT_EQ(SendTo(sender.get(), to, ""), 0);
  EXPECT_EQ(SendTo(sender.get(), to, "three"), 5);
  EXPECT_EQ(ReceiveText(receiver.get()), "one");
  EXPECT_EQ(ReceiveText(receiver.get()), "");
  EXPECT_EQ(ReceiveText(receiver.get()), "three");
  EXPECT_ERRNO(EAGAIN, recv(receiver.get(), &to, 1, MSG_DONTWAIT));
}

TEST_P(UdpTest, SenderIsNamed) {
  Fd receiver = Bound(address(), SOCK_DGRAM);
  Fd sender = Bound(address(), SOCK_DGRAM);
  SendTo(sender.get(), LocalOf(receiver.get()), "x");
  Inet from;
  char byte;
  EXPECT_EQ(recvfrom(receiver.get(), &byte, 1, 0, from.get(), &from.length), 1);
  EXPECT_EQ(from.port(), LocalOf(sender.get()).port());
  EXPECT_EQ(from.text(), address());
}

TEST_P(UdpTest, SendingTakesAPort) {
  Fd receiver = Bound(address(), SOCK_DGRAM);
  Fd sender(socket(family(), SOCK_DGRAM, 0));
  EXPECT_EQ(LocalOf(sender.get()).port(), 0);
  SendTo(sender.get(), LocalOf(receiver.get()), "x");
  EXPECT_NE(LocalOf(sender.get()).port(), 0);
  EXPECT_EQ(LocalOf(sender.get()).text(), family() == AF_INET ? "0.0.0.0" : "::");
}

TEST_P(UdpTest, ConnectedSocketHearsItsPeerOnly) {
  Fd a = Bound(address(), SOCK_DGRAM), b = Bound(address(), SOCK_DGRAM);
  Fd stranger = Bound(address(), SOCK_DGRAM);
  Inet to = LocalOf(b.get());
  ASSERT_EQ(connect(a.get(), to.get(), to.length), 0);
  SendTo(stranger.get(), LocalOf(a.get()), "stranger");
  SendTo(b.get(), LocalOf(a.get()), "peer");
  EXPECT_EQ(ReceiveText(a.get()), "peer");
  EXPECT_EQ(SendText(a.get(), "back"), 4);
  EXPECT_EQ(ReceiveText(b.get()), "back");
  EXPECT_EQ(PeerOf(a.get()).port(), to.port());
  sockaddr unspec = {};
  EXPECT_EQ(connect(a.get(), &unspec, sizeof(unspec)), 0);
  Inet peer;
  EXPECT_ERRNO(ENOTCONN, getpeername(a.get(), peer.get(), &peer.length));
}

TEST_P(UdpTest, NobodyThereIsTold) {
  int port;
  {
    Fd gone = Bound(address(), SOCK_DGRAM);
    port = LocalOf(gone.get()).port();
  }
  Fd fd = ConnectedTo(address(), port, SOCK_DGRAM);
  EXPECT_EQ(SendText(fd.get(), "x"), 1);
  EXPECT_EQ(PollNow(fd.get(), POLLIN, 10000) & POLLERR, POLLERR);
  EXPECT_ERRNO(ECONNREFUSED, SendText(fd.get(), "x"));
  EXPECT_EQ(SendText(fd.get(), "x"), 1);
  char byte;
  EXPECT_ERRNO(ECONNREFUSED, recv(fd.get(), &byte, 1, 0));
  // Without a connection nobody listens to the error.
  Fd loose(socket(family(), SOCK_DGRAM, 0));
  EXPECT_EQ(SendTo(loose.get(), Inet(address(), port), "x"), 1);
  EXPECT_EQ(SendTo(loose.get(), Inet(address(), port), "x"), 1);
}

TEST_P(UdpTest, ErrorQueueHasTheDatagram) {
  int port;
  {
    Fd gone = Bound(address(), SOCK_DGRAM);
    port = LocalOf(gone.get()).port();
  }
  Fd fd(socket(family(), SOCK_DGRAM, 0));
  const bool v4 = family() == AF_INET;
  const int level = v4 ? IPPROTO_IP : IPPROTO_IPV6, name = v4 ? IP_RECVERR : IPV6_RECVERR;
  ASSERT_EQ(SetInt(fd.get(), level, name, 1), 0);
  EXPECT_EQ(SendTo(fd.get(), Inet(address(), port), "lost"), 4);
  EXPECT_EQ(PollNow(fd.get(), POLLIN, 10000) & POLLERR, POLLERR);
  Message m(fd.get(), MSG_ERRQUEUE);
  ASSERT_EQ(m.length, 4) << strerror(errno);
  EXPECT_EQ(std::string(m.bytes, 4), "lost");
  EXPECT_EQ(m.from.port(), port);
  EXPECT_EQ(m.header.msg_flags & MSG_ERRQUEUE, MSG_ERRQUEUE);
  auto error = As<sock_extended_err>(m.Control(level, name));
  EXPECT_EQ(error.ee_errno, static_cast<unsigned>(ECONNREFUSED));
  EXPECT_EQ(error.ee_origin, v4 ? SO_EE_ORIGIN_ICMP : SO_EE_ORIGIN_ICMP6);
  Message none(fd.get(), MSG_ERRQUEUE);
  EXPECT_EQ(none.length, -1);
  EXPECT_EQ(errno, EAGAIN);
}

TEST_P(UdpTest, PeekAndTruncation) {
  Fd receiver = Bound(address(), SOCK_DGRAM);
  Fd sender = ConnectedTo(address(), LocalOf(receiver.get()).port(), SOCK_DGRAM);
  SendText(sender.get(), "abcdef");
  EXPECT_EQ(ReceiveText(receiver.get(), 3, MSG_PEEK), "abc");
  int unread = 0;
  EXPECT_EQ(ioctl(receiver.get(), FIONREAD, &unread), 0);
  EXPECT_EQ(unread, 6);
  char small[3];
  EXPECT_EQ(recv(receiver.get(), small, 3, MSG_PEEK | MSG_TRUNC), 6);
  Message m(receiver.get(), 0, 3);
  EXPECT_EQ(m.length, 3);
  EXPECT_EQ(m.header.msg_flags, MSG_TRUNC);
  EXPECT_EQ(PollNow(receiver.get(), POLLIN), 0);
}

TEST_P(UdpTest, SizesAreLimited) {
  Fd receiver = Bound(address(), SOCK_DGRAM);
  Fd sender = ConnectedTo(address(), LocalOf(receiver.get()).port(), SOCK_DGRAM);
  EXPECT_ERRNO(EMSGSIZE, SendText(sender.get(), std::string(70000, 'x')));
  EXPECT_EQ(SendText(sender.get(), std::string(65000, 'x')), 65000);
  EXPECT_EQ(ReceiveText(receiver.get(), 70000).size(), 65000u);
}

TEST_P(UdpTest, FullQueueDropsSilently) {
  Fd receiver = Bound(address(), SOCK_DGRAM);
  SetInt(receiver.get(), SOL_SOCKET, SO_RCVBUF, 4096);
  Fd sender = ConnectedTo(address(), LocalOf(receiver.get()).port(), SOCK_DGRAM);
  for (int i = 0; i < 100; i++) EXPECT_EQ(SendText(sender.get(), std::string(1000, 'x')), 1000);
  int got = 0;
  for (char b[1000]; recv(receiver.get(), b, sizeof(b), MSG_DONTWAIT) > 0;) got++;
  EXPECT_GT(got, 0);
  EXPECT_LT(got, 100);
}

TEST_P(UdpTest, WrongCallsAreRefused) {
  Fd fd(socket(family(), SOCK_DGRAM, 0));
  EXPECT_ERRNO(EDESTADDRREQ, SendText(fd.get(), "x"));
  EXPECT_ERRNO(EINVAL, SendTo(fd.get(), Inet(address(), 0), "x"));
  EXPECT_ERRNO(EOPNOTSUPP, listen(fd.get(), 1));
  EXPECT_ERRNO(EOPNOTSUPP, accept(fd.get(), nullptr, nullptr));
  EXPECT_ERRNO(ENOTCONN, shutdown(fd.get(), SHUT_RD));
  EXPECT_ERRNO(EFAULT, sendto(fd.get(), reinterpret_cast<void*>(8), 4, 0, Inet(address(), 9).get(),
                              Inet(address(), 9).length));
}

TEST_P(UdpTest, ShutdownReadEndsReceiving) {
  Fd receiver = Bound(address(), SOCK_DGRAM);
  Fd fd = ConnectedTo(address(), LocalOf(receiver.get()).port(), SOCK_DGRAM);
  std::thread waiter([&] { EXPECT_EQ(ReceiveText(fd.get()), ""); });
  EXPECT_EQ(shutdown(fd.get(), SHUT_RD), 0);
  waiter.join();
  EXPECT_EQ(SendText(fd.get(), "still"), 5);
  EXPECT_EQ(shutdown(fd.get(), SHUT_WR), 0);
  EXPECT_ERRNO(EPIPE, SendText(fd.get(), "x"));
}

TEST_P(UdpTest, PacketInfoTellsTheAddress) {
  Fd receiver = Bound(address(), SOCK_DGRAM);
  Fd sender = ConnectedTo(address(), LocalOf(receiver.get()).port(), SOCK_DGRAM);
  if (family() == AF_INET) {
    SetInt(receiver.get(), IPPROTO_IP, IP_PKTINFO, 1);
    SetInt(receiver.get(), IPPROTO_IP, IP_RECVTTL, 1);
    SetInt(receiver.get(), IPPROTO_IP, IP_RECVTOS, 1);
    SetInt(sender.get(), IPPROTO_IP, IP_TTL, 7);
    SendText(sender.get(), "x");
    Message m(receiver.get());
    auto info = As<in_pktinfo>(m.Control(IPPROTO_IP, IP_PKTINFO));
    EXPECT_EQ(info.ipi_ifindex, static_cast<int>(if_nametoindex("lo")));
    EXPECT_EQ(ntohl(info.ipi_addr.s_addr), INADDR_LOOPBACK);
    EXPECT_EQ(As<int>(m.Control(IPPROTO_IP, IP_TTL)), 7);
    EXPECT_EQ(m.Control(IPPROTO_IP, IP_TOS).size(), 1u);
  } else {
    SetInt(receiver.get(), IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
    SetInt(receiver.get(), IPPROTO_IPV6, IPV6_RECVHOPLIMIT, 1);
    SetInt(receiver.get(), IPPROTO_IPV6, IPV6_RECVTCLASS, 1);
    SetInt(sender.get(), IPPROTO_IPV6, IPV6_UNICAST_HOPS, 7);
    SendText(sender.get(), "x");
    Message m(receiver.get());
    EXPECT_EQ(m.Control(IPPROTO_IPV6, IPV6_PKTINFO).size(), 20u);
    EXPECT_EQ(As<int>(m.Control(IPPROTO_IPV6, IPV6_HOPLIMIT)), 7);
    EXPECT_EQ(As<int>(m.Control(IPPROTO_IPV6, IPV6_TCLASS)), 0);
  }
}

TEST_P(UdpTest, TimestampsComeAlong) {
  Fd receiver = Bound(address(), SOCK_DGRAM);
  SetInt(receiver.get(), SOL_SOCKET, SO_TIMESTAMP, 1);
  Fd sender = ConnectedTo(address(), LocalOf(receiver.get()).port(), SOCK_DGRAM);
  timeval before, after;
  gettimeofday(&before, nullptr);
  SendText(sender.get(), "x");
  Message m(receiver.get());
  gettimeofday(&after, nullptr);
  auto tv = As<timeval>(m.Control(SOL_SOCKET, SCM_TIMESTAMP));
  EXPECT_LE(before.tv_sec, tv.tv_sec);
  EXPECT_GE(after.tv_sec, tv.tv_sec);
}

TEST_P(UdpTest, ReuseAddressSharesAPort) {
  auto reusing = [&](int option) {
    Fd fd(socket(family(), SOCK_DGRAM, 0));
    if (option != 0) SetInt(fd.get(), SOL_SOCKET, option, 1);
    return fd;
  };
  Fd first = reusing(SO_REUSEADDR), second = reusing(SO_REUSEADDR), third = reusing(0);
  Inet at(address(), 0);
  ASSERT_EQ(bind(first.get(), at.get(), at.length), 0);
  at = LocalOf(first.get());
  EXPECT_EQ(bind(second.get(), at.get(), at.length), 0);
  EXPECT_ERRNO(EADDRINUSE, bind(third.get(), at.get(), at.length));
}

TEST(UdpAddressTest, V6SocketHearsV4) {
  Fd receiver = Bound("::", SOCK_DGRAM);
  Fd sender = ConnectedTo("127.0.0.1", LocalOf(receiver.get()).port(), SOCK_DGRAM);
  SendText(sender.get(), "x");
  Message m(receiver.get());
  EXPECT_EQ(m.length, 1);
  EXPECT_EQ(m.from.text(), "::ffff:127.0.0.1");
  // And answers.
  EXPECT_EQ(SendTo(receiver.get(), m.from, "back"), 4);
  EXPECT_EQ(ReceiveText(sender.get()), "back");
}

TEST(UdpAddressTest, BroadcastNeedsTheOption) {
  Fd fd(socket(AF_INET, SOCK_DGRAM, 0));
  EXPECT_ERRNO(EACCES, SendTo(fd.get(), Inet("255.255.255.255", 9), "x"));
}

TEST(UdpAddressTest, PingSocketsAreNotForEverybody) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root";
  int status =
      AsUser([] { return socket(AF_INET, SOCK_RAW, IPPROTO_TCP) == -1 && errno == EPERM ? 0 : 1; });
  EXPECT_TRUE(ExitedWith(status, 0));
}

TEST(UdpAddressTest, MulticastReachesItsMembers) {
  Fd receiver = Bound("0.0.0.0", SOCK_DGRAM), other = Bound("0.0.0.0", SOCK_DGRAM);
  ip_mreqn group = {};
  ASSERT_EQ(inet_pton(AF_INET, "224.0.2.3", &group.imr_multiaddr), 1);
  group.imr_ifindex = 1;
  EXPECT_ERRNO(EADDRNOTAVAIL,
               setsockopt(receiver.get(), IPPROTO_IP, IP_DROP_MEMBERSHIP, &group, sizeof(group)));
  ASSERT_EQ(setsockopt(receiver.get(), IPPROTO_IP, IP_ADD_MEMBERSHIP, &group, sizeof(group)), 0);
  EXPECT_ERRNO(EADDRINUSE,
               setsockopt(receiver.get(), IPPROTO_IP, IP_ADD_MEMBERSHIP, &group, sizeof(group)));
  Fd sender(socket(AF_INET, SOCK_DGRAM, 0));
  ASSERT_EQ(setsockopt(sender.get(), IPPROTO_IP, IP_MULTICAST_IF, &group, sizeof(group)), 0);
  EXPECT_EQ(SendTo(sender.get(), Inet("224.0.2.3", LocalOf(receiver.get()).port()), "all"), 3);
  EXPECT_EQ(ReceiveText(receiver.get()), "all");
  EXPECT_EQ(PollNow(other.get(), POLLIN), 0);
  group.imr_multiaddr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_ERRNO(EINVAL,
               setsockopt(receiver.get(), IPPROTO_IP, IP_ADD_MEMBERSHIP, &group, sizeof(group)));
}

// --- interfaces ---

TEST(InterfaceTest, LoopbackIsThere) {
  Fd fd(socket(AF_INET, SOCK_DGRAM, 0));
  ifreq r = {};
  strcpy(r.ifr_name, "lo");
  ASSERT_EQ(ioctl(fd.get(), SIOCGIFFLAGS, &r), 0);
  EXPECT_EQ(r.ifr_flags & (IFF_UP | IFF_LOOPBACK), IFF_UP | IFF_LOOPBACK);
  ASSERT_EQ(ioctl(fd.get(), SIOCGIFADDR, &r), 0);
  EXPECT_EQ(ntohl(reinterpret_cast<sockaddr_in*>(&r.ifr_addr)->sin_addr.s_addr), INADDR_LOOPBACK);
  ASSERT_EQ(ioctl(fd.get(), SIOCGIFNETMASK, &r), 0);
  EXPECT_EQ(ntohl(reinterpret_cast<sockaddr_in*>(&r.ifr_addr)->sin_addr.s_addr), 0xff000000u);
  ASSERT_EQ(ioctl(fd.get(), SIOCGIFMTU, &r), 0);
  EXPECT_EQ(r.ifr_mtu, 65536);
  ASSERT_EQ(ioctl(fd.get(), SIOCGIFINDEX, &r), 0);
  int index = r.ifr_ifindex;
  memset(r.ifr_name, 0, sizeof(r.ifr_name));
  ASSERT_EQ(ioctl(fd.get(), SIOCGIFNAME, &r), 0);
  EXPECT_STREQ(r.ifr_name, "lo");
  EXPECT_EQ(index, 1);
  strcpy(r.ifr_name, "nosuch0");
  EXPECT_ERRNO(ENODEV, ioctl(fd.get(), SIOCGIFFLAGS, &r));
}

TEST(InterfaceTest, ConfListsLoopback) {
  Fd fd(socket(AF_INET, SOCK_DGRAM, 0));
  ifreq all[16] = {};
  ifconf conf = {};
  EXPECT_EQ(ioctl(fd.get(), SIOCGIFCONF, &conf), 0);
  EXPECT_GE(conf.ifc_len, static_cast<int>(sizeof(ifreq)));
  conf.ifc_len = sizeof(all);
  conf.ifc_req = all;
  ASSERT_EQ(ioctl(fd.get(), SIOCGIFCONF, &conf), 0);
  EXPECT_STREQ(all[0].ifr_name, "lo");
}

TEST(ProcNetTest, SocketsAreListed) {
  Fd listener = Listener("127.0.0.1");
  char entry[64];
  snprintf(entry, sizeof(entry), "0100007F:%04X 00000000:0000 0A", LocalOf(listener.get()).port());
  EXPECT_NE(ReadFile("/proc/net/tcp").find(entry), std::string::npos);
  Fd six = Bound("::1", SOCK_DGRAM);
  snprintf(entry, sizeof(entry), "00000000000000000000000001000000:%04X",
           LocalOf(six.get()).port());
  EXPECT_NE(ReadFile("/proc/net/udp6").find(entry), std::string::npos);
  EXPECT_NE(ReadFile("/proc/net/dev").find("lo:"), std::string::npos);
  EXPECT_NE(ReadFile("/proc/net/if_inet6").find("00000000000000000000000000000001 01 80 10 80"),
            std::string::npos);
  EXPECT_NE(ReadFile("/proc/net/sockstat").find("TCP: inuse"), std::string::npos);
}

}  // namespace
}  // namespace sandboxd::test
