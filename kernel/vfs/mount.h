// Mounts and dentries: the tree that paths are walked in.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "kernel/creds/namespace.h"
#include "kernel/vfs/inode.h"
#include "kernel/vfs/path.h"
#include "platform/base/mutex.h"
#include "platform/base/ref.h"
#include "platform/base/result.h"

namespace sandboxd::vfs {

class MountNamespace;

// A name in a directory, positive (it has an inode) or negative (known to be missing). The cache of
// each directory is its children map; unused children are dropped oldest first beyond a bound.
class Dentry : public RefCounted {
 public:
  // A root, or a dentry of the internal file system with a name of its own.
  static Ref<Dentry> MakeRoot(Ref<Inode> inode, std::string name = "");
  // For O_TMPFILE: a dentry that is deleted from birth.
  static Ref<Dentry> MakeUnlinked(Ref<Inode> inode, Ref<Dentry> parent, std::string name);

  // Null: negative. Never changes: a name that comes into being gets a new dentry.
  const Ref<Inode>& inode() const { return inode_; }
  bool negative() const { return inode_ == nullptr; }
  // Name and parent change by rename, under the file system's rename mutex.
  std::string name() const;
  // Null for a root. An unlinked dentry keeps the parent that it had, as in Linux.
  Ref<Dentry> parent() const;
  bool deleted() const;  // unlinked or removed: no new entries may be made below it

  // The child, from the cache or the file system. A missing name gives a negative dentry, not an
  // error. Takes dir_mutex.
  // ENOENT in a deleted directory.
  Result<Ref<Dentry>> Lookup(std::string_view name);
  // The same with dir_mutex held by the caller.
  Result<Ref<Dentry>> LookupLocked(std::string_view name) REQUIRES(dir_mutex_);
  // The cached child or null; takes no dir_mutex and asks nobody.
  Ref<Dentry> LookupCached(std::string_view name);

  // Serializes changes to this directory. Directory operations of the vfs hold it over the call to
  // the file system.
  Mutex& dir_mutex() RETURN_CAPABILITY(dir_mutex_) { return dir_mutex_; }

  // Changes of the cache after the file system has agreed; dir_mutex held. Used by the vfs only.
  Ref<Dentry> AttachChild(std::string_view name, Ref<Inode> inode);
  void DetachChild(std::string_view name);  // what it names is deleted() from now on
  // What had the new name is deleted() from now on.
  void MoveChild(Dentry& child, Dentry& new_parent, std::string_view new_name);
  void ExchangeChildren(Dentry& child, Dentry& other_parent, Dentry& other);
  // Forgets everything below, in use or not. For the end of a file system's last mount.
  void DropTree();
  bool IsAncestorOfOrSame(const Dentry& other) const;

  int mount_count() const { return mount_count_.load(std::memory_order_acquire); }

 private:
  friend class Mount;
  friend class MountNamespace;
  template <typename T, typename... Args>
  friend Ref<T> sandboxd::MakeRef(Args&&...);
  Dentry(Ref<Inode> inode, Ref<Dentry> parent, std::string name);
  ~Dentry() override;

  using Children = std::map<std::string, Ref<Dentry>, std::less<>>;
  // Moves what the bound says goes from the cache to `dropped`, to be released without the lock.
  void Evict(std::vector<Ref<Dentry>>& dropped) REQUIRES(mutex_);
  void SetPlace(Ref<Dentry> parent, std::string name);
  void MarkDeleted();

  const Ref<Inode> inode_;
  Mutex dir_mutex_{LockRank::kDirectory};
  mutable Mutex mutex_{LockRank::kDentry};
  Ref<Dentry> parent_ GUARDED_BY(mutex_);
  std::string name_ GUARDED_BY(mutex_);
  bool deleted_ GUARDED_BY(mutex_) = false;
  // Transparent comparison, so that a lookup by string_view copies nothing.
  Children children_ GUARDED_BY(mutex_);
  std::string clock_hand_ GUARDED_BY(mutex_);  // where Evict goes on
  std::atomic<bool> referenced_{true};         // looked up since Evict last came by; relaxed
  std::atomic<int> mount_count_{
      0};  // mounts on this dentry, in any namespace: lets the walk skip the table
};

enum MountFlags : uint32_t {  // per mount, as in /proc/mounts
  kMountReadOnly = 1,
  kMountNoSuid = 2,
  kMountNoDev = 4,
  kMountNoExec = 8,
  kMountNoAtime = 0x10,
  kMountNoDirAtime = 0x20,
  kMountRelatime = 0x40,
  kMountNoSymfollow = 0x80,
};

// A file system attached at a place (struct mount). Members change under the namespace's mutex.
class Mount : public RefCounted {
 public:
  // With a null `root`, the file system's own root.
  Mount(Ref<Superblock> superblock, Ref<Dentry> root, uint32_t flags, std::string source);
  const Ref<Superblock>& superblock() const { return superblock_; }
  const Ref<Dentry>& root() const { return root_; }
  uint32_t flags() const { return flags_.load(std::memory_order_relaxed); }
  void set_flags(uint32_t flags) { flags_.store(flags, std::memory_order_relaxed); }
  bool read_only() const { return (flags() & kMountReadOnly) != 0; }
  const std::string& source() const { return source_; }
  int id() const { return id_; }  // /proc/PID/mountinfo
  // Where it is attached: the mountpoint as seen in the parent mount; empty for a namespace's root
  // and for what is not attached.
  Path place() const;

 private:
  friend class MountNamespace;
  ~Mount() override;
  const Ref<Superblock> superblock_;
  const Ref<Dentry> root_;
  std::atomic<uint32_t> flags_;
  const std::string source_;
  const int id_;
  // Exchanges the place; the namespace's mutex held. Returns the old one.
  Path SetPlace(Path place);

  mutable Mutex place_mutex_{LockRank::kLeaf};
  // Written under the namespace's mutex and place_mutex_; read under either.
  Ref<Mount> parent_;
  Ref<Dentry> mountpoint_;                     // in parent_
  const MountNamespace* namespace_ = nullptr;  // that lists us; outlives that membership
  bool expiring_ = false;                      // MNT_EXPIRE was asked for once
  // The rest: under the namespace's mutex. Between Bind and Attach: the mounts below that a
  // recursive bind copied.
  struct Below {
    Ref<Mount> mount;
    int parent;  // index in below_, -1: this mount
    Ref<Dentry> mountpoint;
  };
  std::vector<Below> below_;
};

// The path from the root of its mount namespace, or the name of a dentry that stands alone; "
// (deleted)" appended if so.
std::string FullPathString(const Path& path);

// The mounts that a set of tasks sees (mount_namespaces(7)).
class MountNamespace : public creds::Namespace {
 public:
  // `owner`: whose CAP_SYS_ADMIN may change it; null: the sandbox's initial one.
  explicit MountNamespace(Ref<Mount> root, Ref<creds::UserNamespace> owner = nullptr);

  bool MayChange(const creds::Credentials& c) const;
  const creds::UserNamespace* owner_ns() const override { return owner_.get(); }

  Path root() const;
  // What is mounted on `path` (topmost), or `path` itself.
  Path CrossDown(const Path& path) const;
  // Where the root of this mount is mounted: the mountpoint as seen in the parent mount; empty at
  // the namespace's root.
  Path CrossUp(const Mount& mount) const;

  Result<void> Attach(Ref<Mount> mount, const Path& where);
  // umount2(2): EBUSY if in use (unless MNT_DETACH), EINVAL if `path` is no mount's root.
  Result<void> Unmount(const Path& path, int flags);
  Result<Ref<Mount>> Bind(const Path& from, bool recursive);
  Result<void> Move(const Path& from, const Path& to);
  Result<void> PivotRoot(const Path& new_root, const Path& put_old);
  // A copy for unshare(CLONE_NEWNS); `translate` is told each old mount and its copy, so that root
  // and cwd can follow.
  Ref<MountNamespace> Copy(
      const std::function<void(const Ref<Mount>& from, const Ref<Mount>& to)>& translate,
      Ref<creds::UserNamespace> owner = nullptr) const;

  struct Entry {
    Ref<Mount> mount;
    int parent_id = 0;
    Path mountpoint;  // in the parent; empty for the root
  };
  // Parents before children, in mount order.
  std::vector<Entry> List() const;

 private:
  ~MountNamespace() override;
  using Place = std::pair<const Mount*, const Dentry*>;
  void Insert(Ref<Mount> mount, Ref<Mount> parent, Ref<Dentry> mountpoint) REQUIRES(mutex_);
  void InsertUnshared(Ref<Mount> mount, Ref<Mount> parent, Ref<Dentry> mountpoint);
  // Takes `mount` out of the table; what it held goes to `released`.
  void Remove(Mount& mount, std::vector<Path>& released) REQUIRES(mutex_);
  bool IsBelowOrSame(const Mount& mount, const Mount& top) const REQUIRES(mutex_);
  bool HasChildren(const Mount& mount) const REQUIRES(mutex_);
  Ref<Mount> CopyMount(const Mount& from, Ref<Dentry> root) const;
  Result<void> CheckAttachable(const Mount& mount, const Path& where) const REQUIRES(mutex_);

  const Ref<creds::UserNamespace> owner_;
  mutable Mutex mutex_{LockRank::kMountTable};
  Ref<Mount> root_ GUARDED_BY(mutex_);
  std::vector<Ref<Mount>> mounts_ GUARDED_BY(mutex_);  // in mount order
  std::map<Place, Mount*> by_place_ GUARDED_BY(mutex_);
};

}  // namespace sandboxd::vfs
