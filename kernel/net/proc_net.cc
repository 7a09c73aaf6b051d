#include "kernel/net/proc_net.h"

#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/tcp.h>

#include <algorithm>

#include "platform/base/format.h"

namespace sandboxd::net {
namespace {

using Ull = unsigned long long;

std::string Sockets(NetworkStack& stack, std::string_view table) {
  const bool v6 = table.ends_with('6'), udp = !table.starts_with("tcp");
  const int family = v6 ? AF_INET6 : AF_INET;
  std::string text =
      v6 ? "  sl  local_address                         remote_address                        st "
           "tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode"
      : udp ? "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   "
              "uid  timeout inode"
            : "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   "
              "uid  timeout inode";
  if (udp) text += " ref pointer drops";
  text.resize(std::max<size_t>(text.size(), !v6 ? (udp ? 127 : 149) : text.size()), ' ');
  text += '\n';
  int n = 0;
  for (const SocketRow& row : stack.Sockets(table)) {
    std::string line =
        StrFormat("%*d: %s %s %02X %08X:%08X %02X:%08X %08X %5u %8d %llu %d %016x", udp ? 5 : 4,
                  n++, row.local.ProcText(family).c_str(), row.remote.ProcText(family).c_str(),
                  row.state, row.send_queue, row.receive_queue, 0, 0, 0, row.uid, 0,
                  static_cast<Ull>(row.inode), udp ? 2 : 1, 0);
    if (udp) {
      line += " 0";
    } else if (row.state == TCP_ESTABLISHED) {
      line += " 20 4 30 10 -1";
    } else {
      line += " 100 0 0 10 0";
    }
    if (!v6) line.resize(std::max<size_t>(line.size(), udp ? 127 : 149), ' ');
    text += line + '\n';
  }
  return text;
}

std::string Devices(NetworkStack& stack) {
  std::string text =
      "Inter-|   Receive                                                |  Transmit\n"
      " face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs "
      "drop fifo colls carrier compressed\n";
  for (const Interface& i : stack.Interfaces()) {
    const Interface::Counters& n = i.counters;
    text += StrFormat(
        "%6s: %7llu %7llu %4llu %4llu %4d %5d %10d %9d %8llu %7llu %4llu %4llu %4d %5d %7d %10d\n",
        i.name.c_str(), static_cast<Ull>(n.rx_bytes), static_cast<Ull>(n.rx_packets),
        static_cast<Ull>(n.rx_errors), static_cast<Ull>(n.rx_dropped), 0, 0, 0, 0,
        static_cast<Ull>(n.tx_bytes), static_cast<Ull>(n.tx_packets), static_cast<Ull>(n.tx_errors),
        static_cast<Ull>(n.tx_dropped), 0, 0, 0, 0);
  }
  return text;
}

std::string NameOf(const std::vector<Interface>& all, int index) {
  auto found = std::ranges::find(all, index, &Interface::index);
  return found == all.end() ? "*" : found->name;
}

uint32_t WireV4(const InetAddress& a) { return htonl(a.v4()); }

std::string Routes(NetworkStack& stack) {
  std::string text =
      "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT";
  text.resize(127, ' ');
  text += '\n';
  const std::vector<Interface> interfaces = stack.Interfaces();
  for (const Route& r : stack.Routes()) {
    if (r.family != AF_INET || r.table != RT_TABLE_MAIN) continue;
    const bool gateway = r.gateway.is_v4() && !r.gateway.is_any();
    uint32_t flags = 1u | (gateway ? 2u : 0u) | (r.prefix == 32 ? 4u : 0u);  // RTF_UP…
    uint32_t mask = r.prefix == 0 ? 0 : htonl(~uint32_t{0} << (32 - r.prefix));
    std::string line =
        StrFormat("%s\t%08X\t%08X\t%04X\t0\t0\t%u\t%08X\t0\t0\t0",
                  NameOf(interfaces, r.interface_index).c_str(), WireV4(r.destination),
                  gateway ? WireV4(r.gateway) : 0, flags, r.metric, mask);
    line.resize(std::max<size_t>(line.size(), 127), ' ');
    text += line + '\n';
  }
  return text;
}

std::string HexIp(const InetAddress& a) {
  std::string text;
  for (uint8_t byte : a.ip) text += StrFormat("%02x", byte);
  return text;
}

std::string V6Addresses(NetworkStack& stack) {
  std::string text;
  for (const Interface& i : stack.Interfaces()) {
    for (const InterfaceAddress& a : i.addresses) {
      if (a.address.is_v4()) continue;
      // The scope as IPV6_ADDR_LOOPBACK, LINKLOCAL or global; permanent.
      int scope = a.address.is_loopback() ? 0x10 : a.scope == RT_SCOPE_LINK ? 0x20 : 0;
      text += StrFormat("%s %02x %02x %02x %02x %8s\n", HexIp(a.address).c_str(), i.index, a.prefix,
                        scope, 0x80, i.name.c_str());
    }
  }
  return text;
}

std::string V6Routes(NetworkStack& stack) {
  std::string text;
  const std::vector<Interface> interfaces = stack.Interfaces();
  for (const Route& r : stack.Routes()) {
    if (r.family != AF_INET6) continue;
    const bool local = r.type == RTN_LOCAL, gateway = !r.gateway.is_any();
    uint32_t flags = 1u | (gateway ? 2u : 0u) | (local ? 0x80200000u : 0u);
    text += StrFormat("%s %02x %s %02x %s %08x %08x %08x %08x %8s\n", HexIp(r.destination).c_str(),
                      r.prefix, HexIp(InetAddress()).c_str(), 0, HexIp(r.gateway).c_str(), r.metric,
                      1, 0, flags, NameOf(interfaces, r.interface_index).c_str());
  }
  return text;
}

// sockstat and sockstat6.
std::string Statistics(Network& network, bool v6) {
  NetworkStack& stack = network.stack();
  const char* six = v6 ? "6" : "";
  auto count = [&](const char* table) {
    return static_cast<int>(stack.Sockets(std::string(table) + six).size());
  };
  const int tcp = count("tcp"), udp = count("udp");
  if (v6) {
    return StrFormat(
        "TCP6: inuse %d\nUDP6: inuse %d\nUDPLITE6: inuse 0\nRAW6: inuse 0\n"
        "FRAG6: inuse 0 memory 0\n",
        tcp, udp);
  }
  const std::string unix_text = network.unix_domain().ProcText();
  const int local = static_cast<int>(std::ranges::count(unix_text, '\n')) - 1;
  return StrFormat(
      "sockets: used %d\nTCP: inuse %d orphan 0 tw 0 alloc %d mem 0\n"
      "UDP: inuse %d mem 0\nUDPLITE: inuse 0\nRAW: inuse 0\n"
      "FRAG: inuse 0 memory 0\n",
      tcp + udp + local, tcp, tcp, udp);
}

// What the MIB counters are called; there are no packets to count.
std::string Snmp() {
  std::string text;
  auto add = [&](const char* protocol, std::string_view names, std::string_view values) {
    text += StrFormat("%s: %.*s\n%s: %.*s\n", protocol, static_cast<int>(names.size()),
                      names.data(), protocol, static_cast<int>(values.size()), values.data());
  };
  add("Ip",
      "Forwarding DefaultTTL InReceives InHdrErrors InAddrErrors ForwDatagrams InUnknownProtos "
      "InDiscards InDelivers OutRequests OutDiscards OutNoRoutes ReasmTimeout ReasmReqds ReasmOKs "
      "ReasmFails FragOKs FragFails FragCreates",
      "2 64 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0");
  add("Icmp",
      "InMsgs InErrors InCsumErrors InDestUnreachs InTimeExcds InParmProbs InSrcQuenchs "
      "InRedirects InEchos InEchoReps InTimestamps InTimestampReps InAddrMasks InAddrMaskReps "
      "OutMsgs OutErrors OutRateLimitGlobal OutRateLimitHost OutDestUnreachs OutTimeExcds "
      "OutParmProbs OutSrcQuenchs OutRedirects OutEchos OutEchoReps OutTimestamps "
      "OutTimestampReps OutAddrMasks OutAddrMaskReps",
      "0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0");
  add("Tcp",
      "RtoAlgorithm RtoMin RtoMax MaxConn ActiveOpens PassiveOpens AttemptFails EstabResets "
      "CurrEstab InSegs OutSegs RetransSegs InErrs OutRsts InCsumErrors",
      "1 200 120000 -1 0 0 0 0 0 0 0 0 0 0 0");
  const char* udp =
      "InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors InCsumErrors "
      "IgnoredMulti MemErrors";
  add("Udp", udp, "0 0 0 0 0 0 0 0 0");
  add("UdpLite", udp, "0 0 0 0 0 0 0 0 0");
  return text;
}

}  // namespace

std::vector<std::string> ProcNetFiles() {
  return {"tcp", "tcp6",  "udp",      "udp6",       "raw",      "raw6",      "unix",
          "dev", "route", "if_inet6", "ipv6_route", "sockstat", "sockstat6", "snmp"};
}

std::string ProcNetText(Network& network, std::string_view name) {
  NetworkStack& stack = network.stack();
  if (name == "unix") return network.unix_domain().ProcText();
  if (name == "dev") return Devices(stack);
  if (name == "route") return Routes(stack);
  if (name == "if_inet6") return V6Addresses(stack);
  if (name == "ipv6_route") return V6Routes(stack);
  if (name == "sockstat" || name == "sockstat6") return Statistics(network, name.ends_with('6'));
  if (name == "snmp") return Snmp();
  return Sockets(stack, name);
}

}  // namespace sandboxd::net
