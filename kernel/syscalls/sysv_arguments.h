// Permissions of System V IPC objects between the ABI's form and kernel/ipc's.
#pragma once

#include <sys/ipc.h>

#include "kernel/ipc/sysv_object.h"
#include "kernel/syscalls/args.h"

namespace sandboxd::syscalls {

inline constexpr uint32_t kReadMode = 0444, kWriteMode = 0222;

inline ipc_perm ToUser(Task& t, const ipc::SysvPermission& p) {
  const creds::UserNamespace& ns = *t.credentials()->user_ns;
  ipc_perm out = {};
  out.__key = p.key;
  out.uid = ns.FromKUid(p.uid);
  out.gid = ns.FromKGid(p.gid);
  out.cuid = ns.FromKUid(p.creator_uid);
  out.cgid = ns.FromKGid(p.creator_gid);
  out.mode = p.mode;
  out.__seq = p.sequence;
  return out;
}

// IPC_SET: owner and the low bits of the mode.
inline Result<void> Apply(Task& t, const ipc_perm& from, ipc::SysvPermission& p) {
  auto uid = t.credentials()->user_ns->ToKUid(from.uid);
  auto gid = t.credentials()->user_ns->ToKGid(from.gid);
  if (!uid.has_value() || !gid.has_value()) return Errno::kEINVAL;
  p.uid = *uid;
  p.gid = *gid;
  p.mode = (p.mode & ~0777u) | (from.mode & 0777u);
  return Ok();
}

template <typename T>
Result<void> CheckAccess(Task& t, T& object, uint32_t wanted) {
  creds::CredRef creds = t.credentials();
  MutexLock lock(object.mutex);
  return object.permission.Check(*creds, wanted);
}
template <typename T>
Result<void> CheckControl(Task& t, T& object) {
  creds::CredRef creds = t.credentials();
  MutexLock lock(object.mutex);
  return object.permission.CheckControl(*creds);
}

// The object of IPC_STAT and SEM_STAT: by id or by index; SEM_STAT_ANY asks for no permission.
template <typename T>
Result<Ref<T>> FindForStat(Task& t, ipc::SysvTable<T>& table, int id, bool by_index, bool any) {
  Ref<T> object = TRY(by_index ? table.FindIndex(id) : table.Find(id));
  if (!any) TRY(CheckAccess(t, *object, kReadMode));
  return object;
}

}  // namespace sandboxd::syscalls
