// What the services share: the shape of a unary call, errors as gRPC has them, who is calling.
#pragma once

#include <grpcpp/grpcpp.h>

#include <functional>

#include "daemon/loop/call_context.h"
#include "daemon/sandbox/environment.h"
#include "daemon/sandbox/manager.h"
#include "daemon/service/listener.h"

namespace sandboxd::daemon {

// What every service needs. Outlives the server.
struct ServiceContext {
  Environment& env;
  Manager& manager;
  ConnectionTable& connections;
};

// With google.rpc.Status in `grpc-status-details-bin`: see proto/sandboxd/v1/error.proto.
grpc::Status ToGrpc(const Error& error);

// The caller, or POLICY_DENIED.
Outcome<Caller> Authorize(const ServiceContext& context, const grpc::CallbackServerContext& call);

CallContext::Clock::time_point DeadlineOf(const grpc::CallbackServerContext& call);

Error NotImplemented(const std::string& what);

// A unary call whose work may block: it runs on a worker, with the call's deadline and
// cancellation. Deletes itself.
template <typename Request, typename Response>
class UnaryCall : public grpc::ServerUnaryReactor {
 public:
  using Work = std::function<Outcome<void>(CallContext&, const Caller&, const Request&, Response*)>;

  static grpc::ServerUnaryReactor* Run(const ServiceContext& context,
                                       const grpc::CallbackServerContext& call,
                                       const Request* request, Response* response, Work work) {
    auto* reactor = new UnaryCall(DeadlineOf(call));
    auto caller = Authorize(context, call);
    if (!caller.ok()) {
      reactor->Finish(ToGrpc(caller.error()));
      return reactor;
    }
    context.env.workers.Run([reactor, request, response, work = std::move(work), who = *caller] {
      const Outcome<void> outcome = work(reactor->context_, who, *request, response);
      reactor->Finish(outcome.ok() ? grpc::Status::OK : ToGrpc(outcome.error()));
    });
    return reactor;
  }

  void OnCancel() override { context_.Cancel(); }
  void OnDone() override { delete this; }

 private:
  explicit UnaryCall(CallContext::Clock::time_point deadline) : context_(deadline) {}
  CallContext context_;
};

// A unary call that is refused at once.
grpc::ServerUnaryReactor* Refuse(grpc::CallbackServerContext* call, const Error& error);

}  // namespace sandboxd::daemon
