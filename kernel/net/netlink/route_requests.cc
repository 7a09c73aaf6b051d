#include "kernel/net/netlink/route_requests.h"

#include <linux/capability.h>
#include <linux/fib_rules.h>
#include <linux/if.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>

#include "kernel/net/netlink/netlink_message.h"
#include "kernel/vfs/caller.h"

namespace sandboxd::net {
namespace {

// The request being answered.
struct Request {
  NetworkStack& stack;
  const nlmsghdr& header;
  ConstBytes body;
  uint32_t port;
  bool dump() const { return (header.nlmsg_flags & NLM_F_DUMP) != 0; }  // either bit of it
  uint16_t reply_flags() const { return dump() ? NLM_F_MULTI : 0; }
  // The fixed part; what is missing is zero, as Linux takes it from old programs.
  template <typename T>
  T Fixed() const {
    T value = {};
    memcpy(&value, body.data(), std::min(body.size(), sizeof(T)));
    return value;
  }
  template <typename T>
  ConstBytes Attribute(uint16_t type) const {
    const size_t start = NLMSG_ALIGN(sizeof(T));
    return body.size() <= start ? ConstBytes() : FindAttribute(body.subspan(start), type);
  }
};

// The bytes of an address in its own family.
ConstBytes IpBytes(const InetAddress& a) {
  ConstBytes all = std::as_bytes(std::span(a.ip));
  return a.is_v4() ? all.subspan(12) : all;
}

template <typename Stats>
Stats StatsOf(const Interface& i) {
  Stats s = {};
  using Count = decltype(s.rx_packets);
  s.rx_packets = static_cast<Count>(i.counters.rx_packets);
  s.tx_packets = static_cast<Count>(i.counters.tx_packets);
  s.rx_bytes = static_cast<Count>(i.counters.rx_bytes);
  s.tx_bytes = static_cast<Count>(i.counters.tx_bytes);
  s.rx_errors = static_cast<Count>(i.counters.rx_errors);
  s.tx_errors = static_cast<Count>(i.counters.tx_errors);
  s.rx_dropped = static_cast<Count>(i.counters.rx_dropped);
  s.tx_dropped = static_cast<Count>(i.counters.tx_dropped);
  return s;
}

std::vector<std::byte> LinkMessage(const Request& r, const Interface& i) {
  ifinfomsg info = {};
  info.ifi_family = AF_UNSPEC;
  info.ifi_type = i.type;
  info.ifi_index = i.index;
  info.ifi_flags = i.flags;
  NetlinkMessage m(RTM_NEWLINK, r.reply_flags(), r.header, r.port, info);
  const bool loopback = (i.flags & IFF_LOOPBACK) != 0;
  m.Text(IFLA_IFNAME, i.name);
  m.Attribute(IFLA_TXQLEN, i.queue_length);
  m.Attribute(IFLA_OPERSTATE, static_cast<uint8_t>(loopback ? 0 : 6));  // unknown, or up
  m.Attribute(IFLA_LINKMODE, uint8_t{0});
  m.Attribute(IFLA_MTU, i.mtu);
  m.Attribute(IFLA_GROUP, uint32_t{0});
  m.Attribute(IFLA_PROMISCUITY, uint32_t{0});
  m.Attribute(IFLA_NUM_TX_QUEUES, uint32_t{1});
  m.Attribute(IFLA_NUM_RX_QUEUES, uint32_t{1});
  m.Attribute(IFLA_CARRIER, uint8_t{1});
  m.Text(IFLA_QDISC, "noqueue");
  m.Attribute(IFLA_ADDRESS, i.hardware);
  m.Attribute(IFLA_BROADCAST, i.hardware_broadcast);
  m.Attribute(IFLA_STATS64, StatsOf<rtnl_link_stats64>(i));
  m.Attribute(IFLA_STATS, StatsOf<rtnl_link_stats>(i));
  return m.Finish();
}

Result<NetlinkReplies> Links(const Request& r) {
  NetlinkReplies out;
  const std::vector<Interface> all = r.stack.Interfaces();
  if (r.dump()) {
    for (const Interface& i : all) out.push_back(LinkMessage(r, i));
    return out;
  }
  if (r.body.size() < sizeof(ifinfomsg)) return Errno::kEINVAL;
  const auto wanted = r.Fixed<ifinfomsg>();
  ConstBytes name = r.Attribute<ifinfomsg>(IFLA_IFNAME);
  if (wanted.ifi_index <= 0 && name.empty()) return Errno::kEINVAL;
  std::string_view text(reinterpret_cast<const char*>(name.data()), name.size());
  text = text.substr(0, text.find('\0'));
  for (const Interface& i : all) {
    if (wanted.ifi_index > 0 ? i.index != wanted.ifi_index : i.name != text) continue;
    out.push_back(LinkMessage(r, i));
    return out;
  }
  return Errno::kENODEV;
}

Result<NetlinkReplies> Addresses(const Request& r) {
  if (!r.dump()) return Errno::kEOPNOTSUPP;
  const uint8_t family = r.Fixed<ifaddrmsg>().ifa_family;
  NetlinkReplies out;
  for (bool v4 : {true, false}) {
    if (family != AF_UNSPEC && family != (v4 ? AF_INET : AF_INET6)) continue;
    for (const Interface& i : r.stack.Interfaces()) {
      for (const InterfaceAddress& a : i.addresses) {
        if (a.address.is_v4() != v4) continue;
        ifaddrmsg info = {};
        info.ifa_family = v4 ? AF_INET : AF_INET6;
        info.ifa_prefixlen = static_cast<uint8_t>(a.prefix);
        info.ifa_flags = IFA_F_PERMANENT;
        info.ifa_scope = a.scope;
        info.ifa_index = static_cast<uint32_t>(i.index);
        NetlinkMessage m(RTM_NEWADDR, r.reply_flags(), r.header, r.port, info);
        m.Attribute(IFA_ADDRESS, IpBytes(a.address));
        if (v4) {
          m.Attribute(IFA_LOCAL, IpBytes(a.address));
          m.Text(IFA_LABEL, i.name);
        }
        ifa_cacheinfo forever = {UINT32_MAX, UINT32_MAX, 0, 0};
        m.Attribute(IFA_CACHEINFO, forever);
        m.Attribute(IFA_FLAGS, uint32_t{IFA_F_PERMANENT});
        out.push_back(m.Finish());
      }
    }
  }
  return out;
}

std::vector<std::byte> RouteMessage(const Request& r, const Route& route, uint32_t flags = 0) {
  rtmsg info = {};
  info.rtm_family = static_cast<uint8_t>(route.family);
  info.rtm_dst_len = static_cast<uint8_t>(route.prefix);
  info.rtm_table = route.table;
  info.rtm_protocol = route.protocol;
  info.rtm_scope = route.scope;
  info.rtm_type = route.type;
  info.rtm_flags = flags;
  NetlinkMessage m(RTM_NEWROUTE, r.reply_flags(), r.header, r.port, info);
  m.Attribute(RTA_TABLE, uint32_t{route.table});
  if (route.prefix > 0) m.Attribute(RTA_DST, IpBytes(route.destination));
  if (route.metric != 0) m.Attribute(RTA_PRIORITY, route.metric);
  if (route.preferred != InetAddress()) m.Attribute(RTA_PREFSRC, IpBytes(route.preferred));
  if (route.gateway != InetAddress()) m.Attribute(RTA_GATEWAY, IpBytes(route.gateway));
  m.Attribute(RTA_OIF, uint32_t(route.interface_index));
  return m.Finish();
}

bool Covers(const Route& route, const InetAddress& to) {
  if (route.destination.is_v4() != to.is_v4()) return false;
  const size_t skip = to.is_v4() ? 96 : 0;
  for (size_t bit = skip; bit < skip + static_cast<size_t>(route.prefix); bit++) {
    const uint8_t mask = static_cast<uint8_t>(0x80 >> bit % 8);
    if (((route.destination.ip[bit / 8] ^ to.ip[bit / 8]) & mask) != 0) return false;
  }
  return true;
}

// `ip route get`: the longest prefix that covers it, as a route to that one address.
Result<NetlinkReplies> RouteTo(const Request& r, uint8_t family) {
  ConstBytes bytes = r.Attribute<rtmsg>(RTA_DST);
  InetAddress to;
  if (family == AF_INET && bytes.size() == 4) {
    to = InetAddress::V4(0);
    memcpy(to.ip.data() + 12, bytes.data(), 4);
  } else if (family == AF_INET6 && bytes.size() == 16) {
    memcpy(to.ip.data(), bytes.data(), 16);
  } else {
    return Errno::kEINVAL;
  }
  const Route* best = nullptr;
  const std::vector<Route> routes = r.stack.Routes();
  for (const Route& route : routes) {
    if (route.family != family || !Covers(route, to)) continue;
    if (best == nullptr || route.prefix > best->prefix) best = &route;
  }
  if (best == nullptr) return Errno::kENETUNREACH;
  Route found = *best;
  found.destination = to;
  found.prefix = family == AF_INET ? 32 : 128;
  return NetlinkReplies{RouteMessage(r, found, RTM_F_CLONED)};
}

Result<NetlinkReplies> RoutesOf(const Request& r) {
  const uint8_t family = r.Fixed<rtmsg>().rtm_family;
  if (!r.dump()) return RouteTo(r, family);
  NetlinkReplies out;
  for (const Route& route : r.stack.Routes()) {
    if (family == AF_UNSPEC || family == route.family) out.push_back(RouteMessage(r, route));
  }
  return out;
}

// The rules that every network namespace starts with: ip-rule(8).
Result<NetlinkReplies> Rules(const Request& r) {
  if (!r.dump()) return Errno::kEOPNOTSUPP;
  struct Rule {
    uint8_t family;
    uint8_t table;
    uint32_t priority;
  };
  constexpr Rule kRules[] = {
      {AF_INET, RT_TABLE_LOCAL, 0},       {AF_INET, RT_TABLE_MAIN, 32766},
      {AF_INET, RT_TABLE_DEFAULT, 32767}, {AF_INET6, RT_TABLE_LOCAL, 0},
      {AF_INET6, RT_TABLE_MAIN, 32766},
  };
  const uint8_t family = r.Fixed<rtgenmsg>().rtgen_family;
  NetlinkReplies out;
  for (const Rule& rule : kRules) {
    if (family != AF_UNSPEC && family != rule.family) continue;
    fib_rule_hdr info = {};
    info.family = rule.family;
    info.table = rule.table;
    info.action = FR_ACT_TO_TBL;
    NetlinkMessage m(RTM_NEWRULE, r.reply_flags(), r.header, r.port, info);
    m.Attribute(FRA_TABLE, uint32_t{rule.table});
    m.Attribute(FRA_SUPPRESS_PREFIXLEN, uint32_t{UINT32_MAX});
    m.Attribute(FRA_PROTOCOL, uint8_t{RTPROT_KERNEL});
    if (rule.priority != 0) m.Attribute(FRA_PRIORITY, rule.priority);
    out.push_back(m.Finish());
  }
  return out;
}

}  // namespace

Result<NetlinkReplies> AnswerRouteRequest(NetworkStack& stack, vfs::Caller& c,
                                          const nlmsghdr& header, ConstBytes body, uint32_t port) {
  if (header.nlmsg_type > RTM_MAX) return Errno::kEOPNOTSUPP;
  // Every message type has its NEW, DEL, GET and SET; a body has a family at least.
  if (body.empty()) return NetlinkReplies();
  const bool get = header.nlmsg_type % 4 == RTM_GETLINK % 4;
  if (!get && !c.credentials()->CapableInit(CAP_NET_ADMIN)) return Errno::kEPERM;
  const Request r{stack, header, body, port};
  switch (header.nlmsg_type) {
    case RTM_GETLINK:
      return Links(r);
    case RTM_GETADDR:
      return Addresses(r);
    case RTM_GETROUTE:
      return RoutesOf(r);
    case RTM_GETRULE:
      return Rules(r);
    case RTM_GETNEIGH:
    case RTM_GETQDISC:
      return r.dump() ? Result<NetlinkReplies>(NetlinkReplies()) : Errno::kEOPNOTSUPP;
    default:
      return Errno::kEOPNOTSUPP;
  }
}

}  // namespace sandboxd::net
