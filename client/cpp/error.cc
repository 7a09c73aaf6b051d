#include "client/cpp/error.h"

#include "proto/google/rpc/error_details.pb.h"
#include "proto/google/rpc/status.pb.h"

namespace sandboxd::client {
namespace {

std::string SentenceForTransport(const grpc::Status& status, const std::string& address) {
  if (status.error_message().find("Permission denied") != std::string::npos) {
    return "no permission to use the daemon's socket at " + address +
           ": run as root or as a member of the socket's group";
  }
  return "no daemon answers at " + address + ": start one with `sandboxd --listen " + address +
         " --state-dir DIR`, or say with --address or SANDBOXD_ADDRESS where it listens";
}

}  // namespace

Error Error::FromStatus(const grpc::Status& status, const std::string& address) {
  Error error;
  error.code_ = status.error_code();
  error.message_ = status.error_message();
  if (status.ok()) return error;
  google::rpc::Status details;
  bool unpacked =
      !status.error_details().empty() && details.ParseFromString(status.error_details());
  for (const google::protobuf::Any& any : details.details()) {
    google::rpc::ErrorInfo info;
    google::rpc::BadRequest bad;
    if (any.UnpackTo(&info)) {
      error.reason_ = info.reason();
      error.metadata_.insert(info.metadata().begin(), info.metadata().end());
    } else if (any.UnpackTo(&bad)) {
      for (const auto& v : bad.field_violations())
        error.violations_.push_back({v.field(), v.description()});
    }
  }
  if (status.error_code() == grpc::StatusCode::UNAVAILABLE && !unpacked) {
    error.message_ = SentenceForTransport(status, address);
  } else if (status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED && !unpacked) {
    error.message_ = "the daemon at " + address + " did not answer in time";
  }
  return error;
}

}  // namespace sandboxd::client
