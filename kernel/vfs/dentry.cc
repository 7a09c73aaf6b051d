#include <utility>

#include "kernel/vfs/mount.h"

namespace sandboxd::vfs {

namespace {
// Cached names of one directory beyond which unused ones are dropped.
constexpr size_t kMaxCachedChildren = 1024;
constexpr int kEvictScan = 16;
}  // namespace

Dentry::Dentry(Ref<Inode> inode, Ref<Dentry> parent, std::string name)
    : inode_(std::move(inode)), parent_(std::move(parent)), name_(std::move(name)) {}

// A chain of unlinked directories, each held by the next, can be as long as a program likes: it is
// taken apart in a loop.
Dentry::~Dentry() {
  Ref<Dentry> up;
  bool deleted;
  {
    MutexLock lock(mutex_);
    up = std::move(parent_);
    deleted = deleted_;
  }
  if (deleted && inode_ != nullptr) NotifyDeleted(*inode_);
  while (up != nullptr && up->ref_count_hint() == 1) {
    Ref<Dentry> next;
    {
      MutexLock lock(up->mutex_);
      next = std::move(up->parent_);
    }
    up = std::move(next);
  }
}

Ref<Dentry> Dentry::MakeRoot(Ref<Inode> inode, std::string name) {
  return MakeRef<Dentry>(std::move(inode), Ref<Dentry>(), std::move(name));
}

Ref<Dentry> Dentry::MakeUnlinked(Ref<Inode> inode, Ref<Dentry> parent, std::string name) {
  Ref<Dentry> d = MakeRef<Dentry>(std::move(inode), std::move(parent), std::move(name));
  d->MarkDeleted();
  return d;
}

std::string Dentry::name() const {
  MutexLock lock(mutex_);
  return name_;
}

Ref<Dentry> Dentry::parent() const {
  MutexLock lock(mutex_);
  return parent_;
}

bool Dentry::deleted() const {
  MutexLock lock(mutex_);
  return deleted_;
}

Ref<Dentry> Dentry::LookupCached(std::string_view name) {
  MutexLock lock(mutex_);
  auto it = children_.find(name);
  if (it == children_.end()) return nullptr;
  it->second->referenced_.store(true, std::memory_order_relaxed);
  return it->second;
}

Result<Ref<Dentry>> Dentry::Lookup(std::string_view name) {
  if (inode_->IsVolatile(name)) {
    Result<Ref<Inode>> found = inode_->Lookup(name);
    if (!found.ok() && !found.Is(Errno::kENOENT)) return found.error();
    Ref<Inode> inode = found.ok() ? *std::move(found) : Ref<Inode>();
    return MakeRef<Dentry>(std::move(inode), Ref<Dentry>(this), std::string(name));
  }
  if (Ref<Dentry> child = LookupCached(name)) {
    if (inode_->DentryStillValid(name, child->inode_.get())) return child;
  }
  MutexLock lock(dir_mutex_);
  return LookupLocked(name);
}

Result<Ref<Dentry>> Dentry::LookupLocked(std::string_view name) {
  if (inode_->IsVolatile(name)) return Errno::kEPERM;
  Ref<Dentry> child = LookupCached(name);
  if (child != nullptr) {
    if (child->mount_count() > 0 || inode_->DentryStillValid(name, child->inode_.get()))
      return child;
  }
  if (deleted()) return Errno::kENOENT;
  Result<Ref<Inode>> found = inode_->Lookup(name);
  if (!found.ok() && !found.Is(Errno::kENOENT)) return found.error();
  Ref<Inode> inode = found.ok() ? *std::move(found) : Ref<Inode>();
  if (child != nullptr) {
    if (child->inode_ == inode) return child;
    DetachChild(name);
  }
  return AttachChild(name, std::move(inode));
}

void Dentry::Evict(std::vector<Ref<Dentry>>& dropped) {
  auto it = children_.lower_bound(clock_hand_);
  for (int i = 0; i < kEvictScan; i++) {
    if (it == children_.end()) it = children_.begin();
    if (it == children_.end()) break;
    // One reference is the map's own; a new one can only come from the map, under mutex_.
    bool unused = it->second->ref_count_hint() == 1;
    if (unused && !it->second->referenced_.exchange(false, std::memory_order_relaxed)) {
      dropped.push_back(std::move(it->second));
      it = children_.erase(it);
    } else {
      ++it;
    }
  }
  clock_hand_ = it == children_.end() ? std::string() : it->first;
}

Ref<Dentry> Dentry::AttachChild(std::string_view name, Ref<Inode> inode) {
  Ref<Dentry> child = MakeRef<Dentry>(std::move(inode), Ref<Dentry>(this), std::string(name));
  std::vector<Ref<Dentry>> dropped;
  MutexLock lock(mutex_);
  // What a deleted directory held must not come back, and would keep itself alive.
  if (deleted_) return child;
  if (children_.size() >= kMaxCachedChildren) Evict(dropped);
  auto [it, inserted] = children_.try_emplace(std::string(name), child);
  if (!inserted) {
    dropped.push_back(std::exchange(it->second, child));
  }
  return child;
}

void Dentry::MarkDeleted() {
  Children below;
  {
    MutexLock lock(mutex_);
    deleted_ = true;
    below.swap(children_);
  }
}

void Dentry::DetachChild(std::string_view name) {
  Ref<Dentry> child;
  {
    MutexLock lock(mutex_);
    auto it = children_.find(name);
    if (it == children_.end()) return;
    child = std::move(it->second);
    children_.erase(it);
  }
  child->DropTree();
  child->MarkDeleted();
}

void Dentry::SetPlace(Ref<Dentry> parent, std::string name) {
  MutexLock lock(mutex_);
  std::swap(parent_, parent);
  name_ = std::move(name);
  // The old parent, released after the lock: someone else holds it too (its dir_mutex is held).
}

void Dentry::MoveChild(Dentry& child, Dentry& new_parent, std::string_view new_name) {
  new_parent.DetachChild(new_name);
  std::string old_name = child.name();
  Ref<Dentry> moved(&child);
  std::string name(new_name);
  {
    MutexLockPair lock(mutex_, new_parent.mutex_);
    children_.erase(old_name);
    new_parent.children_.insert_or_assign(name, moved);
  }
  child.SetPlace(Ref<Dentry>(&new_parent), std::move(name));
}

void Dentry::ExchangeChildren(Dentry& child, Dentry& other_parent, Dentry& other) {
  std::string child_name = child.name();
  std::string other_name = other.name();
  Ref<Dentry> a(&child), b(&other);
  {
    MutexLockPair lock(mutex_, other_parent.mutex_);
    children_.insert_or_assign(child_name, b);
    other_parent.children_.insert_or_assign(other_name, a);
  }
  child.SetPlace(Ref<Dentry>(&other_parent), std::move(other_name));
  other.SetPlace(Ref<Dentry>(this), std::move(child_name));
}

void Dentry::DropTree() {
  std::vector<Ref<Dentry>> stack;
  auto take = [&stack](Dentry& from) {
    Children below;
    MutexLock lock(from.mutex_);
    below.swap(from.children_);
    for (auto& [name, child] : below) stack.push_back(std::move(child));
  };
  take(*this);
  while (!stack.empty()) {
    Ref<Dentry> top = std::move(stack.back());
    stack.pop_back();
    take(*top);
  }
}

bool Dentry::IsAncestorOfOrSame(const Dentry& other) const {
  if (this == &other) return true;
  for (Ref<Dentry> at = other.parent(); at != nullptr; at = at->parent()) {
    if (at.get() == this) return true;
  }
  return false;
}

}  // namespace sandboxd::vfs
