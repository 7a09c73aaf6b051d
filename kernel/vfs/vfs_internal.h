// Checks that the verbs of the vfs share. Internal to the vfs.
#pragma once

#include "kernel/vfs/caller.h"
#include "kernel/vfs/inode.h"
#include "kernel/vfs/mount.h"
#include "kernel/vfs/path.h"

namespace sandboxd::vfs {

// May a name be added to this directory? ENOENT if it is deleted, EACCES.
Result<void> MayCreate(const creds::Credentials& c, Dentry& dir);
// May `victim` be taken out of `dir`? EACCES, EPERM (sticky), ENOTDIR or EISDIR, EBUSY
// (mountpoint).
Result<void> MayDelete(const creds::Credentials& c, Dentry& dir, Dentry& victim, bool as_directory);
// Owner, group and mode of what `c` makes in `dir`: umask applied, set-group-ID inherited.
Result<NewNode> MakeNode(Caller& caller, const creds::Credentials& c, Inode& dir, uint32_t mode,
                         DeviceNumber rdev = {});
// EROFS on a read-only mount.
inline Result<void> WantWrite(const Mount& mount) {
  return mount.read_only() ? Result<void>(Errno::kEROFS) : Ok();
}
// "." or ".." or the root: not a name that can be made or removed.
inline bool IsSpecialName(std::string_view name) {
  return name.empty() || name == "." || name == "..";
}

}  // namespace sandboxd::vfs
