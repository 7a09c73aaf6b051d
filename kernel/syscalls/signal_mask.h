// The signal mask argument of ppoll, pselect6 and epoll_pwait.
#pragma once

#include "kernel/syscalls/args.h"

namespace sandboxd::syscalls {

// Sets the mask at `addr` for the rest of the call; a null one changes nothing. EINVAL if `size`
// isn't that of the kernel's sigset_t, EFAULT.
inline Result<void> UseSignalMask(Task& t, UserAddr addr, uint64_t size) {
  if (addr.null()) return Ok();
  if (size != sizeof(signal::SigSet)) return Errno::kEINVAL;
  auto mask = TRY(t.memory().Read<signal::SigSet>(addr));
  t.SetTemporarySignalMask(mask & ~signal::kUnblockable);
  return Ok();
}

}  // namespace sandboxd::syscalls
