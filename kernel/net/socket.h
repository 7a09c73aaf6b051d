// Socket: an open socket, whatever its family (socket(2)). The system call layer decodes addresses,
// messages and control messages, waits, and sends SIGPIPE; a family implements the verbs. As with
// all files nothing blocks here: EAGAIN, and the wait queue.
#pragma once

#include <atomic>
#include <optional>
#include <string>
#include <vector>

#include "kernel/net/address.h"
#include "kernel/vfs/file.h"
#include "platform/base/mutex.h"

namespace sandboxd::net {

// A control message that is bytes to everybody but the family: IP_PKTINFO, timestamps.
struct ControlMessage {
  int level = 0;
  int type = 0;
  std::vector<std::byte> data;
};

// What travels beside the bytes (cmsg(3)).
struct Ancillary {
  std::vector<Ref<vfs::File>> files;           // SCM_RIGHTS
  std::optional<PeerCredentials> credentials;  // SCM_CREDENTIALS
  std::vector<ControlMessage> messages;        // of other levels than SOL_SOCKET, and timestamps
};

struct SendRequest {
  const SocketAddress* to = nullptr;  // null: the peer
  int flags = 0;                      // MSG_*
  Ancillary ancillary;                // files are moved away by the send that takes them
};

struct Received {
  size_t length = 0;       // bytes delivered
  size_t full_length = 0;  // of the message that they are from; more than `length` if it was cut
  int flags = 0;           // MSG_TRUNC, MSG_EOR
  SocketAddress from;
  Ancillary ancillary;
};

class Socket : public vfs::File {
 public:
  static constexpr char kTypeTag = 0;

  virtual int family() const = 0;  // AF_*
  virtual int type() const = 0;    // SOCK_* without flags
  virtual int protocol() const { return 0; }

  virtual Result<void> Bind(vfs::Caller& c, const SocketAddress& address) = 0;
  virtual Result<void> Listen(vfs::Caller& c, int backlog) = 0;
  // EAGAIN where connect(2) has to wait.
  virtual Result<void> Connect(vfs::Caller& c, const SocketAddress& address) = 0;
  // The next connection; `flags`: O_NONBLOCK for the new socket.
  virtual Result<Ref<Socket>> Accept(vfs::Caller& c, int flags) = 0;
  virtual Result<void> Shutdown(int how) = 0;  // SHUT_*
  virtual Result<SocketAddress> LocalAddress() = 0;
  virtual Result<SocketAddress> PeerAddress() = 0;

  virtual Result<size_t> Send(vfs::Caller& c, mm::IoSource& data, SendRequest& request) = 0;
  virtual Result<Received> Receive(vfs::Caller& c, mm::IoSink& data, int flags) = 0;
  // Does a stream, where MSG_WAITALL means something.
  bool is_stream() const { return type() == SOCK_STREAM; }
  // MSG_ERRQUEUE: an error that IP_RECVERR put aside; EAGAIN if there is none.
  virtual Result<Received> ReceiveError(vfs::Caller&, mm::IoSink&) { return Errno::kEAGAIN; }

  // Options are exchanged as their bytes. The base knows those of SOL_SOCKET that mean the same for
  // every family; ENOPROTOOPT for others.
  // `room`: the bytes that the program has for it; some options answer by it.
  virtual Result<std::vector<std::byte>> GetOption(vfs::Caller& c, int level, int name,
                                                   size_t room);
  virtual Result<void> SetOption(vfs::Caller& c, int level, int name, ConstBytes value);
  // SO_PEERCRED, and SO_PEERGROUPS; ENODATA if the family has no such thing.
  virtual Result<PeerCredentials> peer_credentials() { return Errno::kENODATA; }

  // SO_RCVTIMEO and SO_SNDTIMEO; zero: for ever; negative: not at all.
  Nanos receive_timeout() const { return Nanos(receive_timeout_.load(std::memory_order_relaxed)); }
  Nanos send_timeout() const { return Nanos(send_timeout_.load(std::memory_order_relaxed)); }
  bool pass_credentials() const { return option(SO_PASSCRED); }
  bool option(int name) const;  // a boolean one of SOL_SOCKET: SO_REUSEADDR, SO_BROADCAST…

  // What has to live as long as the socket: the network namespace it was made in.
  void set_network_namespace(Ref<RefCounted> ns) { network_namespace_ = std::move(ns); }
  const Ref<RefCounted>& network_namespace() const { return network_namespace_; }

  // --- vfs::File ---
  Result<size_t> Read(vfs::Caller& c, mm::IoSink& dst) override;
  Result<size_t> Write(vfs::Caller& c, mm::IoSource& src,
                       const vfs::ReadWriteOptions& options) override;
  bool pollable() const override { return true; }
  bool continues_writes() const override { return is_stream(); }
  std::string Describe() const override;
  const void* type_tag() const override { return &kTypeTag; }

 protected:
  Socket(vfs::Path path, int flags) : File(std::move(path), flags) {}

  virtual int TakeError() { return 0; }  // SO_ERROR
  virtual bool listening() { return false; }
  uint32_t send_buffer() const;
  uint32_t receive_buffer() const;
  size_t receive_low_water() const;
  // SO_LINGER's seconds; nullopt: off.
  std::optional<int> linger() const;
  // What a family starts with, before anybody else has the socket.
  void SetDefaultBuffers(uint32_t send, uint32_t receive);
  void SetBoolean(int name, bool on);  // an option that is on or off
  // accept(2) of network protocols: the new socket has the listener's options.
  void CopyOptions(const Socket& from);

 private:
  Errno UnknownLevel() const;

  struct Options {
    uint32_t send_buffer = 212992;  // net.core.wmem_default
    uint32_t receive_buffer = 212992;
    int32_t linger_on = 0, linger_seconds = 0;
    int32_t receive_low_water = 1;
    int32_t priority = 0;
    uint64_t flags = 0;  // the boolean options that are on, by number
  };
  Ref<RefCounted> network_namespace_;  // set before anybody else sees the socket
  mutable Mutex options_mutex_{LockRank::kLeaf};
  Options options_ GUARDED_BY(options_mutex_);
  // Nanoseconds. Relaxed: independent words, asked for by every transfer.
  std::atomic<int64_t> receive_timeout_{0}, send_timeout_{0};
};

}  // namespace sandboxd::net
