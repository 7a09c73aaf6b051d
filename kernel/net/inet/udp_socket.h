// UDP sockets of the loopback stack (udp(7)): the endpoint, which datagrams are sent to, and the
// open file.
#pragma once

#include <atomic>
#include <deque>
#include <set>
#include <string>

#include "kernel/net/inet/inet_socket.h"
#include "kernel/wait/wait_queue.h"

namespace sandboxd::net {

struct Datagram {
  std::string bytes;
  InetAddress from, to;
  int ttl = 64, traffic_class = 0;
  Nanos time{0};  // CLOCK_REALTIME
};

// An error that IP_RECVERR wants to hear of (ip(7)): an ICMP "port unreachable".
struct DatagramError {
  std::string bytes;  // what was sent
  InetAddress to;     // where to
};

class UdpEndpoint : public RefCounted {
 public:
  explicit UdpEndpoint(PortTable& ports);
  wait::WaitQueue& queue() { return queue_; }
  PortBinding& binding() { return binding_; }

  Result<void> Bind(const InetAddress& local);
  InetAddress local() const;
  Result<InetAddress> remote() const;
  Result<void> Connect(const InetAddress& source, const InetAddress& to);
  void Disconnect();
  Result<void> Shutdown(int how);
  void Close();
  int TakeError();
  // EPIPE after SHUT_WR, and the error of an earlier send.
  Result<void> CheckSend();

  // False if nobody is here.
  bool Deliver(Datagram datagram);
  // IP_MULTICAST_ALL: it hears groups that only others are in.
  bool hears_all_groups() const { return hears_all_groups_.load(std::memory_order_relaxed); }
  void set_hears_all_groups(bool on) { hears_all_groups_.store(on, std::memory_order_relaxed); }
  // Is it in this IPv4 multicast group?
  bool InGroup(uint32_t group) const;
  // EADDRINUSE, EADDRNOTAVAIL.
  Result<void> Join(uint32_t group);
  Result<void> Leave(uint32_t group);
  std::set<uint32_t> groups() const;
  void Refused(DatagramError error, bool connected, bool keep);
  // ENODATA: there will be none (SHUT_RD), which only one who would wait is told.
  Result<Datagram> Take(bool peek, bool nonblocking);
  Result<DatagramError> TakeQueuedError();
  void PutBack(Datagram datagram);

  wait::EventMask Poll() const;
  size_t first_size() const;
  size_t queued_bytes() const;
  void set_limit(size_t bytes);

 private:
  ~UdpEndpoint() override;
  PortTable& ports_;
  std::atomic<bool> hears_all_groups_{true};  // relaxed: an independent word
  wait::WaitQueue queue_;
  PortBinding binding_;  // the table's
  mutable Mutex mutex_{LockRank::kSocket};
  InetAddress bound_ GUARDED_BY(mutex_);
  InetAddress local_ GUARDED_BY(mutex_);
  InetAddress remote_ GUARDED_BY(mutex_);  // port 0: not connected
  bool no_more_in_ GUARDED_BY(mutex_) = false;
  bool no_more_out_ GUARDED_BY(mutex_) = false;
  bool closed_ GUARDED_BY(mutex_) = false;
  int error_ GUARDED_BY(mutex_) = 0;
  std::deque<Datagram> queue_in_ GUARDED_BY(mutex_);
  std::deque<DatagramError> errors_ GUARDED_BY(mutex_);
  size_t queued_ GUARDED_BY(mutex_) = 0;
  std::set<uint32_t> groups_ GUARDED_BY(mutex_);
  size_t limit_ GUARDED_BY(mutex_) = 212992;
};

class UdpSocket final : public InetSocket {
 public:
  static Ref<UdpSocket> Create(vfs::Vfs& vfs, LoopbackStack& stack, int family, int flags);

  int type() const override { return SOCK_DGRAM; }
  UdpEndpoint& endpoint() const { return *endpoint_; }

  Result<void> Listen(vfs::Caller&, int) override { return Errno::kEOPNOTSUPP; }
  Result<void> Connect(vfs::Caller& c, const SocketAddress& address) override;
  Result<Ref<Socket>> Accept(vfs::Caller&, int) override { return Errno::kEOPNOTSUPP; }
  Result<void> Shutdown(int how) override { return endpoint_->Shutdown(how); }
  Result<SocketAddress> PeerAddress() override;
  Result<size_t> Send(vfs::Caller& c, mm::IoSource& data, SendRequest& request) override;
  Result<Received> Receive(vfs::Caller& c, mm::IoSink& data, int flags) override;
  Result<Received> ReceiveError(vfs::Caller& c, mm::IoSink& data) override;
  Result<std::vector<std::byte>> GetOption(vfs::Caller& c, int level, int name,
                                           size_t room) override;
  Result<void> SetOption(vfs::Caller& c, int level, int name, ConstBytes value) override;
  Result<uint64_t> Ioctl(vfs::Caller& c, uint32_t command, uint64_t argument) override;

  void AddRow(std::vector<SocketRow>& rows) const;  // of /proc/net
  wait::EventMask Poll(wait::EventMask interest) override;
  void AddWaiter(wait::WaitEntry& entry, wait::EventMask mask, bool exclusive) override;

 protected:
  int TakeError() override { return endpoint_->TakeError(); }
  PortTable& ports() override;
  PortBinding& binding() override { return endpoint_->binding(); }
  InetAddress local() const override { return endpoint_->local(); }
  Result<InetAddress> remote() const override { return endpoint_->remote(); }
  Result<void> BindTo(const InetAddress& local) override { return endpoint_->Bind(local); }
  size_t readable_bytes() const override { return endpoint_->first_size(); }
  size_t unsent_bytes() const override { return 0; }

 private:
  template <typename T, typename... Args>
  friend Ref<T> sandboxd::MakeRef(Args&&...);
  UdpSocket(vfs::Path path, LoopbackStack& stack, int family, int flags);
  ~UdpSocket() override;
  Result<InetAddress> TargetOf(const SocketAddress& address) const;
  Result<InetAddress> Target(const SendRequest& request) const;
  Result<void> ApplyControl(const SendRequest& request, Datagram& datagram) const;
  Result<size_t> Transmit(Datagram datagram);
  void AddControl(const Datagram& datagram, Received& r) const;
  bool keeps_errors() const;

  // Multicast and broadcast (ip(7)).
  void TransmitToAll(const Datagram& datagram);
  Result<void> SetGroup(int name, ConstBytes value);
  Result<void> SetGroupInterface(ConstBytes value);

  Result<uint64_t> TellTime(vfs::Caller& c, uint32_t command, uint64_t argument);

  const Ref<UdpEndpoint> endpoint_;
  // SIOCGSTAMP: when the last datagram that was read came, CLOCK_REALTIME; -1: none. Relaxed.
  std::atomic<int64_t> last_time_{-1};
  std::atomic<uint32_t> group_interface_{0};  // IP_MULTICAST_IF's address; relaxed
};

}  // namespace sandboxd::net
