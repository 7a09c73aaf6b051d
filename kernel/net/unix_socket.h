// UnixSocket: an open AF_UNIX socket (unix(7)): stream, datagram and seqpacket.
#pragma once

#include "kernel/net/socket.h"
#include "kernel/net/unix_domain.h"
#include "kernel/net/unix_endpoint.h"
#include "kernel/vfs/vfs.h"

namespace sandboxd::net {

class UnixSocket final : public Socket {
 public:
  // `flags`: O_NONBLOCK or nothing. Both references outlive every socket.
  static Ref<UnixSocket> Create(vfs::Vfs& vfs, UnixDomain& domain, int flags,
                                Ref<UnixEndpoint> endpoint);

  UnixEndpoint& endpoint() const { return *endpoint_; }

  int family() const override { return AF_UNIX; }
  int type() const override { return endpoint_->type(); }
  Result<void> Bind(vfs::Caller& c, const SocketAddress& address) override;
  Result<void> Listen(vfs::Caller& c, int backlog) override;
  Result<void> Connect(vfs::Caller& c, const SocketAddress& address) override;
  Result<Ref<Socket>> Accept(vfs::Caller& c, int flags) override;
  Result<void> Shutdown(int how) override { return endpoint_->Shutdown(how); }
  Result<SocketAddress> LocalAddress() override { return endpoint_->address(); }
  Result<SocketAddress> PeerAddress() override;
  Result<size_t> Send(vfs::Caller& c, mm::IoSource& data, SendRequest& request) override;
  Result<Received> Receive(vfs::Caller& c, mm::IoSink& data, int flags) override;
  Result<void> SetOption(vfs::Caller& c, int level, int name, ConstBytes value) override;
  Result<PeerCredentials> peer_credentials() override { return endpoint_->peer_credentials(); }

  wait::EventMask Poll(wait::EventMask interest) override;
  void AddWaiter(wait::WaitEntry& entry, wait::EventMask mask, bool exclusive) override;
  Result<uint64_t> Ioctl(vfs::Caller& c, uint32_t command, uint64_t argument) override;

 protected:
  int TakeError() override { return endpoint_->TakeError(); }
  bool listening() override { return endpoint_->state() == UnixEndpoint::State::kListening; }

 private:
  template <typename T, typename... Args>
  friend Ref<T> sandboxd::MakeRef(Args&&...);
  UnixSocket(vfs::Path path, vfs::Vfs& vfs, UnixDomain& domain, int flags,
             Ref<UnixEndpoint> endpoint);
  ~UnixSocket() override;

  // Who is meant by an address: EINVAL, ENOENT, EACCES, ECONNREFUSED, EPROTOTYPE.
  Result<Ref<UnixEndpoint>> Find(vfs::Caller& c, const SocketAddress& address);
  Result<void> BindPath(vfs::Caller& c, const std::string& path);
  Result<void> AutoBind();
  SocketAddress SenderAddress() const;
  std::optional<PeerCredentials> CredentialsFor(vfs::Caller& c, const UnixEndpoint& target,
                                                const SendRequest& request) const;
  Result<size_t> SendStream(vfs::Caller& c, mm::IoSource& data, SendRequest& request);
  Result<size_t> SendMessage(vfs::Caller& c, UnixEndpoint& target, mm::IoSource& data,
                             SendRequest& request);

  vfs::Vfs& vfs_;
  UnixDomain& domain_;
  const Ref<UnixEndpoint> endpoint_;
};

// What SO_PEERCRED will say of `c`: its process and effective ids.
PeerCredentials EffectiveCredentials(vfs::Caller& c);

}  // namespace sandboxd::net
