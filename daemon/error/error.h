// What goes wrong in the daemon, as its callers see it: a canonical code, a reason, a sentence for
// a person, and the facts of the sentence by name. proto/sandboxd/v1/error.proto has the contract.
//
// Outcome<T> is to the daemon what Result<T> is to the kernel; TRY works on it.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "platform/base/result.h"
#include "proto/sandboxd/v1/error.pb.h"

namespace sandboxd::daemon {

// The canonical codes of gRPC, by their numbers.
enum class Code : int {
  kCancelled = 1,
  kInvalidArgument = 3,
  kDeadlineExceeded = 4,
  kNotFound = 5,
  kAlreadyExists = 6,
  kPermissionDenied = 7,
  kResourceExhausted = 8,
  kFailedPrecondition = 9,
  kAborted = 10,
  kOutOfRange = 11,
  kUnimplemented = 12,
  kInternal = 13,
  kUnavailable = 14,
};

struct FieldViolation {
  std::string field;
  std::string description;
};

// The code that a reason always comes with.
Code CodeOf(v1::ErrorReason reason);
// "PROGRAM_NOT_FOUND".
std::string ReasonName(v1::ErrorReason reason);

class Error {
 public:
  Error(v1::ErrorReason reason, std::string message)
      : reason_(reason), message_(std::move(message)) {}
  static Error Internal(std::string message) {
    return Error(v1::ERROR_REASON_INTERNAL, std::move(message));
  }
  // INVALID_FIELD (or another reason) with every violation; the sentence names the first ones.
  static Error Fields(std::vector<FieldViolation> violations,
                      v1::ErrorReason reason = v1::ERROR_REASON_INVALID_FIELD);

  Error With(std::string key, std::string value) && {
    metadata_[std::move(key)] = std::move(value);
    return std::move(*this);
  }

  Code code() const { return CodeOf(reason_); }
  v1::ErrorReason reason() const { return reason_; }
  const std::string& message() const { return message_; }
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  const std::vector<FieldViolation>& violations() const { return violations_; }

 private:
  v1::ErrorReason reason_;
  std::string message_;
  std::map<std::string, std::string> metadata_;
  std::vector<FieldViolation> violations_;
};

template <typename T>
class [[nodiscard]] Outcome {
 public:
  using value_type = T;
  Outcome(Error error) : rep_(std::in_place_index<0>, std::move(error)) {}
  template <typename U = T>
  requires(std::is_constructible_v<T, U&&> && !std::is_same_v<std::remove_cvref_t<U>, Outcome> &&
           !std::is_same_v<std::remove_cvref_t<U>, Error>) Outcome(U&& value)
      : rep_(std::in_place_index<1>, std::forward<U>(value)) {}

  bool ok() const { return rep_.index() == 1; }
  const Error& error() const { return std::get<0>(rep_); }
  T& value() & { return std::get<1>(rep_); }
  const T& value() const& { return std::get<1>(rep_); }
  T&& value() && { return std::get<1>(std::move(rep_)); }
  T& operator*() { return value(); }
  const T& operator*() const { return value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

 private:
  std::variant<Error, T> rep_;
};

template <>
class [[nodiscard]] Outcome<void> {
 public:
  using value_type = void;
  Outcome() = default;
  Outcome(Error error) : error_(std::move(error)) {}
  bool ok() const { return !error_.has_value(); }
  const Error& error() const { return *error_; }
  void value() const {}

 private:
  std::optional<Error> error_;
};

// "cannot open /x: No such file or directory", from errno.
std::string ErrnoText(const std::string& what, int host_errno);
// A failure to write under the state folder: STATE_STORAGE_FULL if no space is left (ENOSPC,
// EDQUOT), otherwise STATE_STORAGE_FAILED.
Error StorageError(const std::string& what, int host_errno);

}  // namespace sandboxd::daemon
