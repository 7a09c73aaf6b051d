// AF_NETLINK with NETLINK_ROUTE: netlink(7), rtnetlink(7), getifaddrs(3).
#include <arpa/inet.h>
#include <ifaddrs.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/socket.h>

#include <cstring>
#include <set>
#include <string>
#include <vector>

#include "test/syscalls/testing.h"

namespace sandboxd::test {
namespace {

Fd RouteSocket() {
  Fd fd(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
  EXPECT_GE(fd.get(), 0);
  return fd;
}

// A message that the kernel sent, copied out of its datagram.
struct Reply {
  nlmsghdr header;
  std::vector<char> body;
  template <typename T>
  T Fixed() const {
    T value = {};
    memcpy(&value, body.data(), std::min(sizeof(value), body.size()));
    return value;
  }
  // The data of an attribute behind a fixed part of this size.
  std::string Attribute(size_t fixed, int type) const {
    size_t left = body.size() > NLMSG_ALIGN(fixed) ? body.size() - NLMSG_ALIGN(fixed) : 0;
    const char* at = body.data() + NLMSG_ALIGN(fixed);
    rtattr attribute;
    while (left >= sizeof(attribute)) {
      memcpy(&attribute, at, sizeof(attribute));
      if (attribute.rta_len < sizeof(attribute) || attribute.rta_len > left) break;
      if (attribute.rta_type == type) {
        return {at + sizeof(attribute), attribute.rta_len - sizeof(attribute)};
      }
      size_t step = std::min<size_t>(RTA_ALIGN(attribute.rta_len), left);
      at += step;
      left -= step;
    }
    return "";
  }
};

// Sends one request and reads until its end: NLMSG_DONE, an error, or one message.
template <typename T>
std::vector<Reply> Ask(int fd, uint16_t type, uint16_t flags, const T& fixed) {
  struct {
    nlmsghdr header;
    T fixed;
  } request = {};
  request.header.nlmsg_len = NLMSG_LENGTH(sizeof(fixed));
  request.header.nlmsg_type = type;
  request.header.nlmsg_flags = NLM_F_REQUEST | flags;
  request.header.nlmsg_seq = 77;
  request.fixed = fixed;
  EXPECT_EQ(send(fd, &request, request.header.nlmsg_len, 0),
            static_cast<ssize_t>(request.header.nlmsg_len));
  std::vector<Reply> replies;
  for (;;) {
    char buffer[16384];
    ssize_t n = recv(fd, buffer, sizeof(buffer), 0);
    EXPECT_GT(n, 0) << strerror(errno);
    if (n <= 0) return replies;
    size_t left = static_cast<size_t>(n);
    for (char* at = buffer; left >= sizeof(nlmsghdr);) {
      Reply r;
      memcpy(&r.header, at, sizeof(r.header));
      if (r.header.nlmsg_len < sizeof(r.header) || r.header.nlmsg_len > left) return replies;
      EXPECT_EQ(r.header.nlmsg_seq, 77u);
      if (r.header.nlmsg_type == NLMSG_DONE) return replies;
      r.body.assign(at + sizeof(r.header), at + r.header.nlmsg_len);
      const bool last = (r.header.nlmsg_flags & NLM_F_MULTI) == 0;
      size_t step = std::min<size_t>(NLMSG_ALIGN(r.header.nlmsg_len), left);
      replies.push_back(std::move(r));
      if (last) return replies;
      at += step;
      left -= step;
    }
  }
}

int ErrorOf(const std::vector<Reply>& replies) {
  if (replies.size() != 1 || replies[0].header.nlmsg_type != NLMSG_ERROR) return 1;
  return -replies[0].Fixed<nlmsgerr>().error;
}

TEST(NetlinkTest, LinksHaveLoopback) {
  Fd fd = RouteSocket();
  bool found = false;
  for (const Reply& r : Ask(fd.get(), RTM_GETLINK, NLM_F_DUMP, rtgenmsg{AF_UNSPEC})) {
    ASSERT_EQ(r.header.nlmsg_type, RTM_NEWLINK);
    auto info = r.Fixed<ifinfomsg>();
    if (r.Attribute(sizeof(info), IFLA_IFNAME) != std::string("lo\0", 3)) continue;
    found = true;
    EXPECT_EQ(info.ifi_index, 1);
    EXPECT_EQ(info.ifi_flags & (IFF_UP | IFF_LOOPBACK), unsigned{IFF_UP | IFF_LOOPBACK});
    EXPECT_EQ(r.Attribute(sizeof(info), IFLA_ADDRESS), std::string(6, '\0'));
    EXPECT_EQ(r.Attribute(sizeof(info), IFLA_MTU).size(), 4u);
  }
  EXPECT_TRUE(found);
}

TEST(NetlinkTest, OneLinkIsFoundByItsIndex) {
  Fd fd = RouteSocket();
  ifinfomsg wanted = {};
  wanted.ifi_index = 1;
  auto replies = Ask(fd.get(), RTM_GETLINK, 0, wanted);
  ASSERT_EQ(replies.size(), 1u);
  EXPECT_EQ(replies[0].header.nlmsg_type, RTM_NEWLINK);
  wanted.ifi_index = 12345;
  EXPECT_EQ(ErrorOf(Ask(fd.get(), RTM_GETLINK, 0, wanted)), ENODEV);
}

TEST(NetlinkTest, AddressesHaveLoopback) {
  Fd fd = RouteSocket();
  std::set<std::string> found;
  for (const Reply& r : Ask(fd.get(), RTM_GETADDR, NLM_F_DUMP, rtgenmsg{AF_UNSPEC})) {
    auto info = r.Fixed<ifaddrmsg>();
    std::string bytes = r.Attribute(sizeof(info), IFA_ADDRESS);
    char text[INET6_ADDRSTRLEN] = "";
    inet_ntop(info.ifa_family, bytes.data(), text, sizeof(text));
    found.insert(std::string(text) + "/" + std::to_string(info.ifa_prefixlen));
  }
  EXPECT_TRUE(found.contains("127.0.0.1/8"));
  EXPECT_TRUE(found.contains("::1/128"));
  for (const Reply& r : Ask(fd.get(), RTM_GETADDR, NLM_F_DUMP, rtgenmsg{AF_INET})) {
    EXPECT_EQ(r.Fixed<ifaddrmsg>().ifa_family, AF_INET);
  }
}

TEST(NetlinkTest, RoutesLeadToThisHost) {
  Fd fd = RouteSocket();
  bool found = false;
  rtmsg all = {};
  all.rtm_family = AF_INET;
  for (const Reply& r : Ask(fd.get(), RTM_GETROUTE, NLM_F_DUMP, all)) {
    auto info = r.Fixed<rtmsg>();
    found |=
        info.rtm_type == RTN_LOCAL && info.rtm_table == RT_TABLE_LOCAL && info.rtm_dst_len == 8;
  }
  EXPECT_TRUE(found);
}

TEST(NetlinkTest, AcknowledgementsAndErrors) {
  Fd fd = RouteSocket();
  ifinfomsg wanted = {};
  wanted.ifi_index = 1;
  auto replies = Ask(fd.get(), RTM_GETLINK, NLM_F_ACK, wanted);
  ASSERT_EQ(replies.size(), 1u);  // the link; then
  char buffer[1024];
  ssize_t n = recv(fd.get(), buffer, sizeof(buffer), 0);
  nlmsghdr header;
  ASSERT_GE(n, static_cast<ssize_t>(sizeof(header) + sizeof(nlmsgerr)));
  memcpy(&header, buffer, sizeof(header));
  EXPECT_EQ(header.nlmsg_type, NLMSG_ERROR);
  EXPECT_EQ(recv(fd.get(), buffer, sizeof(buffer), MSG_DONTWAIT), -1);
  EXPECT_EQ(errno, EAGAIN);
  EXPECT_EQ(ErrorOf(Ask(fd.get(), RTM_MAX + 10, 0, rtgenmsg{AF_UNSPEC})), EOPNOTSUPP);
}

TEST(NetlinkTest, ChangesNeedPrivilege) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root";
  int status = AsUser([] {
    Fd fd = RouteSocket();
    return ErrorOf(Ask(fd.get(), RTM_NEWLINK, NLM_F_ACK, ifinfomsg{})) == EPERM ? 0 : 1;
  });
  EXPECT_TRUE(ExitedWith(status, 0));
}

TEST(NetlinkTest, NamesAreProcessIds) {
  Fd first = RouteSocket(), second = RouteSocket();
  sockaddr_nl any = {}, got = {};
  any.nl_family = AF_NETLINK;
  ASSERT_EQ(bind(first.get(), reinterpret_cast<sockaddr*>(&any), sizeof(any)), 0);
  ASSERT_EQ(bind(second.get(), reinterpret_cast<sockaddr*>(&any), sizeof(any)), 0);
  socklen_t length = sizeof(got);
  ASSERT_EQ(getsockname(first.get(), reinterpret_cast<sockaddr*>(&got), &length), 0);
  EXPECT_EQ(got.nl_pid, static_cast<uint32_t>(getpid()));
  EXPECT_EQ(length, sizeof(got));
  ASSERT_EQ(getsockname(second.get(), reinterpret_cast<sockaddr*>(&got), &length), 0);
  EXPECT_NE(got.nl_pid, static_cast<uint32_t>(getpid()));
  Fd third = RouteSocket();
  any.nl_pid = static_cast<uint32_t>(getpid());
  EXPECT_ERRNO(EADDRINUSE, bind(third.get(), reinterpret_cast<sockaddr*>(&any), sizeof(any)));
  EXPECT_ERRNO(EINVAL, bind(third.get(), reinterpret_cast<sockaddr*>(&any), 4));
}

TEST(NetlinkTest, SendersAndKindsAreChecked) {
  EXPECT_ERRNO(ESOCKTNOSUPPORT, socket(AF_NETLINK, SOCK_STREAM, NETLINK_ROUTE));
  EXPECT_ERRNO(EPROTONOSUPPORT, socket(AF_NETLINK, SOCK_RAW, 1000));
  Fd fd = RouteSocket();
  Ask(fd.get(), RTM_GETLINK, NLM_F_DUMP, rtgenmsg{AF_UNSPEC});
  nlmsghdr noop = {};
  noop.nlmsg_len = sizeof(noop);
  noop.nlmsg_type = NLMSG_NOOP;
  noop.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
  ASSERT_EQ(send(fd.get(), &noop, sizeof(noop), 0), static_cast<ssize_t>(sizeof(noop)));
  sockaddr_nl from = {};
  socklen_t length = sizeof(from);
  char buffer[256];
  EXPECT_GT(
      recvfrom(fd.get(), buffer, sizeof(buffer), 0, reinterpret_cast<sockaddr*>(&from), &length),
      0);
  EXPECT_EQ(from.nl_family, AF_NETLINK);
  EXPECT_EQ(from.nl_pid, 0u);
}

TEST(NetlinkTest, LibraryFindsTheInterfaces) {
  ifaddrs* list = nullptr;
  ASSERT_EQ(getifaddrs(&list), 0) << strerror(errno);
  bool v4 = false, v6 = false;
  for (ifaddrs* i = list; i != nullptr; i = i->ifa_next) {
    if (strcmp(i->ifa_name, "lo") != 0 || i->ifa_addr == nullptr) continue;
    v4 |= i->ifa_addr->sa_family == AF_INET;
    v6 |= i->ifa_addr->sa_family == AF_INET6;
  }
  freeifaddrs(list);
  EXPECT_TRUE(v4);
  EXPECT_TRUE(v6);
  EXPECT_EQ(if_nametoindex("lo"), 1u);
}

}  // namespace
}  // namespace sandboxd::test
