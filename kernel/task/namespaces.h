// Making namespaces, for clone(2) and unshare(2).
#pragma once

#include "kernel/creds/credentials.h"
#include "kernel/task/task.h"
#include "kernel/vfs/mount.h"

namespace sandboxd::task {

// The credentials of a task that enters a user namespace of its own making. EPERM if its ids are
// not mapped where it is made; ENOSPC as UserNamespace::CreateChild.
Result<creds::CredRef> CredentialsForNewUserNamespace(const creds::Credentials& old);

// A private copy of `mounts`, to which the root and cwd of `fs` move.
Ref<vfs::MountNamespace> CopyMounts(const vfs::MountNamespace& mounts, FsContext& fs,
                                    Ref<creds::UserNamespace> owner);

}  // namespace sandboxd::task
