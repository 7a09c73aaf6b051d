// The daemon's end of the control channel to one kernel process (proto/control/control.proto).
//
// Calls may be made from any thread; answers, events and the end of the connection are delivered on
// the event loop's thread. What the kernel process sends is checked for form here and trusted in
// nothing: a packet that is not one ends the connection.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "daemon/error/error.h"
#include "daemon/loop/call_context.h"
#include "daemon/loop/event_loop.h"
#include "platform/base/ref.h"
#include "proto/control/control.pb.h"

namespace sandboxd::daemon {

// What a kernel process's answer means for our caller. OK gives no error.
Outcome<void> FromControlStatus(const control::Status& status);

class ControlChannel : public RefCounted {
 public:
  using Reply = std::function<void(Outcome<control::Response>)>;
  struct Handlers {
    std::function<void(const control::Event&)> on_event;
    // Once, when the connection has ended other than by Close.
    std::function<void(const std::string& why)> on_lost;
  };

  // `socket` is a connected SOCK_SEQPACKET.
  static Ref<ControlChannel> Start(EventLoop& loop, UniqueFd socket, Handlers handlers);

  // The answer, or KERNEL_LOST. An answer whose status is an error is given as that error.
  void CallAsync(control::Request request, std::vector<UniqueFd> fds, Reply reply);
  // Waits; also ends with the context or after `timeout`. Not on the loop's thread.
  Outcome<control::Response> Call(CallContext& context, control::Request request,
                                  std::vector<UniqueFd> fds = {},
                                  std::chrono::seconds timeout = std::chrono::seconds(60));
  // No handler is called after it returns. Calls in flight fail. From any thread, but from the
  // loop's only without Call in flight there.
  void Close();

 private:
  struct Outgoing {
    std::string bytes;
    std::vector<UniqueFd> fds;
  };
  ControlChannel(EventLoop& loop, UniqueFd socket, Handlers handlers)
      : loop_(loop), socket_(std::move(socket)), handlers_(std::move(handlers)) {}

  void SendOnLoop(control::Request request, std::vector<UniqueFd> fds, Reply reply);
  void OnReady(uint32_t events);
  bool ReceiveOne();
  bool Dispatch(const control::Packet& packet, std::vector<UniqueFd>& fds);
  void Flush();
  void UpdateWatch();
  void Lose(const std::string& why);
  void FailPending(const std::string& why);

  EventLoop& loop_;
  // The rest: loop thread only.
  UniqueFd socket_;
  Handlers handlers_;
  uint64_t next_id_ = 1;
  std::map<uint64_t, Reply> pending_;
  std::deque<Outgoing> outgoing_;
};

// Connects to `control.sock` in a folder; the folder's own path may be of any length.
Outcome<UniqueFd> ConnectControlSocket(int folder_fd);
// Binds it there and listens.
Outcome<UniqueFd> ListenControlSocket(int folder_fd);

}  // namespace sandboxd::daemon
