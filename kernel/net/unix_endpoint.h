// UnixEndpoint: the state of one AF_UNIX socket that others can reach: its name, its receive queue,
// who it is connected to. The file (UnixSocket) holds it and closes it; a connection that nobody
// has accepted yet is an endpoint without a file.
//
// Locks: at most one endpoint's mutex (kSocket) at a time, but for connect, which takes the pair.
// References between endpoints are cut by Close, so cycles don't last.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <string>
#include <vector>

#include "kernel/net/socket.h"
#include "kernel/vfs/path.h"
#include "kernel/wait/wait_queue.h"
#include "platform/base/mutex.h"
#include "platform/base/ref.h"
#include "platform/base/result.h"

namespace sandboxd::net {

class UnixDomain;

struct UnixMessage {
  std::string bytes;
  size_t taken = 0;  // of a stream: bytes read already
  SocketAddress from;
  Ancillary ancillary;
  size_t left() const { return bytes.size() - taken; }
};

class UnixEndpoint : public RefCounted {
 public:
  enum class State : uint8_t { kUnconnected, kListening, kConnected, kClosed };

  // `network`: whose abstract names it uses.
  UnixEndpoint(UnixDomain& domain, int type, PeerCredentials owner, uint64_t network = 0);
  uint64_t network() const { return network_; }

  int type() const { return type_; }
  bool connection_oriented() const { return type_ != SOCK_DGRAM; }
  wait::WaitQueue& queue() { return queue_; }
  // Does a message to here say who sent it (SO_PASSCRED; or nobody has accepted yet)?
  bool wants_credentials() const { return wants_credentials_.load(std::memory_order_relaxed); }
  void set_wants_credentials(bool on) { wants_credentials_.store(on, std::memory_order_relaxed); }

  // --- names ---
  // sun_path: "\0name", or a path without its NUL; empty: unnamed.
  std::string name() const;
  SocketAddress address() const;  // as getsockname(2) gives it
  static SocketAddress AddressOf(const std::string& name);
  // EINVAL if it has a name. `place` is the inode's, for a path.
  Result<void> SetName(std::string name, vfs::Path place);

  // --- connections ---
  Result<void> Listen(size_t backlog, PeerCredentials owner);
  // Connects this stream or seqpacket endpoint to a listening one: ECONNREFUSED, EAGAIN (backlog
  // full), EISCONN, EINVAL, EPROTOTYPE.
  Result<void> ConnectTo(const Ref<UnixEndpoint>& listener, PeerCredentials self);
  // Datagrams: the peer that sends go to and receives come from; null disconnects.
  Result<void> SetDatagramPeer(Ref<UnixEndpoint> peer);
  static void ConnectPair(const Ref<UnixEndpoint>& a, const Ref<UnixEndpoint>& b);
  Result<Ref<UnixEndpoint>> TakePending();  // accept(2)
  Result<void> Shutdown(int how);
  void Close();

  Ref<UnixEndpoint> peer() const;
  State state() const;
  // ENOTCONN.
  Result<PeerCredentials> peer_credentials() const;
  int TakeError();

  // --- data ---
  // Room here for a message of `from`, or EAGAIN (the sender is told when there is), EPIPE,
  // ECONNREFUSED. Streams may deliver less than all of `bytes`: how much.
  Result<size_t> CheckRoom(UnixEndpoint& from, size_t wanted, size_t limit);
  // `message` is moved away on success only.
  Result<size_t> Deliver(UnixEndpoint& from, UnixMessage& message, size_t limit);
  // What a send from here has to know first: the connected peer; EPIPE, ENOTCONN.
  Result<Ref<UnixEndpoint>> SendTarget() const;
  // Takes (or with MSG_PEEK copies) at most `max` bytes into `out`.
  Result<Received> Take(std::string& out, size_t max, int flags, bool same_sender_only);

  wait::EventMask Poll(size_t send_limit);
  size_t readable_bytes() const;  // SIOCINQ
  size_t unsent_bytes() const;    // SIOCOUTQ

  // For the collector of cycles (the domain's in-flight mutex is held): files in queues here.
  void ForEachQueuedFile(const std::function<void(vfs::File&)>& visit) const;
  // Gives up the contents of all queues.
  void Purge(std::vector<Ref<vfs::File>>& files);

 private:
  ~UnixEndpoint() override;
  // The other end of a connection to `listener`. This one is new: nobody else can hold its mutex.
  void BeAcceptedFrom(const UnixEndpoint& listener, Ref<UnixEndpoint> client,
                      PeerCredentials theirs) NO_THREAD_SAFETY_ANALYSIS;
  bool HasQueuedFiles() const REQUIRES(mutex_);
  Received TakeStream(std::string& out, size_t max, int flags, bool same_sender_only)
      REQUIRES(mutex_);
  Received TakeMessage(std::string& out, size_t max, int flags) REQUIRES(mutex_);
  void PeerClosed(bool lost_data);
  void TellSenders();

  UnixDomain& domain_;
  const int type_;
  const uint64_t network_;
  std::atomic<bool> wants_credentials_{false};  // relaxed: an independent word
  wait::WaitQueue queue_;
  mutable Mutex mutex_{LockRank::kSocket};
  State state_ GUARDED_BY(mutex_) = State::kUnconnected;
  std::string name_ GUARDED_BY(mutex_);
  vfs::Path place_ GUARDED_BY(mutex_);
  Ref<UnixEndpoint> peer_ GUARDED_BY(mutex_);
  PeerCredentials owner_ GUARDED_BY(mutex_);             // who made it, or listened
  PeerCredentials peer_credentials_ GUARDED_BY(mutex_);  // who is at the other end
  bool no_more_in_ GUARDED_BY(mutex_) = false;           // SHUT_RD here, SHUT_WR there
  bool no_more_out_ GUARDED_BY(mutex_) = false;          // SHUT_WR here, SHUT_RD there
  int error_ GUARDED_BY(mutex_) = 0;
  std::deque<UnixMessage> messages_ GUARDED_BY(mutex_);
  size_t queued_bytes_ GUARDED_BY(mutex_) = 0;
  size_t backlog_ GUARDED_BY(mutex_) = 0;
  std::deque<Ref<UnixEndpoint>> pending_ GUARDED_BY(mutex_);  // not yet accepted
  // Who found no room here and wants to hear of it.
  std::vector<Ref<UnixEndpoint>> waiting_ GUARDED_BY(mutex_);
};

}  // namespace sandboxd::net
