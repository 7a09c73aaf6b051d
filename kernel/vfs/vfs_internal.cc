#include "kernel/vfs/vfs_internal.h"

#include <linux/capability.h>
#include <sys/stat.h>

namespace sandboxd::vfs {

Result<void> MayCreate(const creds::Credentials& c, Dentry& dir) {
  if (dir.deleted()) return Errno::kENOENT;
  return dir.inode()->CheckPermission(c, kMayWrite | kMayExec);
}

Result<void> MayDelete(const creds::Credentials& c, Dentry& dir, Dentry& victim,
                       bool as_directory) {
  TRY(dir.inode()->CheckPermission(c, kMayWrite | kMayExec));
  Attr dir_attr = TRY(dir.inode()->GetAttr());
  if ((dir_attr.mode & S_ISVTX) != 0) {
    Attr attr = TRY(victim.inode()->GetAttr());
    if (c.fsuid != attr.uid && c.fsuid != dir_attr.uid &&
        !CapableOverFile(c, attr.uid, attr.gid, CAP_FOWNER)) {
      return Errno::kEPERM;
    }
  }
  if (as_directory != victim.inode()->IsDirectory())
    return as_directory ? Errno::kENOTDIR : Errno::kEISDIR;
  if (dir.deleted()) return Errno::kENOENT;
  if (victim.mount_count() > 0) return Errno::kEBUSY;
  return Ok();
}

Result<NewNode> MakeNode(Caller& caller, const creds::Credentials& c, Inode& dir, uint32_t mode,
                         DeviceNumber rdev) {
  NewNode node{mode & ~(caller.umask() & 0777), c.fsuid, c.fsgid, rdev};
  Attr parent = TRY(dir.GetAttr());
  if ((parent.mode & S_ISGID) == 0) return node;
  // inode(7): "files created in a directory with set-group-ID get its group; directories the bit
  // too".
  node.gid = parent.gid;
  if (S_ISDIR(mode)) {
    node.mode |= S_ISGID;
  } else if ((mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP) && !c.InGroup(parent.gid) &&
             !CapableOverFile(c, parent.uid, parent.gid, CAP_FSETID)) {
    node.mode &= ~static_cast<uint32_t>(S_ISGID);
  }
  return node;
}

}  // namespace sandboxd::vfs
