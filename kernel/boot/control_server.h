// ControlServer: the transport of the control channel (proto/control/control.proto), server side.
//
// One thread accepts connections on the listening socket, reads packets, hands requests to the
// handler one at a time, and writes responses and events. A new connection replaces the old one.
#pragma once

#include <deque>
#include <functional>
#include <string>
#include <vector>

#include "platform/base/mutex.h"
#include "platform/base/result.h"
#include "platform/base/unique_fd.h"
#include "proto/control/control.pb.h"

namespace sandboxd::boot {

class ControlServer {
 public:
  // Descriptors that came with a request, in order; the handler takes what it needs by moving from
  // them.
  using Fds = std::vector<UniqueFd>;
  using Handler = std::function<control::Response(const control::Request&, Fds)>;

  static Result<std::unique_ptr<ControlServer>> Create(UniqueFd listener);

  // Serves until Stop(). `handler` runs on this thread.
  void Serve(const Handler& handler);
  // Ends Serve after what is queued has been sent. Any thread.
  void Stop();
  // Queues an event for the current connection; without one it is dropped (exits are repeated by
  // Hello). Any thread.
  void SendEvent(control::Event event);

 private:
  ControlServer(UniqueFd listener, UniqueFd wakeup);

  void Accept();
  // False when the connection is to be closed.
  bool ReadOne(const Handler& handler);
  bool HandlePacket(const control::Packet& packet, Fds fds, const Handler& handler, bool from_body);
  void Enqueue(control::Packet packet);
  bool Flush();
  void CloseConnection();

  const UniqueFd listener_;
  const UniqueFd wakeup_;  // eventfd
  UniqueFd connection_;    // Serve's thread only
  Mutex mutex_{LockRank::kLeaf};
  std::deque<std::string> outgoing_ GUARDED_BY(mutex_);
  bool connected_ GUARDED_BY(mutex_) = false;
  bool stopping_ GUARDED_BY(mutex_) = false;
};

}  // namespace sandboxd::boot
