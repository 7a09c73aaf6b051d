// TcpEndpoint: the state of one TCP socket (tcp(7)) of the loopback stack. Both ends of a
// connection are in this kernel, so there are no segments: an end says what happens (data, FIN,
// RST, room again) by a method of its peer, and what was sent has arrived.
//
// Locks: one endpoint's mutex (kSocket) at a time, but for connect, which takes the connecting and
// the listening one. References between endpoints are cut by Close and resets, so cycles don't
// last.
#pragma once

#include <netinet/tcp.h>

#include <cstdint>
#include <deque>
#include <vector>

#include "kernel/mm/io.h"
#include "kernel/net/inet/byte_stream.h"
#include "kernel/net/inet/port_table.h"
#include "kernel/net/socket.h"
#include "kernel/wait/wait_queue.h"
#include "platform/base/mutex.h"
#include "platform/base/ref.h"
#include "platform/base/result.h"

namespace sandboxd::net {

class TcpEndpoint : public RefCounted {
 public:
  explicit TcpEndpoint(PortTable& ports);

  wait::WaitQueue& queue() { return queue_; }
  PortBinding& binding() { return binding_; }

  // --- names ---
  Result<void> Bind(const InetAddress& local);  // EINVAL if bound, EADDRINUSE
  InetAddress local() const;
  Result<InetAddress> remote() const;  // ENOTCONN

  // --- connections ---
  Result<void> Listen(size_t backlog);
  // connect(2) to `to`; `source` is our address towards it. With `nonblocking` EINPROGRESS and
  // EALREADY, else EAGAIN while the listener's backlog is full; a later call goes on.
  Result<void> Connect(const InetAddress& source, const InetAddress& to, bool nonblocking);
  // connect(2) with AF_UNSPEC: back to an unconnected socket.
  void Disconnect();
  Result<Ref<TcpEndpoint>> TakePending();  // accept(2)
  Result<void> Shutdown(int how);
  enum class Ending : uint8_t { kGraceful, kReset };
  // `linger2`: TCP_LINGER2, how many seconds the port stays taken while the peer goes on.
  void Close(Ending ending, int linger2 = kTimeWait);
  static constexpr int kTimeWait = 60;  // seconds

  bool fresh() const;  // no connect(2) is under way or has ended
  int state() const;   // TCP_ESTABLISHED…, as TCP_INFO says it
  int TakeError();

  // --- data; the errors of send(2) and recv(2) ---
  Result<size_t> Send(mm::IoSource& data, size_t send_limit);
  // EAGAIN if there is less than `low_water`, unless no more will come.
  Result<Received> Receive(mm::IoSink& data, int flags, size_t low_water);
  wait::EventMask Poll(size_t send_limit, size_t low_water);
  size_t readable_bytes() const;
  size_t unread_by_peer() const;
  size_t pending_connections() const;
  size_t backlog() const;
  void set_receive_limit(size_t bytes);

 private:
  // TCP's own state; kIdle is also where a connection that is gone ends.
  enum class Phase : uint8_t { kIdle, kListening, kConnecting, kConnected };
  // What connect(2) has told the program (struct socket's state).
  enum class Told : uint8_t { kUnconnected, kConnecting, kConnected };

  ~TcpEndpoint() override;
  // What the peer says.
  Result<size_t> RoomFor(size_t send_limit);  // EAGAIN; ECONNRESET: nobody is here any more
  Result<void> OnData(ConstBytes bytes);
  Result<void> OnChunk(ByteView view);
  void OnFin();
  void OnReset();

  Result<void> StartConnecting(const InetAddress& source, const InetAddress& to);
  // Ok: connected, or waiting in the listener's list.
  Result<void> ConnectTo(TcpEndpoint& listener);
  void ConnectToSelf();
  void BecomeConnection(const TcpEndpoint& listener,
                        Ref<TcpEndpoint> client) NO_THREAD_SAFETY_ANALYSIS;
  void FailConnecting(int error);
  bool RetryConnecting();  // false: it is not connecting any more
  Result<Ref<TcpEndpoint>> SendTarget();
  Errno NothingToReceive() REQUIRES(mutex_);
  bool Writable(size_t send_limit);
  int StateLocked() const REQUIRES(mutex_);
  bool Finished() const REQUIRES(mutex_) { return fin_in_ && fin_out_; }
  void StopListening();
  // Breaks the connections that nobody has accepted.
  static void AbortPending(std::deque<Ref<TcpEndpoint>> accepted,
                           std::deque<Ref<TcpEndpoint>> connecting);

  PortTable& ports_;
  wait::WaitQueue queue_;
  PortBinding binding_;  // the table's
  mutable Mutex mutex_{LockRank::kSocket};
  Phase phase_ GUARDED_BY(mutex_) = Phase::kIdle;
  Told told_ GUARDED_BY(mutex_) = Told::kUnconnected;
  InetAddress bound_ GUARDED_BY(mutex_);  // port 0: by nobody
  InetAddress local_ GUARDED_BY(mutex_);
  InetAddress remote_ GUARDED_BY(mutex_);
  Ref<TcpEndpoint> peer_ GUARDED_BY(mutex_);
  bool fin_in_ GUARDED_BY(mutex_) = false;         // no more will come (FIN, RST, SHUT_RD)
  bool fin_out_ GUARDED_BY(mutex_) = false;        // no more will be sent
  bool fin_out_first_ GUARDED_BY(mutex_) = false;  // ours was before the peer's
  bool closed_ GUARDED_BY(mutex_) = false;         // its file is gone
  int error_ GUARDED_BY(mutex_) = 0;
  // Receiving.
  ByteStream received_ GUARDED_BY(mutex_);
  size_t receive_limit_ GUARDED_BY(mutex_) = 256 << 10;
  size_t limit_ GUARDED_BY(mutex_) = 0;  // of received_, with what the sender adds
  bool sender_waits_ GUARDED_BY(mutex_) = false;
  // Listening.
  size_t backlog_ GUARDED_BY(mutex_) = 0;
  std::deque<Ref<TcpEndpoint>> accept_queue_ GUARDED_BY(mutex_);
  std::deque<Ref<TcpEndpoint>> connecting_ GUARDED_BY(mutex_);  // found the backlog full
};

}  // namespace sandboxd::net
