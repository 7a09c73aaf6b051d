// rename(2) and renameat2(2).
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/inotify.h>

#include <optional>

#include "kernel/vfs/vfs.h"
#include "kernel/vfs/vfs_internal.h"
#include "kernel/vfs/walker.h"

namespace sandboxd::vfs {

namespace {

struct RenameSides {
  const Walker& old_walk;
  const Walker& new_walk;
  unsigned flags;
  bool exchange() const { return (flags & RENAME_EXCHANGE) != 0; }
};

// With both directories' mutexes held, which the analysis can't follow through the walks.
Result<void> RenameLocked(const RenameSides& s, Ref<Dentry>& old_child,
                          Ref<Dentry>& new_child) NO_THREAD_SAFETY_ANALYSIS {
  Dentry& old_dir = *s.old_walk.at().dentry;
  Dentry& new_dir = *s.new_walk.at().dentry;
  const creds::Credentials& creds = s.old_walk.credentials();
  old_child = TRY(old_dir.LookupLocked(s.old_walk.last()));
  if (old_child->negative()) return Errno::kENOENT;
  new_child = TRY(new_dir.LookupLocked(s.new_walk.last()));
  bool target_exists = !new_child->negative();
  if ((s.flags & RENAME_NOREPLACE) != 0 && target_exists) return Errno::kEEXIST;
  if (s.exchange()) {
    if (!target_exists) return Errno::kENOENT;
    if (!new_child->inode()->IsDirectory() && s.new_walk.trailing_slash()) return Errno::kENOTDIR;
  }
  bool old_is_dir = old_child->inode()->IsDirectory();
  if (!old_is_dir) {
    if (s.old_walk.trailing_slash()) return Errno::kENOTDIR;
    if (!s.exchange() && s.new_walk.trailing_slash()) return Errno::kENOTDIR;
  }
  if (old_child->IsAncestorOfOrSame(new_dir)) return Errno::kEINVAL;
  if (target_exists && new_child->IsAncestorOfOrSame(old_dir))
    return s.exchange() ? Errno::kEINVAL : Errno::kENOTEMPTY;

  if (target_exists && old_child->inode() == new_child->inode()) return Ok();
  TRY(MayDelete(creds, old_dir, *old_child, old_is_dir));
  bool new_is_dir = target_exists && new_child->inode()->IsDirectory();
  if (!target_exists) {
    TRY(MayCreate(creds, new_dir));
  } else {
    TRY(MayDelete(creds, new_dir, *new_child, s.exchange() ? new_is_dir : old_is_dir));
  }
  if (&old_dir != &new_dir) {
    // A directory that gets a new parent has its ".." changed.
    if (old_is_dir) TRY(old_child->inode()->CheckPermission(creds, kMayWrite));
    if (s.exchange() && new_is_dir) TRY(new_child->inode()->CheckPermission(creds, kMayWrite));
  }
  TRY(old_dir.inode()->Rename(s.old_walk.last(), *old_child->inode(), *new_dir.inode(),
                              s.new_walk.last(), new_child->inode().get(), s.flags));
  const RenameEvent moved{*old_dir.inode(), s.old_walk.last(), *new_dir.inode(), s.new_walk.last()};
  if (s.exchange()) {
    old_dir.ExchangeChildren(*old_child, new_dir, *new_child);
  } else {
    old_dir.MoveChild(*old_child, new_dir, s.new_walk.last());
  }
  NotifyRename(moved, *old_child->inode());
  if (s.exchange()) {
    NotifyRename({moved.new_dir, moved.new_name, moved.old_dir, moved.old_name},
                 *new_child->inode());
  } else if (target_exists) {
    NotifySelf(*new_child->inode(), IN_ATTRIB);
  }
  return Ok();
}

}  // namespace

Result<void> Vfs::Rename(Caller& c, std::string_view old_path, const At& old_at,
                         std::string_view new_path, const At& new_at, unsigned flags) {
  Walker old_walk(c, old_at);
  TRY(old_walk.WalkParent(old_path));
  Walker new_walk(c, new_at);
  TRY(new_walk.WalkParent(new_path));
  if (old_walk.at().mount != new_walk.at().mount) return Errno::kEXDEV;
  if (IsSpecialName(old_walk.last())) return Errno::kEBUSY;
  if (IsSpecialName(new_walk.last()))
    return (flags & RENAME_NOREPLACE) != 0 ? Errno::kEEXIST : Errno::kEBUSY;
  TRY(WantWrite(*old_walk.at().mount));

  RenameSides sides{old_walk, new_walk, flags};
  Ref<Dentry> old_child, new_child;  // outlive the locks
  Dentry& old_dir = *old_walk.at().dentry;
  Dentry& new_dir = *new_walk.at().dentry;
  if (&old_dir == &new_dir) {
    MutexLock lock(old_dir.dir_mutex());
    return RenameLocked(sides, old_child, new_child);
  }
  // The rename mutex keeps the ancestor checks true until the move is done.
  MutexLock tree(old_walk.at().mount->superblock()->rename_mutex());
  MutexLockPair lock(old_dir.dir_mutex(), new_dir.dir_mutex());
  return RenameLocked(sides, old_child, new_child);
}

}  // namespace sandboxd::vfs
