// Inode: a file as a file system has it (struct inode with its operations). File systems derive
// from it.
//
// Contract: the vfs has checked permissions, read-only mounts and name syntax before it calls. A
// method that a file system does not override answers what Linux answers for a file without that
// operation. Methods on directories are called with that directory's mutex held
// (Dentry::dir_mutex), which also serializes them; it may be held across a gofer call (the one
// stated exception to rule 23). Others may run concurrently.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "kernel/vfs/attr.h"
#include "kernel/vfs/path.h"
#include "kernel/vfs/watch.h"
#include "platform/base/mutex.h"
#include "platform/base/ref.h"
#include "platform/base/result.h"

namespace sandboxd::vfs {

class Caller;
class Dentry;
class File;
class FileLocks;
class Inode;
class Superblock;

// Who owns what a create makes, and with which mode (umask applied, setgid inherited).
struct NewNode {
  uint32_t mode = 0;  // S_IFMT | permissions
  KUid uid;
  KGid gid;
  DeviceNumber rdev;
};

// The MAY_* bits of permission checks.
inline constexpr int kMayExec = 1, kMayWrite = 2, kMayRead = 4;

// The decision of path_resolution(7) for a file with these attributes: owner, group or other bits,
// then CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH.
Result<void> CheckModeBits(const creds::Credentials& c, uint32_t mode, KUid uid, KGid gid,
                           int mask);
// Does `c` hold `cap` over a file of these owners (capable_wrt_inode_uidgid)?
bool CapableOverFile(const creds::Credentials& c, KUid uid, KGid gid, int cap);
// Is `c` the file's owner, or CAP_FOWNER over it?
bool OwnerOrCapable(const creds::Credentials& c, KUid uid, KGid gid);
// The mode that remains after a write by `c`: set-user-ID and set-group-ID go unless CAP_FSETID.
uint32_t ModeAfterWrite(const creds::Credentials& c, uint32_t mode);

class Inode : public RefCounted {
 public:
  Superblock& superblock() const { return *superblock_; }
  uint64_t ino() const { return ino_; }
  // S_IFMT part of the mode: never changes.
  uint32_t type() const { return type_; }
  bool IsDirectory() const;
  bool IsSymlink() const;
  bool IsRegular() const;

  virtual Result<Attr> GetAttr() = 0;
  virtual Result<void> SetAttr(const SetAttr& attr);

  // Does `c` have all rights of `mask` (MAY_READ 4, MAY_WRITE 2, MAY_EXEC 1)? EACCES if not. The
  // default decides by mode, owner and capabilities (path_resolution(7)).
  virtual Result<void> CheckPermission(const creds::Credentials& c, int mask);

  // --- directories ---
  virtual Result<Ref<Inode>> Lookup(std::string_view name);  // ENOENT
  // May a name that was looked up (or found missing) be answered from the dentry cache without
  // asking again?
  virtual bool DentryStillValid(std::string_view name, Inode* cached);
  // Does this name come and go without the vfs (/proc/PID)? Then Lookup is asked each time, without
  // dir_mutex, nothing is cached, and nothing can be created, removed or mounted on under it.
  virtual bool IsVolatile(std::string_view name) const;
  virtual Result<Ref<Inode>> Create(std::string_view name,
                                    const NewNode& node);  // regular files, devices, fifos, sockets
  virtual Result<Ref<Inode>> Mkdir(std::string_view name, const NewNode& node);
  virtual Result<Ref<Inode>> Symlink(std::string_view name, std::string_view target,
                                     const NewNode& node);
  virtual Result<void> Link(std::string_view name, Inode& target);
  virtual Result<void> Unlink(std::string_view name, Inode& victim);
  virtual Result<void> Rmdir(std::string_view name, Inode& victim);
  // `flags`: RENAME_NOREPLACE and RENAME_EXCHANGE have been resolved against the dentry tree;
  // `replaced` is what goes away, or null.
  virtual Result<void> Rename(std::string_view old_name, Inode& moved, Inode& new_dir,
                              std::string_view new_name, Inode* replaced, unsigned flags);
  // O_TMPFILE: an unnamed regular file. EOPNOTSUPP.
  virtual Result<Ref<Inode>> Tmpfile(const NewNode& node);

  // --- symlinks ---
  virtual Result<std::string> ReadLink(Caller& c);
  // A magic link (/proc/PID/{cwd,root,exe,fd/N}) leads to a place, not to a string. An empty Path:
  // it is an ordinary one.
  virtual Result<Path> FollowMagic(Caller& c);

  // --- opening ---
  // The file behind `path` (which names this inode). Flags are O_*; permission is checked, O_TRUNC
  // and O_CREAT are done by the vfs.
  virtual Result<Ref<File>> Open(Caller& c, const Path& path, int flags);

  // --- extended attributes (xattr(7)); names with their namespace prefix ---
  virtual Result<std::string> GetXattr(std::string_view name);
  virtual Result<void> SetXattr(std::string_view name, std::string_view value, int flags);
  virtual Result<void> RemoveXattr(std::string_view name);
  virtual Result<std::vector<std::string>> ListXattr();

  // --- memfd seals (F_ADD_SEALS, F_GET_SEALS); EINVAL where there are none ---
  virtual Result<int> GetSeals();
  virtual Result<void> AddSeals(int seals);

  // Advisory locks of this file: POSIX, OFD and flock. Made on first use.
  FileLocks& locks();
  // Those made already, or null.
  FileLocks* existing_locks() const;

  // May a file without a name be given one (linkat(2) of an O_TMPFILE file)?
  bool linkable() const { return linkable_.load(std::memory_order_relaxed); }
  void set_linkable() { linkable_.store(true, std::memory_order_relaxed); }

  // A slot for what lives on top of an inode and must be shared by all who open it: a fifo's pipe,
  // a bound socket. `make` is called, under a lock, only if the slot is empty.
  Ref<RefCounted> Attachment(const std::function<Ref<RefCounted>()>& make);
  Ref<RefCounted> attachment() const;
  void SetAttachment(Ref<RefCounted> what);

  // Who watches this inode (watch.h).
  bool watched() const { return watched_.load(std::memory_order_relaxed); }
  std::vector<Ref<InodeWatch>> Watches() const;
  void AddWatch(Ref<InodeWatch> watch);
  // What was removed, or null.
  Ref<InodeWatch> RemoveWatch(InodeWatch& watch);

 protected:
  Inode(Superblock& superblock, uint64_t ino, uint32_t mode);
  ~Inode() override;

 private:
  // Outlives us: inodes are held by dentries and files, which hold the superblock through their
  // mount.
  Superblock* const superblock_;
  const uint64_t ino_;
  const uint32_t type_;
  std::atomic<bool> linkable_{false};
  mutable Mutex slots_mutex_{LockRank::kLeaf};
  std::unique_ptr<FileLocks> locks_ GUARDED_BY(slots_mutex_);
  Ref<RefCounted> attachment_ GUARDED_BY(slots_mutex_);
  std::atomic<bool> watched_{false};  // watches_ is not empty; written under slots_mutex_
  std::vector<Ref<InodeWatch>> watches_ GUARDED_BY(slots_mutex_);
};

// One instance of a file system (struct super_block).
class Superblock : public RefCounted {
 public:
  DeviceNumber device() const { return device_; }  // st_dev: an anonymous number, {0, n}
  // Held over a rename between two directories: the shape of the tree does not change meanwhile.
  Mutex& rename_mutex() { return rename_mutex_; }
  // The dentry of RootInode(), shared by all mounts of this instance; the cache below it lives as
  // long as a mount does. Used by Mount.
  Ref<Dentry> AddMount();
  void RemoveMount();
  virtual std::string_view type_name() const = 0;  // "tmpfs"
  virtual Ref<Inode> RootInode() = 0;
  // The file system of what has no path: pipes, sockets, eventfds.
  virtual bool is_internal() const { return false; }
  virtual Result<FsStat> StatFs() = 0;
  virtual Result<void> Sync() { return Ok(); }
  // Options of this instance as /proc/mounts shows them after the mount's own:
  // "size=65536k,mode=755".
  virtual std::string OptionsString() const { return ""; }
  // May its files be bound to places though nobody has mounted it (nsfs)?
  virtual bool internal_bindable() const { return false; }
  // Remount with new options; EINVAL for ones it does not know.
  virtual Result<void> Remount(std::string_view options) {
    return options.empty() ? Ok() : Result<void>(Errno::kEINVAL);
  }

 protected:
  Superblock();
  ~Superblock() override;

 private:
  const DeviceNumber device_;
  Mutex rename_mutex_{LockRank::kRename};
  Mutex mounts_mutex_{LockRank::kSuperblockMounts};
  int mount_count_ GUARDED_BY(mounts_mutex_) = 0;
  Ref<Dentry> root_dentry_ GUARDED_BY(mounts_mutex_);  // while mount_count_ > 0
};

// A registered kind of file system: mount(2)'s filesystemtype.
class FilesystemType {
 public:
  virtual ~FilesystemType() = default;
  virtual std::string_view name() const = 0;
  virtual bool needs_device() const { return false; }  // "nodev" in /proc/filesystems
  // May a task with capabilities only in its own user namespace mount it?
  virtual bool user_mountable() const { return false; }
  virtual Result<Ref<Superblock>> Mount(Caller& c, std::string_view source,
                                        std::string_view options) = 0;
};

}  // namespace sandboxd::vfs
