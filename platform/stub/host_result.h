// The result of a host call that a stub made.
#pragma once

#include "platform/base/result.h"

namespace sandboxd::platform::stub {

// A raw `syscall` result: values in [-4095, -1] are errors.
inline Result<uint64_t> HostResult(uint64_t raw) {
  if (raw > static_cast<uint64_t>(-4096)) return FromHostErrno(static_cast<int>(-raw));
  return raw;
}

}  // namespace sandboxd::platform::stub
