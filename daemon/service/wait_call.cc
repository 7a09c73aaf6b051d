#include "daemon/service/wait_call.h"

namespace sandboxd::daemon {
namespace {

class WaitCall final : public grpc::ServerUnaryReactor, public RefCounted {
 public:
  WaitCall(EventLoop& loop, CallContext::Clock::time_point deadline,
           std::function<void(const v1::WaitProcessResponse&)> fill)
      : loop_(loop), context_(deadline), fill_(std::move(fill)) {}

  void Begin(Ref<Sandbox> sandbox, const v1::ProcessRef& process) {
    loop_.Post([self = Ref<WaitCall>(this), sandbox, process] {
      self->sandbox_ = sandbox;
      if (self->finished_) return;
      self->waiter_ =
          sandbox->WaitExit(process, [self](const Outcome<v1::WaitProcessResponse>& outcome) {
            self->loop_.Post([self, outcome] { self->End(outcome); });
          });
    });
  }

  void End(const Outcome<v1::WaitProcessResponse>& outcome) {
    if (finished_) return;
    finished_ = true;
    if (outcome.ok()) fill_(*outcome);
    Finish(outcome.ok() ? grpc::Status::OK : ToGrpc(outcome.error()));
  }

  void OnCancel() override {
    loop_.Post([self = Ref<WaitCall>(this)] {
      if (self->sandbox_) self->sandbox_->RemoveWaiter(self->waiter_);
      self->End(self->context_.StopError());
    });
  }
  void OnDone() override {
    loop_.Post([self = Ref<WaitCall>::Adopt(this)] {});
  }

 private:
  EventLoop& loop_;
  CallContext context_;  // for its deadline
  std::function<void(const v1::WaitProcessResponse&)> fill_;
  // Loop thread.
  Ref<Sandbox> sandbox_;
  Sandbox::WaiterId waiter_ = 0;
  bool finished_ = false;
};

}  // namespace

grpc::ServerUnaryReactor* StartWait(const ServiceContext& context,
                                    const grpc::CallbackServerContext& call,
                                    const v1::ProcessRef& process,
                                    std::function<void(const v1::WaitProcessResponse&)> fill) {
  auto* reactor = new WaitCall(context.env.loop, DeadlineOf(call), std::move(fill));
  auto caller = Authorize(context, call);
  auto sandbox = context.manager.Find(process.sandbox_id());
  if (!caller.ok()) {
    reactor->Finish(ToGrpc(caller.error()));
  } else if (!sandbox.ok()) {
    reactor->Finish(ToGrpc(sandbox.error()));
  } else {
    reactor->Begin(*sandbox, process);
  }
  return reactor;
}

}  // namespace sandboxd::daemon
