// NetlinkSocket: AF_NETLINK (netlink(7)). A request that is sent is answered at once, into the
// socket's own receive queue.
#pragma once

#include <deque>
#include <set>
#include <utility>

#include "kernel/net/socket.h"
#include "kernel/net/stack.h"
#include "kernel/vfs/vfs.h"
#include "kernel/wait/wait_queue.h"

namespace sandboxd::net {

// The port ids (nl_pid) in use, by protocol.
class NetlinkPorts : public RefCounted {
 public:
  bool Claim(int protocol, uint32_t port);  // false: taken
  void Release(int protocol, uint32_t port);

 private:
  Mutex mutex_{LockRank::kSocketTable};
  std::set<std::pair<int, uint32_t>> used_ GUARDED_BY(mutex_);
};

class NetlinkSocket final : public Socket {
 public:
  // `protocol`: NETLINK_ROUTE or NETLINK_KOBJECT_UEVENT. EPROTONOSUPPORT, ESOCKTNOSUPPORT. `vfs`
  // outlives every socket.
  static Result<Ref<Socket>> Create(vfs::Vfs& vfs, Ref<NetworkStack> stack, Ref<NetlinkPorts> ports,
                                    int type, int protocol, int flags);

  int family() const override { return AF_NETLINK; }
  int type() const override { return type_; }
  int protocol() const override { return protocol_; }

  Result<void> Bind(vfs::Caller& c, const SocketAddress& address) override;
  Result<void> Listen(vfs::Caller&, int) override { return Errno::kEOPNOTSUPP; }
  Result<void> Connect(vfs::Caller& c, const SocketAddress& address) override;
  Result<Ref<Socket>> Accept(vfs::Caller&, int) override { return Errno::kEOPNOTSUPP; }
  Result<void> Shutdown(int) override { return Errno::kEOPNOTSUPP; }
  Result<SocketAddress> LocalAddress() override;
  Result<SocketAddress> PeerAddress() override;
  Result<size_t> Send(vfs::Caller& c, mm::IoSource& data, SendRequest& request) override;
  Result<Received> Receive(vfs::Caller& c, mm::IoSink& data, int flags) override;
  Result<std::vector<std::byte>> GetOption(vfs::Caller& c, int level, int name,
                                           size_t room) override;
  Result<void> SetOption(vfs::Caller& c, int level, int name, ConstBytes value) override;
  wait::EventMask Poll(wait::EventMask interest) override;
  void AddWaiter(wait::WaitEntry& entry, wait::EventMask mask, bool exclusive) override;

 private:
  template <typename T, typename... Args>
  friend Ref<T> sandboxd::MakeRef(Args&&...);
  NetlinkSocket(vfs::Path path, Ref<NetworkStack> stack, Ref<NetlinkPorts> ports, int type,
                int protocol, int flags);
  ~NetlinkSocket() override;

  using Datagram = std::vector<std::byte>;
  Result<void> BindPort(uint32_t port);
  Result<void> AutoBind(vfs::Caller& c);
  void Answer(vfs::Caller& c, ConstBytes message);
  // Into the receive queue, several in one datagram where they fit.
  void Queue(std::vector<Datagram> messages);
  Datagram Acknowledgement(ConstBytes request, int error);
  uint32_t port() const;

  const Ref<NetworkStack> stack_;
  const Ref<NetlinkPorts> ports_;
  const int type_;
  const int protocol_;
  wait::WaitQueue waiters_;
  mutable Mutex mutex_{LockRank::kSocket};
  uint32_t port_ GUARDED_BY(mutex_) = 0;
  uint32_t groups_ GUARDED_BY(mutex_) = 0;
  uint32_t peer_port_ GUARDED_BY(mutex_) = 0;
  uint32_t peer_groups_ GUARDED_BY(mutex_) = 0;
  uint32_t options_ GUARDED_BY(mutex_) = 0;  // booleans of SOL_NETLINK, by number
  std::deque<Datagram> queue_ GUARDED_BY(mutex_);
};

}  // namespace sandboxd::net
