#include "kernel/vfs/mount.h"

#include <linux/capability.h>
#include <sched.h>
#include <sys/mount.h>

#include <algorithm>
#include <utility>

#include "platform/base/check.h"

namespace sandboxd::vfs {

namespace {
std::atomic<int> g_next_mount_id{1};
}  // namespace

Mount::Mount(Ref<Superblock> superblock, Ref<Dentry> root, uint32_t flags, std::string source)
    : superblock_(std::move(superblock)),
      root_([&] {
        Ref<Dentry> top = superblock_->AddMount();
        return root != nullptr ? std::move(root) : std::move(top);
      }()),
      flags_(flags),
      source_(std::move(source)),
      id_(g_next_mount_id.fetch_add(1, std::memory_order_relaxed)) {}

Mount::~Mount() { superblock_->RemoveMount(); }

Path Mount::place() const {
  MutexLock lock(place_mutex_);
  return Path(parent_, mountpoint_);
}

Path Mount::SetPlace(Path place) {
  MutexLock lock(place_mutex_);
  Path old(std::move(parent_), std::move(mountpoint_));
  parent_ = std::move(place.mount);
  mountpoint_ = std::move(place.dentry);
  return old;
}

// Nobody else knows the namespace yet: no lock.
MountNamespace::MountNamespace(Ref<Mount> root, Ref<creds::UserNamespace> owner)
    : Namespace(CLONE_NEWNS), owner_(std::move(owner)), root_(std::move(root)), mounts_{root_} {
  root_->namespace_ = this;
}

MountNamespace::~MountNamespace() {
  std::vector<Path> released;
  {
    MutexLock lock(mutex_);
    while (!mounts_.empty()) Remove(*mounts_.back(), released);
    released.emplace_back(std::move(root_), nullptr);
  }
}

Path MountNamespace::root() const {
  Ref<Mount> root;
  {
    MutexLock lock(mutex_);
    root = root_;
  }
  return CrossDown(Path(root, root->root()));
}

Path MountNamespace::CrossDown(const Path& path) const {
  Path at = path;
  while (at.dentry->mount_count() > 0) {
    Path below;
    {
      MutexLock lock(mutex_);
      auto it = by_place_.find({at.mount.get(), at.dentry.get()});
      if (it == by_place_.end()) break;
      below = Path(Ref<Mount>(it->second), it->second->root_);
    }
    at = std::move(below);
  }
  return at;
}

bool MountNamespace::MayChange(const creds::Credentials& c) const {
  return owner_ != nullptr ? c.Capable(CAP_SYS_ADMIN, *owner_) : c.CapableInit(CAP_SYS_ADMIN);
}

Path MountNamespace::CrossUp(const Mount& mount) const { return mount.place(); }

void MountNamespace::Insert(Ref<Mount> mount, Ref<Mount> parent, Ref<Dentry> mountpoint) {
  mountpoint->mount_count_.fetch_add(1, std::memory_order_release);  // pairs with mount_count()
  by_place_[{parent.get(), mountpoint.get()}] = mount.get();
  mount->SetPlace(Path(std::move(parent), std::move(mountpoint)));
  mount->namespace_ = this;
  mount->expiring_ = false;
  mounts_.push_back(std::move(mount));
}

void MountNamespace::Remove(Mount& mount, std::vector<Path>& released) {
  if (mount.parent_ != nullptr) {
    by_place_.erase({mount.parent_.get(), mount.mountpoint_.get()});
    mount.mountpoint_->mount_count_.fetch_sub(1, std::memory_order_release);
    released.push_back(mount.SetPlace(Path()));
  }
  mount.namespace_ = nullptr;
  auto it = std::find_if(mounts_.begin(), mounts_.end(),
                         [&](const Ref<Mount>& m) { return m == &mount; });
  CHECK(it != mounts_.end());
  released.emplace_back(std::move(*it), nullptr);
  mounts_.erase(it);
}

bool MountNamespace::IsBelowOrSame(const Mount& mount, const Mount& top) const {
  for (const Mount* at = &mount; at != nullptr; at = at->parent_.get()) {
    if (at == &top) return true;
  }
  return false;
}

bool MountNamespace::HasChildren(const Mount& mount) const {
  return std::any_of(mounts_.begin(), mounts_.end(),
                     [&](const Ref<Mount>& m) { return m->parent_ == &mount; });
}

Result<void> MountNamespace::CheckAttachable(const Mount& mount, const Path& where) const {
  if (where.mount->namespace_ != this) return Errno::kEINVAL;
  if (where.dentry->deleted()) return Errno::kENOENT;
  if (mount.root_->inode()->IsDirectory() != where.dentry->inode()->IsDirectory())
    return Errno::kENOTDIR;
  return Ok();
}

Result<void> MountNamespace::Attach(Ref<Mount> mount, const Path& where) {
  Path top = CrossDown(where);
  MutexLock lock(mutex_);
  TRY(CheckAttachable(*mount, top));
  std::vector<Mount::Below> below = std::move(mount->below_);
  Insert(mount, top.mount, top.dentry);
  for (Mount::Below& b : below) {
    Ref<Mount> parent = b.parent < 0 ? mount : below[b.parent].mount;
    Insert(b.mount, std::move(parent), b.mountpoint);
  }
  return Ok();
}

Result<void> MountNamespace::Unmount(const Path& path, int flags) {
  std::vector<Path> released;
  MutexLock lock(mutex_);
  Mount& mount = *path.mount;
  if (path.dentry != mount.root_ || mount.namespace_ != this || mount.parent_ == nullptr)
    return Errno::kEINVAL;
  if ((flags & MNT_DETACH) != 0) {
    for (size_t i = mounts_.size(); i-- > 0;) {
      if (IsBelowOrSame(*mounts_[i], mount)) Remove(*mounts_[i], released);
    }
    return Ok();
  }
  // In use: by mounts on it, or by anybody but the table and the caller's path.
  if (HasChildren(mount) || mount.ref_count_hint() > 2) return Errno::kEBUSY;
  if ((flags & MNT_EXPIRE) != 0 && !mount.expiring_) {
    mount.expiring_ = true;
    return Errno::kEAGAIN;
  }
  Remove(mount, released);
  return Ok();
}

Ref<Mount> MountNamespace::CopyMount(const Mount& from, Ref<Dentry> root) const {
  return MakeRef<Mount>(from.superblock_, std::move(root), from.flags(), from.source_);
}

Result<Ref<Mount>> MountNamespace::Bind(const Path& from, bool recursive) {
  Ref<Mount> copy = CopyMount(*from.mount, from.dentry);
  MutexLock lock(mutex_);
  // A namespace's file (nsfs) can be bound, though it is in no mount namespace.
  const bool nsfs =
      from.mount->namespace_ == nullptr && from.mount->superblock_->internal_bindable();
  if (from.mount->namespace_ != this && !nsfs) return Errno::kEINVAL;
  if (!recursive || nsfs) return copy;
  // mounts_ holds parents before children, so one pass finds all descendants.
  std::vector<const Mount*> originals;
  for (const Ref<Mount>& m : mounts_) {
    if (m->parent_ == nullptr) continue;
    int parent;
    if (m->parent_ == from.mount) {
      if (!from.dentry->IsAncestorOfOrSame(*m->mountpoint_)) continue;
      parent = -1;
    } else {
      auto it = std::find(originals.begin(), originals.end(), m->parent_.get());
      if (it == originals.end()) continue;
      parent = static_cast<int>(it - originals.begin());
    }
    originals.push_back(m.get());
    copy->below_.push_back({CopyMount(*m, m->root_), parent, m->mountpoint_});
  }
  return copy;
}

Result<void> MountNamespace::Move(const Path& from, const Path& to) {
  Path top = CrossDown(to);
  std::vector<Path> released;
  MutexLock lock(mutex_);
  Ref<Mount> mount = from.mount;
  if (from.dentry != mount->root_ || mount->namespace_ != this || mount->parent_ == nullptr)
    return Errno::kEINVAL;
  TRY(CheckAttachable(*mount, top));
  if (IsBelowOrSame(*top.mount, *mount)) return Errno::kELOOP;
  by_place_.erase({mount->parent_.get(), mount->mountpoint_.get()});
  mount->mountpoint_->mount_count_.fetch_sub(1, std::memory_order_release);
  released.push_back(mount->SetPlace(Path()));
  // Again behind its new parent in the order; its descendants follow it.
  std::vector<Ref<Mount>> moved{mount};
  for (const Ref<Mount>& m : mounts_) {
    if (m != mount && IsBelowOrSame(*m, *mount)) moved.push_back(m);
  }
  std::erase_if(mounts_, [&](const Ref<Mount>& m) {
    return std::find(moved.begin(), moved.end(), m) != moved.end();
  });
  Insert(mount, top.mount, top.dentry);
  mounts_.insert(mounts_.end(), moved.begin() + 1, moved.end());
  return Ok();
}

Result<void> MountNamespace::PivotRoot(const Path& new_root, const Path& put_old) {
  Path old_top = CrossDown(put_old);
  std::vector<Path> released;
  MutexLock lock(mutex_);
  Ref<Mount> fresh = new_root.mount;
  Ref<Mount> old = root_;
  if (fresh->namespace_ != this || old_top.mount->namespace_ != this) return Errno::kEINVAL;
  if (fresh == old || old_top.mount == old) return Errno::kEBUSY;
  if (new_root.dentry != fresh->root_ || fresh->parent_ == nullptr) return Errno::kEINVAL;
  // put_old must be at or below new_root.
  if (!IsBelowOrSame(*old_top.mount, *fresh)) return Errno::kEINVAL;
  by_place_.erase({fresh->parent_.get(), fresh->mountpoint_.get()});
  fresh->mountpoint_->mount_count_.fetch_sub(1, std::memory_order_release);
  released.push_back(fresh->SetPlace(Path()));
  root_ = fresh;
  std::vector<Ref<Mount>> under_old;
  for (const Ref<Mount>& m : mounts_) {
    if (m != old && IsBelowOrSame(*m, *old)) under_old.push_back(m);
  }
  std::vector<Ref<Mount>> order;
  for (const Ref<Mount>& m : mounts_) {
    if (IsBelowOrSame(*m, *fresh)) order.push_back(m);
  }
  mounts_ = std::move(order);
  Insert(old, old_top.mount, old_top.dentry);
  mounts_.insert(mounts_.end(), under_old.begin(), under_old.end());
  return Ok();
}

Ref<MountNamespace> MountNamespace::Copy(
    const std::function<void(const Ref<Mount>& from, const Ref<Mount>& to)>& translate,
    Ref<creds::UserNamespace> owner) const {
  std::vector<std::pair<Ref<Mount>, Ref<Mount>>> pairs;
  Ref<MountNamespace> copy;
  {
    MutexLock lock(mutex_);
    Ref<Mount> root = CopyMount(*root_, root_->root_);
    copy = MakeRef<MountNamespace>(root, owner != nullptr ? owner : owner_);
    pairs.emplace_back(root_, root);
    for (const Ref<Mount>& m : mounts_) {
      if (m->parent_ == nullptr) continue;
      auto parent = std::find_if(pairs.begin(), pairs.end(),
                                 [&](const auto& p) { return p.first == m->parent_; });
      CHECK(parent != pairs.end());
      Ref<Mount> twin = CopyMount(*m, m->root_);
      // Nobody else knows the copy yet, so its mutex need not be held (one rank, two objects).
      copy->InsertUnshared(twin, parent->second, m->mountpoint_);
      pairs.emplace_back(m, std::move(twin));
    }
  }
  for (const auto& [from, to] : pairs) translate(from, to);
  return copy;
}

void MountNamespace::InsertUnshared(Ref<Mount> mount, Ref<Mount> parent,
                                    Ref<Dentry> mountpoint) NO_THREAD_SAFETY_ANALYSIS {
  Insert(std::move(mount), std::move(parent), std::move(mountpoint));
}

std::vector<MountNamespace::Entry> MountNamespace::List() const {
  MutexLock lock(mutex_);
  std::vector<Entry> entries;
  entries.reserve(mounts_.size());
  for (const Ref<Mount>& m : mounts_) {
    Entry e{m, m->parent_ ? m->parent_->id() : 0, Path()};
    if (m->parent_) e.mountpoint = Path(m->parent_, m->mountpoint_);
    entries.push_back(std::move(e));
  }
  return entries;
}

}  // namespace sandboxd::vfs
