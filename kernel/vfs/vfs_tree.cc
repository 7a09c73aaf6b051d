// Names that come and go: mkdir, mknod, symlink, link, unlink, rmdir, readlink.
#include <linux/capability.h>
#include <sys/inotify.h>
#include <sys/stat.h>

#include "kernel/vfs/vfs.h"
#include "kernel/vfs/vfs_internal.h"
#include "kernel/vfs/walker.h"

namespace sandboxd::vfs {

namespace {

// Makes a new name: what all creating calls share, in Linux's order of checks. `make` is called
// with the directory's mutex held and gives the new inode.
template <typename Make>
Result<Path> CreateName(Caller& c, std::string_view path, const At& at, bool directory,
                        Make&& make) {
  Walker walker(c, at);
  TRY(walker.WalkParent(path));
  if (IsSpecialName(walker.last())) return Errno::kEEXIST;
  const Path& dir = walker.at();
  MutexLock lock(dir.dentry->dir_mutex());
  Ref<Dentry> child = TRY(dir.dentry->LookupLocked(walker.last()));
  if (!child->negative()) return Errno::kEEXIST;
  if (walker.trailing_slash() && !directory) return Errno::kENOENT;
  TRY(WantWrite(*dir.mount));
  TRY(MayCreate(walker.credentials(), *dir.dentry));
  Ref<Inode> inode = TRY(make(*dir.dentry->inode(), walker.last(), walker.credentials()));
  Path made(dir.mount, dir.dentry->AttachChild(walker.last(), std::move(inode)));
  NotifyEntry(*dir.dentry->inode(), walker.last(), IN_CREATE, directory);
  return made;
}

// proc(5), protected_hardlinks = 1: a link needs ownership, or a plain file that one may read and
// write.
Result<void> MayLink(const creds::Credentials& creds, Inode& inode) {
  Attr attr = TRY(inode.GetAttr());
  if (OwnerOrCapable(creds, attr.uid, attr.gid)) return Ok();
  bool plain = inode.IsRegular() && (attr.mode & S_ISUID) == 0 &&
               (attr.mode & (S_ISGID | S_IXGRP)) != (S_ISGID | S_IXGRP);
  if (!plain || !inode.CheckPermission(creds, kMayRead | kMayWrite).ok()) return Errno::kEPERM;
  return Ok();
}

}  // namespace

Result<void> Vfs::Mkdir(Caller& c, std::string_view path, const At& at, uint32_t mode) {
  TRY(CreateName(c, path, at, /*directory=*/true,
                 [&](Inode& dir, std::string_view name,
                     const creds::Credentials& creds) -> Result<Ref<Inode>> {
                   NewNode node = TRY(MakeNode(c, creds, dir, S_IFDIR | (mode & 01777)));
                   return dir.Mkdir(name, node);
                 }));
  return Ok();
}

Result<void> Vfs::Mknod(Caller& c, std::string_view path, const At& at, uint32_t mode,
                        DeviceNumber dev) {
  TRY(MknodAt(c, path, at, mode, dev));
  return Ok();
}

Result<Path> Vfs::MknodAt(Caller& c, std::string_view path, const At& at, uint32_t mode,
                          DeviceNumber dev) {
  uint32_t type = mode & S_IFMT;
  if (type == 0) type = S_IFREG;
  if (type == S_IFDIR) return Errno::kEPERM;
  if (type != S_IFREG && type != S_IFCHR && type != S_IFBLK && type != S_IFIFO &&
      type != S_IFSOCK) {
    return Errno::kEINVAL;
  }
  bool device = type == S_IFCHR || type == S_IFBLK;
  if (!device) dev = {};
  return CreateName(c, path, at, /*directory=*/false,
                    [&](Inode& dir, std::string_view name,
                        const creds::Credentials& creds) -> Result<Ref<Inode>> {
                      if (device && !creds.CapableInit(CAP_MKNOD)) return Errno::kEPERM;
                      NewNode node = TRY(MakeNode(c, creds, dir, type | (mode & 07777), dev));
                      return dir.Create(name, node);
                    });
}

Result<void> Vfs::Symlink(Caller& c, std::string_view target, std::string_view path, const At& at) {
  if (target.empty()) return Errno::kENOENT;
  TRY(CreateName(c, path, at, /*directory=*/false,
                 [&](Inode& dir, std::string_view name,
                     const creds::Credentials& creds) -> Result<Ref<Inode>> {
                   NewNode node = TRY(MakeNode(c, creds, dir, S_IFLNK));
                   node.mode = S_IFLNK | 0777;
                   return dir.Symlink(name, target, node);
                 }));
  return Ok();
}

Result<void> Vfs::Link(Caller& c, std::string_view old_path, const At& old_at,
                       std::string_view new_path, const At& new_at) {
  Path old = TRY(Resolve(c, old_path, old_at));
  Walker walker(c, new_at);
  TRY(walker.WalkParent(new_path));
  if (IsSpecialName(walker.last())) return Errno::kEEXIST;
  const Path& dir = walker.at();
  const creds::Credentials& creds = walker.credentials();
  MutexLock lock(dir.dentry->dir_mutex());
  Ref<Dentry> child = TRY(dir.dentry->LookupLocked(walker.last()));
  if (!child->negative()) return Errno::kEEXIST;
  if (walker.trailing_slash()) return Errno::kENOENT;
  TRY(WantWrite(*dir.mount));
  if (old.mount != dir.mount) return Errno::kEXDEV;
  Inode& inode = *old.dentry->inode();
  TRY(MayLink(creds, inode));
  TRY(MayCreate(creds, *dir.dentry));
  if (inode.IsDirectory()) return Errno::kEPERM;
  if (TRY(inode.GetAttr()).nlink == 0 && !inode.linkable()) return Errno::kENOENT;
  TRY(dir.dentry->inode()->Link(walker.last(), inode));
  dir.dentry->AttachChild(walker.last(), old.dentry->inode());
  NotifySelf(inode, IN_ATTRIB);
  NotifyEntry(*dir.dentry->inode(), walker.last(), IN_CREATE, /*is_directory=*/false);
  return Ok();
}

Result<void> Vfs::Unlink(Caller& c, std::string_view path, const At& at) {
  Walker walker(c, at);
  TRY(walker.WalkParent(path));
  if (IsSpecialName(walker.last())) return Errno::kEISDIR;
  const Path& dir = walker.at();
  TRY(WantWrite(*dir.mount));
  Ref<Dentry> child;  // outlives the lock: the last reference may be ours
  {
    MutexLock lock(dir.dentry->dir_mutex());
    child = TRY(dir.dentry->LookupLocked(walker.last()));
    if (child->negative()) return Errno::kENOENT;
    if (walker.trailing_slash())
      return child->inode()->IsDirectory() ? Errno::kEISDIR : Errno::kENOTDIR;
    TRY(MayDelete(walker.credentials(), *dir.dentry, *child, /*as_directory=*/false));
    TRY(dir.dentry->inode()->Unlink(walker.last(), *child->inode()));
    dir.dentry->DetachChild(walker.last());
  }
  NotifySelf(*child->inode(), IN_ATTRIB);  // its link count
  child = nullptr;                         // what watches the file hears of its end first
  NotifyEntry(*dir.dentry->inode(), walker.last(), IN_DELETE, /*is_directory=*/false);
  return Ok();
}

Result<void> Vfs::Rmdir(Caller& c, std::string_view path, const At& at) {
  Walker walker(c, at);
  TRY(walker.WalkParent(path));
  if (walker.last().empty()) return Errno::kEBUSY;
  if (walker.last() == ".") return Errno::kEINVAL;
  if (walker.last() == "..") return Errno::kENOTEMPTY;
  const Path& dir = walker.at();
  TRY(WantWrite(*dir.mount));
  Ref<Dentry> child;
  {
    MutexLock lock(dir.dentry->dir_mutex());
    child = TRY(dir.dentry->LookupLocked(walker.last()));
    if (child->negative()) return Errno::kENOENT;
    TRY(MayDelete(walker.credentials(), *dir.dentry, *child, /*as_directory=*/true));
    TRY(dir.dentry->inode()->Rmdir(walker.last(), *child->inode()));
    dir.dentry->DetachChild(walker.last());
  }
  child = nullptr;
  NotifyEntry(*dir.dentry->inode(), walker.last(), IN_DELETE, /*is_directory=*/true);
  return Ok();
}

Result<std::string> Vfs::ReadLink(Caller& c, std::string_view path, const At& at) {
  At where = at;
  where.follow_last = false;
  Path place = TRY(Resolve(c, path, where));
  Inode& inode = *place.dentry->inode();
  if (!inode.IsSymlink()) return path.empty() ? Errno::kENOENT : Errno::kEINVAL;
  return inode.ReadLink(c);
}

}  // namespace sandboxd::vfs
