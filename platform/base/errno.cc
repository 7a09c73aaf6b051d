#include "platform/base/errno.h"

#include <cstring>

#include "platform/base/log.h"

namespace sandboxd {

const char* ErrnoName(Errno e) {
  switch (e) {
    case Errno::kERESTARTSYS:
      return "ERESTARTSYS";
    case Errno::kERESTARTNOINTR:
      return "ERESTARTNOINTR";
    case Errno::kERESTARTNOHAND:
      return "ERESTARTNOHAND";
    case Errno::kERESTART_RESTARTBLOCK:
      return "ERESTART_RESTARTBLOCK";
    default:
      break;
  }
  const char* name = strerrorname_np(static_cast<int>(e));
  return name != nullptr ? name : "E?";
}

const char* ErrnoMessage(Errno e) {
  const char* text = strerrordesc_np(static_cast<int>(e));
  return text != nullptr ? text : "Unknown error";
}

Errno FromHostErrno(int host_errno) {
  if (host_errno <= 0 || host_errno > 133) {
    LOG_WARNING("host returned errno %d, which Linux does not define; reported as EIO", host_errno);
    return Errno::kEIO;
  }
  return static_cast<Errno>(host_errno);
}

}  // namespace sandboxd
