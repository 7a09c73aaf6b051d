#include "kernel/net/inet/tcp_info.h"

#include <linux/tcp.h>

#include "platform/base/types.h"

namespace sandboxd::net {
namespace {
constexpr uint8_t kListen = 10;       // TCP_LISTEN
constexpr uint32_t kSegment = 65483;  // of the loopback interface
}  // namespace

std::vector<std::byte> TcpInfo(const TcpFacts& facts) {
  tcp_info info = {};
  info.tcpi_state = static_cast<uint8_t>(facts.state);
  info.tcpi_options = TCPI_OPT_TIMESTAMPS | TCPI_OPT_SACK | TCPI_OPT_WSCALE;
  info.tcpi_snd_wscale = 7;
  info.tcpi_rcv_wscale = 7;
  info.tcpi_rto = 204000;
  info.tcpi_ato = 40000;
  info.tcpi_snd_mss = info.tcpi_rcv_mss = info.tcpi_advmss = kSegment;
  info.tcpi_pmtu = 65535;
  info.tcpi_rcv_ssthresh = info.tcpi_rcv_space = kSegment;
  info.tcpi_snd_ssthresh = 0x7fffffff;
  info.tcpi_snd_cwnd = 10;
  info.tcpi_rtt = 20;
  info.tcpi_rttvar = 10;
  info.tcpi_reordering = 3;
  if (info.tcpi_state == kListen) {
    info.tcpi_unacked = facts.pending;
    info.tcpi_sacked = facts.backlog;
  }
  ConstBytes bytes = AsBytes(info);
  return {bytes.begin(), bytes.end()};
}

}  // namespace sandboxd::net
