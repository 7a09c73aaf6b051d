// InetSocket: what the TCP and UDP sockets of the loopback stack have in common: addresses of the
// two families, the options of the IP levels.
#pragma once

#include <atomic>
#include <optional>

#include "kernel/net/inet/inet_address.h"
#include "kernel/net/inet/inet_options.h"
#include "kernel/net/inet/port_table.h"
#include "kernel/net/socket.h"
#include "kernel/net/stack.h"
#include "kernel/vfs/vfs.h"

namespace sandboxd::net {

class LoopbackStack;

class InetSocket : public Socket {
 public:
  int family() const override { return family_; }
  int protocol() const override { return options_.protocol(); }
  Result<void> Bind(vfs::Caller& c, const SocketAddress& address) override;
  Result<SocketAddress> LocalAddress() override;
  Result<std::vector<std::byte>> GetOption(vfs::Caller& c, int level, int name,
                                           size_t room) override;
  Result<void> SetOption(vfs::Caller& c, int level, int name, ConstBytes value) override;
  Result<uint64_t> Ioctl(vfs::Caller& c, uint32_t command, uint64_t argument) override;

 protected:
  InetSocket(vfs::Path path, LoopbackStack& stack, int family, int protocol, int flags);

  // --- what the protocol has ---
  virtual PortTable& ports() = 0;
  virtual PortBinding& binding() = 0;
  virtual InetAddress local() const = 0;
  virtual Result<InetAddress> remote() const = 0;  // ENOTCONN
  virtual Result<void> BindTo(const InetAddress& local) = 0;
  virtual size_t readable_bytes() const = 0;
  virtual size_t unsent_bytes() const = 0;

  // Where a connection or datagram to `address` goes: its own form, with "any" replaced by the
  // loopback address. ENETUNREACH, and Decode's errors.
  Result<InetAddress> Destination(const SocketAddress& address) const;
  // Our address towards `to`.
  InetAddress SourceFor(const InetAddress& to) const;
  // ENETUNREACH; EAFNOSUPPORT for an IPv6 address from a socket bound to an IPv4 one.
  Result<void> CheckReach(const InetAddress& to) const;
  InetOptions& options() { return options_; }
  const InetOptions& options() const { return options_; }
  LoopbackStack& stack() const { return *stack_; }
  // Sets up the entry of the port table from options; before the first bind.
  void PrepareBinding(vfs::Caller& c);

 private:
  Result<void> BindToDevice(vfs::Caller& c, ConstBytes value);
  Result<std::vector<std::byte>> GetIpOption(int level, int name, size_t room) const;

  const Ref<LoopbackStack> stack_;
  const int family_;
  InetOptions options_;
  std::atomic<bool> on_loopback_device_{false};  // SO_BINDTODEVICE; relaxed
};

}  // namespace sandboxd::net
