#include "kernel/ipc/sysv_object.h"

#include <linux/capability.h>
#include <time.h>

namespace sandboxd::ipc {

Result<void> SysvPermission::Check(const creds::Credentials& c, uint32_t wanted) const {
  uint32_t bits = ((wanted >> 6) | (wanted >> 3) | wanted) & 7;
  uint32_t granted = mode;
  if (c.euid == uid || c.euid == creator_uid) {
    granted >>= 6;
  } else if (c.InGroup(gid) || c.InGroup(creator_gid)) {
    granted >>= 3;
  }
  if ((bits & ~granted & 7) != 0 && !c.CapableInit(CAP_IPC_OWNER)) return Errno::kEACCES;
  return Ok();
}

Result<void> SysvPermission::CheckControl(const creds::Credentials& c) const {
  if (c.euid == uid || c.euid == creator_uid || c.CapableInit(CAP_SYS_ADMIN)) return Ok();
  return Errno::kEPERM;
}

int64_t SysvNow() { return ::time(nullptr); }

}  // namespace sandboxd::ipc
