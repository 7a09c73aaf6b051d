#include "daemon/service/calls.h"

#include "proto/google/rpc/error_details.pb.h"
#include "proto/google/rpc/status.pb.h"

namespace sandboxd::daemon {
namespace {
constexpr char kDomain[] = "sandboxd";
// Trailers are limited to 8 KiB by default; what does not fit is cut rather than lost as a whole.
constexpr size_t kMaxMessage = 2000;
constexpr size_t kMaxDetails = 4000;
}  // namespace

grpc::Status ToGrpc(const Error& error) {
  const auto code = static_cast<int>(error.code());
  const std::string message = error.message().substr(0, kMaxMessage);
  google::rpc::Status status;
  status.set_code(code);
  status.set_message(message);
  google::rpc::ErrorInfo info;
  info.set_reason(ReasonName(error.reason()));
  info.set_domain(kDomain);
  for (const auto& [key, value] : error.metadata()) {
    (*info.mutable_metadata())[key] = value.substr(0, 500);
  }
  status.add_details()->PackFrom(info);
  google::rpc::BadRequest bad;
  for (const FieldViolation& violation : error.violations()) {
    auto& v = *bad.add_field_violations();
    v.set_field(violation.field.substr(0, 200));
    v.set_description(violation.description.substr(0, 300));
    if (bad.ByteSizeLong() > kMaxDetails) break;
  }
  if (bad.field_violations_size() > 0) status.add_details()->PackFrom(bad);
  return grpc::Status(static_cast<grpc::StatusCode>(code), message, status.SerializeAsString());
}

Outcome<Caller> Authorize(const ServiceContext& context, const grpc::CallbackServerContext& call) {
  const auto connection = context.connections.Find(call.peer());
  if (!connection) {
    return Error(v1::ERROR_REASON_POLICY_DENIED, "the caller could not be identified");
  }
  if (!connection->allowed) {
    return Error(v1::ERROR_REASON_POLICY_DENIED,
                 "user " + std::to_string(connection->caller.uid) +
                     " may not use this sandboxd: it is for root and the group of its socket")
        .With("uid", std::to_string(connection->caller.uid));
  }
  return connection->caller;
}

CallContext::Clock::time_point DeadlineOf(const grpc::CallbackServerContext& call) {
  return call.deadline();
}

Error NotImplemented(const std::string& what) {
  return Error(v1::ERROR_REASON_NOT_IMPLEMENTED, what + " is not implemented in this version");
}

grpc::ServerUnaryReactor* Refuse(grpc::CallbackServerContext* call, const Error& error) {
  auto* reactor = call->DefaultReactor();
  reactor->Finish(ToGrpc(error));
  return reactor;
}

}  // namespace sandboxd::daemon
