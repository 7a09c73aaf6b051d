// Watching inodes for what happens to them (inotify(7)): who watches, and how the verbs of the vfs
// and of the system call layer tell it. Costs one relaxed load while nobody watches anything.
#pragma once

#include <cstdint>
#include <string_view>

#include "kernel/vfs/path.h"
#include "platform/base/ref.h"

namespace sandboxd::vfs {

class Dentry;
class File;
class Inode;

struct WatchEvent {
  uint32_t mask = 0;  // one IN_* event, perhaps with IN_ISDIR
  uint32_t cookie = 0;
  std::string_view name;  // in a watched folder; "" if it is about what is watched itself
  bool unlinked = false;  // of `name`: it is no longer in the folder
};

// One watch of one inode, which it holds, until RemoveWatch. Compare with Linux's fsnotify mark.
class InodeWatch : public RefCounted {
 public:
  explicit InodeWatch(Ref<Inode> inode);
  const Ref<Inode>& inode() const { return inode_; }
  // Without a lock of the vfs's watch code; a directory's mutex may be held.
  virtual void OnEvent(const WatchEvent& event) = 0;
  // The inode has gone for good (the last event was told before): the watch has been removed.
  virtual void OnInodeGone() = 0;

 protected:
  ~InodeWatch() override;

 private:
  const Ref<Inode> inode_;
};

void AddWatch(const Ref<InodeWatch>& watch);
// False if it was not (or no longer) there.
bool RemoveWatch(InodeWatch& watch);

// Does anyone watch anything?
bool AnyWatches();

// `mask` happened to `inode` itself: its own watches.
void NotifySelf(Inode& inode, uint32_t mask);
// `mask` happened to the entry `name` of the folder `dir`: the folder's watches.
void NotifyEntry(Inode& dir, std::string_view name, uint32_t mask, bool is_directory,
                 uint32_t cookie = 0);
// `mask` happened to what `dentry` names: the watches of its folder, then its own.
void Notify(Dentry& dentry, uint32_t mask);
inline void Notify(const Path& path, uint32_t mask) {
  if (AnyWatches()) Notify(*path.dentry, mask);
}
// The last dentry of a deleted file goes: IN_DELETE_SELF, and its watches with it.
void NotifyDeleted(Inode& inode);
// Both ends of a rename: old and new folder, and what has moved.
struct RenameEvent {
  Inode& old_dir;
  std::string_view old_name;
  Inode& new_dir;
  std::string_view new_name;
};
void NotifyRename(const RenameEvent& where, Inode& moved);

}  // namespace sandboxd::vfs
