#include "kernel/vfs/watch.h"

#include <sys/inotify.h>

#include <atomic>

#include "kernel/vfs/inode.h"
#include "kernel/vfs/mount.h"

namespace sandboxd::vfs {

namespace {
// relaxed: an event that races with a new watch may be missed, as in Linux
std::atomic<int> g_watches{0};
std::atomic<uint32_t> g_cookie{0};

void Tell(Inode& inode, const WatchEvent& event) {
  for (const Ref<InodeWatch>& watch : inode.Watches()) watch->OnEvent(event);
}

uint32_t DirectoryBit(bool is_directory) { return is_directory ? IN_ISDIR : 0; }

}  // namespace

InodeWatch::InodeWatch(Ref<Inode> inode) : inode_(std::move(inode)) {}
InodeWatch::~InodeWatch() = default;

void AddWatch(const Ref<InodeWatch>& watch) {
  watch->inode()->AddWatch(watch);
  g_watches.fetch_add(1, std::memory_order_relaxed);
}

bool RemoveWatch(InodeWatch& watch) {
  if (watch.inode()->RemoveWatch(watch) == nullptr) return false;
  g_watches.fetch_sub(1, std::memory_order_relaxed);
  return true;
}

bool AnyWatches() { return g_watches.load(std::memory_order_relaxed) > 0; }

void NotifySelf(Inode& inode, uint32_t mask) {
  if (!AnyWatches() || !inode.watched()) return;
  Tell(inode, {mask | DirectoryBit(inode.IsDirectory()), 0, "", false});
}

void NotifyEntry(Inode& dir, std::string_view name, uint32_t mask, bool is_directory,
                 uint32_t cookie) {
  if (!AnyWatches() || !dir.watched()) return;
  Tell(dir, {mask | DirectoryBit(is_directory), cookie, name, false});
}

void Notify(Dentry& dentry, uint32_t mask) {
  if (!AnyWatches()) return;
  Inode& inode = *dentry.inode();
  if (Ref<Dentry> up = dentry.parent(); up != nullptr && up->inode()->watched()) {
    const std::string name = dentry.name();
    Tell(*up->inode(), {mask | DirectoryBit(inode.IsDirectory()), 0, name, dentry.deleted()});
  }
  NotifySelf(inode, mask);
}

void NotifyDeleted(Inode& inode) {
  if (!AnyWatches() || !inode.watched()) return;
  // What has still a name, or may get one back, is not gone.
  auto attr = inode.GetAttr();
  if (!attr.ok() || (attr->nlink != 0 && !inode.IsDirectory())) return;
  for (const Ref<InodeWatch>& watch : inode.Watches()) {
    watch->OnEvent({IN_DELETE_SELF, 0, "", false});
    if (RemoveWatch(*watch)) watch->OnInodeGone();
  }
}

void NotifyRename(const RenameEvent& where, Inode& moved) {
  if (!AnyWatches()) return;
  const uint32_t cookie = g_cookie.fetch_add(1, std::memory_order_relaxed) + 1;
  const bool is_directory = moved.IsDirectory();
  NotifyEntry(where.old_dir, where.old_name, IN_MOVED_FROM, is_directory, cookie);
  NotifyEntry(where.new_dir, where.new_name, IN_MOVED_TO, is_directory, cookie);
  if (moved.watched()) Tell(moved, {IN_MOVE_SELF, 0, "", false});
}

}  // namespace sandboxd::vfs
