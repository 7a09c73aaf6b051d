// The rules of path_resolution(7) and capabilities(7) that decide by mode bits.
#include <linux/capability.h>
#include <sys/stat.h>

#include "kernel/vfs/inode.h"

namespace sandboxd::vfs {

bool CapableOverFile(const creds::Credentials& c, KUid uid, KGid gid, int cap) {
  return c.CapableOwn(cap) && c.user_ns->IsMapped(uid) && c.user_ns->IsMapped(gid);
}

bool OwnerOrCapable(const creds::Credentials& c, KUid uid, KGid gid) {
  return c.fsuid == uid || CapableOverFile(c, uid, gid, CAP_FOWNER);
}

Result<void> CheckModeBits(const creds::Credentials& c, uint32_t mode, KUid uid, KGid gid,
                           int mask) {
  uint32_t want = static_cast<uint32_t>(mask) & 7;
  uint32_t group_bits = (mode >> 3) & 7;
  uint32_t bits;
  if (c.fsuid == uid) {
    bits = mode >> 6;
  } else if (group_bits != (mode & 7) && c.InGroup(gid)) {
    bits = group_bits;  // asked only where group and other differ
  } else {
    bits = mode;
  }
  if ((bits & want) == want) return Ok();

  if (S_ISDIR(mode)) {
    if (CapableOverFile(c, uid, gid, CAP_DAC_OVERRIDE)) return Ok();
    if ((mask & kMayWrite) == 0 && CapableOverFile(c, uid, gid, CAP_DAC_READ_SEARCH)) return Ok();
    return Errno::kEACCES;
  }
  if (want == kMayRead && CapableOverFile(c, uid, gid, CAP_DAC_READ_SEARCH)) return Ok();
  // Nobody may execute what has no execute bit at all.
  if ((mask & kMayExec) == 0 || (mode & 0111) != 0) {
    if (CapableOverFile(c, uid, gid, CAP_DAC_OVERRIDE)) return Ok();
  }
  return Errno::kEACCES;
}

uint32_t ModeAfterWrite(const creds::Credentials& c, uint32_t mode) {
  if ((mode & (S_ISUID | S_ISGID)) == 0 || c.CapableOwn(CAP_FSETID)) return mode;
  mode &= ~static_cast<uint32_t>(S_ISUID);
  // Without group execute the bit once meant mandatory locking and is no privilege.
  if ((mode & S_IXGRP) != 0) mode &= ~static_cast<uint32_t>(S_ISGID);
  return mode;
}

}  // namespace sandboxd::vfs
