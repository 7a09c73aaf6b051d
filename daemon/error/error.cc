#include "daemon/error/error.h"

#include <cerrno>
#include <cstring>

namespace sandboxd::daemon {

Code CodeOf(v1::ErrorReason reason) {
  switch (reason) {
    case v1::ERROR_REASON_INVALID_FIELD:
    case v1::ERROR_REASON_BUNDLE_INVALID:
    case v1::ERROR_REASON_FEATURE_UNSUPPORTED:
      return Code::kInvalidArgument;
    case v1::ERROR_REASON_SANDBOX_NOT_FOUND:
    case v1::ERROR_REASON_CONTAINER_NOT_FOUND:
    case v1::ERROR_REASON_PROCESS_NOT_FOUND:
      return Code::kNotFound;
    case v1::ERROR_REASON_SANDBOX_ALREADY_EXISTS:
    case v1::ERROR_REASON_PROCESS_ALREADY_EXISTS:
      return Code::kAlreadyExists;
    case v1::ERROR_REASON_WRONG_STATE:
    case v1::ERROR_REASON_ROOTFS_NOT_FOUND:
    case v1::ERROR_REASON_ROOTFS_NOT_A_DIRECTORY:
    case v1::ERROR_REASON_BUNDLE_NOT_FOUND:
    case v1::ERROR_REASON_MOUNT_SOURCE_NOT_FOUND:
    case v1::ERROR_REASON_PROGRAM_NOT_FOUND:
    case v1::ERROR_REASON_PROGRAM_NOT_EXECUTABLE:
    case v1::ERROR_REASON_PROGRAM_WRONG_FORMAT:
    case v1::ERROR_REASON_USER_OR_DIRECTORY_NOT_FOUND:
    case v1::ERROR_REASON_MOUNT_FAILED:
    case v1::ERROR_REASON_PLATFORM_UNAVAILABLE:
    case v1::ERROR_REASON_ALREADY_ATTACHED:
    case v1::ERROR_REASON_STDIO_MODE:
      return Code::kFailedPrecondition;
    case v1::ERROR_REASON_PATH_PERMISSION_DENIED:
    case v1::ERROR_REASON_POLICY_DENIED:
      return Code::kPermissionDenied;
    case v1::ERROR_REASON_KERNEL_LOST:
    case v1::ERROR_REASON_DAEMON_UNAVAILABLE:
      return Code::kUnavailable;
    case v1::ERROR_REASON_STATE_STORAGE_FULL:
    case v1::ERROR_REASON_LIMIT_REACHED:
      return Code::kResourceExhausted;
    case v1::ERROR_REASON_ATTACHMENT_TAKEN:
      return Code::kAborted;
    case v1::ERROR_REASON_WATCH_WINDOW_LOST:
      return Code::kOutOfRange;
    case v1::ERROR_REASON_NOT_IMPLEMENTED:
      return Code::kUnimplemented;
    case v1::ERROR_REASON_DEADLINE_EXCEEDED:
      return Code::kDeadlineExceeded;
    case v1::ERROR_REASON_CANCELLED:
      return Code::kCancelled;
    default:
      return Code::kInternal;
  }
}

std::string ReasonName(v1::ErrorReason reason) {
  constexpr size_t kPrefix = sizeof("ERROR_REASON_") - 1;
  std::string name = v1::ErrorReason_Name(reason);
  return name.size() > kPrefix ? name.substr(kPrefix) : "UNSPECIFIED";
}

Error Error::Fields(std::vector<FieldViolation> violations, v1::ErrorReason reason) {
  constexpr size_t kShown = 3;
  std::string message;
  for (size_t i = 0; i < violations.size() && i < kShown; ++i) {
    if (i > 0) message += "; ";
    message += violations[i].field + ": " + violations[i].description;
  }
  if (violations.size() > kShown) {
    message += "; and " + std::to_string(violations.size() - kShown) + " more";
  }
  Error error(reason, std::move(message));
  error.violations_ = std::move(violations);
  return error;
}

std::string ErrnoText(const std::string& what, int host_errno) {
  char buffer[128];
  return what + ": " + strerror_r(host_errno, buffer, sizeof buffer);
}

Error StorageError(const std::string& what, int host_errno) {
  const bool full = host_errno == ENOSPC || host_errno == EDQUOT;
  return Error(full ? v1::ERROR_REASON_STATE_STORAGE_FULL : v1::ERROR_REASON_STATE_STORAGE_FAILED,
               ErrnoText(what, host_errno));
}

}  // namespace sandboxd::daemon
