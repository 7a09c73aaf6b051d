#include "kernel/task/access/ptrace_access.h"

#include <linux/capability.h>

namespace sandboxd::task {

Result<void> CheckPtraceAccess(Task& caller, Task& target, PtraceMode mode) {
  if (&caller.group() == &target.group()) return Ok();
  creds::CredRef own = caller.credentials();
  creds::CredRef other = target.credentials();
  creds::KUid uid = mode == PtraceMode::kReadFs ? own->fsuid : own->ruid;
  creds::KGid gid = mode == PtraceMode::kReadFs ? own->fsgid : own->rgid;
  const bool same_ids = uid == other->euid && uid == other->suid && uid == other->ruid &&
                        gid == other->egid && gid == other->sgid && gid == other->rgid;
  const bool may_trace = own->Capable(CAP_SYS_PTRACE, *other->user_ns);
  if (!same_ids && !may_trace) return Errno::kEPERM;
  Ref<mm::MemoryManager> mm = target.mm();
  if (mm != nullptr && mm->dumpable() != 1 && !may_trace) return Errno::kEPERM;
  // The security module's part: what the target may do beyond us (cap_ptrace_access_check).
  creds::CapSet ours = mode == PtraceMode::kReadFs ? own->effective : own->permitted;
  if (!other->permitted.SubsetOf(ours) && !may_trace) return Errno::kEPERM;
  return Ok();
}

}  // namespace sandboxd::task
