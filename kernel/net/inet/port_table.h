// PortTable: which sockets of one protocol have which local addresses (bind(2), ip(7),
// socket(7): SO_REUSEADDR, SO_REUSEPORT).
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <vector>

#include "kernel/creds/credentials.h"
#include "kernel/net/inet/inet_address.h"
#include "kernel/wait/wait_queue.h"
#include "platform/base/mutex.h"
#include "platform/base/ref.h"
#include "platform/base/result.h"

namespace sandboxd::net {

// A socket's entry: part of the socket, which releases it before it goes. The table's mutex guards
// all of it while it is bound.
struct PortBinding {
  RefCounted* owner = nullptr;
  InetAddress local;   // port 0: not in the table
  InetAddress remote;  // UDP: the connected peer; port 0: none
  bool v6 = false;     // of an AF_INET6 socket
  bool v6_only = false;
  bool reuse_address = false;
  bool reuse_port = false;
  bool listening = false;
  bool accepted = false;  // a connection that shares its listener's port
  size_t index = 0;       // in the table's list for the port
  creds::KUid uid{creds::kOverflowId};
};

class PortTable {
 public:
  enum class Protocol : uint8_t { kTcp, kUdp };
  explicit PortTable(Protocol protocol) : protocol_(protocol) {}

  // Enters `binding` with `local`; port 0 takes a free one. EADDRINUSE; EADDRNOTAVAIL if no port
  // is free and `for_connect`.
  Result<InetAddress> Bind(PortBinding& binding, const InetAddress& local,
                           bool for_connect = false);
  // Enters a connection on its listener's port, with the listener's flags.
  void Share(PortBinding& binding, const PortBinding& listener, const InetAddress& local);
  void Release(PortBinding& binding);
  // bind(2) finds the binding's address taken for so long after it is released; connect(2) may
  // still choose the port.
  void KeepTaken(const PortBinding& binding, Nanos time);
  void SetReuse(PortBinding& binding, bool address, bool port);
  void SetLocal(PortBinding& binding, const InetAddress& local);  // the same port
  void SetRemote(PortBinding& binding, const InetAddress& remote);
  // listen(2): EADDRINUSE if another socket listens there.
  Result<void> SetListening(PortBinding& binding, bool listening);

  // Who takes what `from` sends to `to`: the most specific listener (TCP) or socket (UDP); of
  // several with SO_REUSEPORT one by the addresses. Null if none.
  Ref<RefCounted> Find(const InetAddress& from, const InetAddress& to) const;
  // UDP: all that a multicast or broadcast datagram reaches.
  std::vector<Ref<RefCounted>> FindAll(const InetAddress& from, const InetAddress& to) const;

  static constexpr uint16_t kFirstEphemeral = 32768, kLastEphemeral = 60999;

 private:
  using Bindings = std::vector<PortBinding*>;
  // Connections are apart: there may be thousands, and nothing is sent to a port for them.
  struct Port {
    Bindings bound, accepted;
    Bindings& ListOf(const PortBinding& b) { return b.accepted ? accepted : bound; }
  };
  bool Conflicts(const PortBinding& a, const InetAddress& local) const REQUIRES(mutex_);
  bool Lingers(uint16_t port) const REQUIRES(mutex_);
  void DropExpired() REQUIRES(mutex_);
  int Score(const PortBinding& b, const InetAddress& from, const InetAddress& to) const
      REQUIRES(mutex_);
  void Insert(PortBinding& binding) REQUIRES(mutex_);

  const Protocol protocol_;
  mutable Mutex mutex_{LockRank::kSocketTable};
  std::map<uint16_t, Port> ports_ GUARDED_BY(mutex_);
  uint16_t next_ephemeral_ GUARDED_BY(mutex_) = 0;
  // What KeepTaken left, oldest first.
  struct Lingering {
    PortBinding binding;
    Nanos until;
  };
  static constexpr size_t kMaxLingering = 4096;
  std::deque<Lingering> lingering_ GUARDED_BY(mutex_);
};

}  // namespace sandboxd::net
