// TcpSocket: an open TCP socket of the loopback stack (tcp(7)).
#pragma once

#include <atomic>

#include "kernel/net/inet/inet_socket.h"
#include "kernel/net/inet/tcp_endpoint.h"

namespace sandboxd::net {

class TcpSocket final : public InetSocket {
 public:
  static Ref<TcpSocket> Create(vfs::Vfs& vfs, LoopbackStack& stack, int family, int flags,
                               Ref<TcpEndpoint> endpoint);

  int type() const override { return SOCK_STREAM; }
  TcpEndpoint& endpoint() const { return *endpoint_; }

  Result<void> Listen(vfs::Caller& c, int backlog) override;
  Result<void> Connect(vfs::Caller& c, const SocketAddress& address) override;
  Result<Ref<Socket>> Accept(vfs::Caller& c, int flags) override;
  Result<void> Shutdown(int how) override { return endpoint_->Shutdown(how); }
  Result<SocketAddress> PeerAddress() override;
  Result<size_t> Send(vfs::Caller& c, mm::IoSource& data, SendRequest& request) override;
  Result<Received> Receive(vfs::Caller& c, mm::IoSink& data, int flags) override;
  Result<std::vector<std::byte>> GetOption(vfs::Caller& c, int level, int name,
                                           size_t room) override;
  Result<void> SetOption(vfs::Caller& c, int level, int name, ConstBytes value) override;

  void AddRow(std::vector<SocketRow>& rows) const;  // of /proc/net
  wait::EventMask Poll(wait::EventMask interest) override;
  void AddWaiter(wait::WaitEntry& entry, wait::EventMask mask, bool exclusive) override;

 protected:
  int TakeError() override { return endpoint_->TakeError(); }
  bool listening() override { return endpoint_->state() == TCP_LISTEN; }
  PortTable& ports() override;
  PortBinding& binding() override { return endpoint_->binding(); }
  InetAddress local() const override { return endpoint_->local(); }
  Result<InetAddress> remote() const override { return endpoint_->remote(); }
  Result<void> BindTo(const InetAddress& local) override { return endpoint_->Bind(local); }
  size_t readable_bytes() const override { return endpoint_->readable_bytes(); }
  size_t unsent_bytes() const override { return endpoint_->unread_by_peer(); }

 private:
  template <typename T, typename... Args>
  friend Ref<T> sandboxd::MakeRef(Args&&...);
  TcpSocket(vfs::Path path, vfs::Vfs& vfs, LoopbackStack& stack, int family, int flags,
            Ref<TcpEndpoint> endpoint);
  ~TcpSocket() override;
  size_t send_limit() const;

  vfs::Vfs& vfs_;
  const Ref<TcpEndpoint> endpoint_;
  // Set by SO_SNDBUF; else Linux would let the buffer grow. Relaxed: an independent word.
  std::atomic<uint32_t> fixed_send_buffer_{0};
  std::atomic<bool> tells_unread_{false};  // TCP_INQ; relaxed
  std::atomic<bool> reno_{false};          // TCP_CONGESTION, which changes nothing here; relaxed
};

}  // namespace sandboxd::net
