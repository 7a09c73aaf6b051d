// Error: a failed call of the public API (proto/sandboxd/v1/error.proto), unpacked.
#pragma once

#include <grpcpp/support/status.h>

#include <map>
#include <string>
#include <vector>

namespace sandboxd::client {

struct FieldViolation {
  std::string field;  // "spec.containers[0].process.cwd"
  std::string description;
};

// A value type. Default-constructed: no error.
class Error {
 public:
  Error() = default;
  // Unpacks grpc-status-details-bin; `address` is where the daemon was looked for, for the sentence
  // about one that does not answer.
  static Error FromStatus(const grpc::Status& status, const std::string& address);

  bool ok() const { return code_ == grpc::StatusCode::OK; }
  explicit operator bool() const { return !ok(); }
  grpc::StatusCode code() const { return code_; }
  // One sentence for a person.
  const std::string& message() const { return message_; }
  // Name of an ErrorReason without its prefix: "PROGRAM_NOT_FOUND". Empty if the failure is the
  // transport's.
  const std::string& reason() const { return reason_; }
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  const std::vector<FieldViolation>& field_violations() const { return violations_; }

 private:
  grpc::StatusCode code_ = grpc::StatusCode::OK;
  std::string message_;
  std::string reason_;
  std::map<std::string, std::string> metadata_;
  std::vector<FieldViolation> violations_;
};

}  // namespace sandboxd::client
