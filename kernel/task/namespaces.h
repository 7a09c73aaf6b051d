// Making and entering namespaces: clone(2), unshare(2), setns(2).
#pragma once

#include "kernel/creds/credentials.h"
#include "kernel/task/namespace_objects.h"
#include "kernel/task/task.h"
#include "kernel/vfs/mount.h"

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x00000080
#endif

namespace sandboxd::task {

inline constexpr uint64_t kNamespaceFlags = CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC |
                                            CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET |
                                            CLONE_NEWCGROUP | CLONE_NEWTIME;

// The credentials of a task that enters a user namespace of its own making. EPERM if its ids are
// not mapped where it is made, or if it is in a chroot; ENOSPC as UserNamespace::CreateChild.
Result<creds::CredRef> CredentialsForNewUserNamespace(Task& task);

// A private copy of `mounts`, to which the root and cwd of `fs` move.
Ref<vfs::MountNamespace> CopyMounts(const vfs::MountNamespace& mounts, FsContext& fs,
                                    Ref<creds::UserNamespace> owner);

// EPERM without CAP_SYS_ADMIN over what is to rule them; ENOSPC for too many levels; EINVAL.
Result<Ref<PidNamespace>> NewPidNamespace(Task& maker, const creds::Credentials& creds);

// unshare(2), with flags that have been checked to be known.
Result<void> Unshare(Task& task, uint64_t flags);

// setns(2) with a namespace's file: EINVAL, EPERM.
Result<void> EnterNamespace(Task& task, creds::Namespace& ns);
// setns(2) with a pidfd: all namespaces of `target` that `flags` names, or none.
Result<void> EnterNamespacesOf(Task& task, Task& target, uint64_t flags);

}  // namespace sandboxd::task
