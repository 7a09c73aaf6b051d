// The base of the streaming calls: gRPC's reactions, from whatever thread, become methods on the
// event loop's thread, so that a stream's state needs no lock.
#pragma once

#include <grpcpp/grpcpp.h>

#include "daemon/loop/event_loop.h"
#include "platform/base/ref.h"

namespace sandboxd::daemon {

// A server stream of `Response`. Kept alive by the references of its posted reactions, and by one
// of its own until gRPC is done with it.
template <typename Response>
class WriteCall : public grpc::ServerWriteReactor<Response>, public RefCounted {
 public:
  explicit WriteCall(EventLoop& loop) : loop_(loop) {}

  void OnWriteDone(bool ok) final {
    loop_.Post([self = Ref<WriteCall>(this), ok] {
      self->writing_ = false;
      if (!ok) return self->End(grpc::Status::CANCELLED);
      if (!self->ended_) self->Next();
    });
  }
  void OnCancel() final {
    loop_.Post([self = Ref<WriteCall>(this)] { self->End(grpc::Status::CANCELLED); });
  }
  void OnDone() final {
    loop_.Post([self = Ref<WriteCall>::Adopt(this)] {});
  }

 protected:
  // All on the loop's thread.
  // Something may have to be written: called when a write is done, and by the subclass.
  virtual void Next() = 0;
  // Stop being told of things. Called once, before the stream is finished.
  virtual void Leave() = 0;

  bool CanWrite() const { return !writing_ && !ended_; }
  void Write(Response response) {
    response_ = std::move(response);
    writing_ = true;
    this->StartWrite(&response_);
  }
  void End(const grpc::Status& status) {
    if (ended_) return;
    ended_ = true;
    Leave();
    this->Finish(status);
  }
  bool ended() const { return ended_; }
  EventLoop& loop() { return loop_; }

 private:
  EventLoop& loop_;
  Response response_;
  bool writing_ = false;
  bool ended_ = false;
};

}  // namespace sandboxd::daemon
