#include "kernel/creds/credentials.h"

#include <linux/capability.h>
#include <sched.h>

#include <algorithm>
#include <atomic>

namespace sandboxd::creds {

namespace {

constexpr int kMaxLevels = 32;
constexpr size_t kMaxMapEntries = 340;  // UID_GID_MAP_MAX_EXTENTS

std::optional<uint32_t> MapDown(const std::vector<IdMapEntry>& map, uint32_t inside) {
  for (const IdMapEntry& e : map) {
    if (inside >= e.inside && inside - e.inside < e.count) return e.outside + (inside - e.inside);
  }
  return std::nullopt;
}

std::optional<uint32_t> MapUp(const std::vector<IdMapEntry>& map, uint32_t outside) {
  for (const IdMapEntry& e : map) {
    if (outside >= e.outside && outside - e.outside < e.count)
      return e.inside + (outside - e.outside);
  }
  return std::nullopt;
}

bool RangesOverlap(uint32_t a, uint32_t a_count, uint32_t b, uint32_t b_count) {
  return uint64_t{a} < uint64_t{b} + b_count && uint64_t{b} < uint64_t{a} + a_count;
}

// user_namespaces(7): non-empty, no wrap-around, no overlap on either side.
bool IsValidMap(const std::vector<IdMapEntry>& map) {
  if (map.empty() || map.size() > kMaxMapEntries) return false;
  for (size_t i = 0; i < map.size(); i++) {
    const IdMapEntry& e = map[i];
    if (e.count == 0) return false;
    if (uint64_t{e.inside} + e.count > UINT32_MAX) return false;
    if (uint64_t{e.outside} + e.count > UINT32_MAX) return false;
    for (size_t j = 0; j < i; j++) {
      if (RangesOverlap(e.inside, e.count, map[j].inside, map[j].count)) return false;
      if (RangesOverlap(e.outside, e.count, map[j].outside, map[j].count)) return false;
    }
  }
  return true;
}

}  // namespace

UserNamespace::UserNamespace(Ref<UserNamespace> parent, KUid owner, KGid group)
    : Namespace(CLONE_NEWUSER),
      parent_(std::move(parent)),
      level_(parent_ ? parent_->level_ + 1 : 0),
      owner_(owner),
      group_(group),
      setgroups_allowed_(parent_ == nullptr || parent_->setgroups_allowed()) {}

Namespace::Namespace(int kind)
    : kind_(kind), number_([] {
        // Above every number that Linux gives its initial namespaces.
        static std::atomic<uint64_t> next{0xf0000000};
        return next.fetch_add(1, std::memory_order_relaxed);
      }()) {}

Ref<UserNamespace> UserNamespace::CreateInitial() {
  Ref<UserNamespace> ns = MakeRef<UserNamespace>(Ref<UserNamespace>(), kRootUid, kRootGid);
  MutexLock lock(ns->mutex_);
  ns->uid_map_ = {{0, 0, UINT32_MAX}};
  ns->gid_map_ = {{0, 0, UINT32_MAX}};
  return ns;
}

Result<Ref<UserNamespace>> UserNamespace::CreateChild(Ref<UserNamespace> parent, KUid owner,
                                                      KGid group) {
  // clone(2): "ENOSPC (since Linux 4.9): the limit on nested user namespaces".
  if (parent->level_ >= kMaxLevels) return Errno::kENOSPC;
  // The creator must exist in the parent: EPERM as in create_user_ns.
  if (!parent->IsMapped(owner) || !parent->IsMapped(group)) return Errno::kEPERM;
  return MakeRef<UserNamespace>(std::move(parent), owner, group);
}

bool UserNamespace::IsAncestorOfOrSame(const UserNamespace& other) const {
  const UserNamespace* ns = &other;
  while (ns != nullptr && ns->level_ > level_) ns = ns->parent_.get();
  return ns == this;
}

std::optional<KUid> UserNamespace::ToKUid(uint32_t inside) const {
  if (parent_ == nullptr) {
    if (inside == UINT32_MAX) return std::nullopt;
    return KUid(inside);
  }
  std::optional<uint32_t> outside;
  {
    MutexLock lock(mutex_);
    outside = MapDown(uid_map_, inside);
  }
  if (!outside) return std::nullopt;
  return parent_->ToKUid(*outside);
}

std::optional<KGid> UserNamespace::ToKGid(uint32_t inside) const {
  if (parent_ == nullptr) {
    if (inside == UINT32_MAX) return std::nullopt;
    return KGid(inside);
  }
  std::optional<uint32_t> outside;
  {
    MutexLock lock(mutex_);
    outside = MapDown(gid_map_, inside);
  }
  if (!outside) return std::nullopt;
  return parent_->ToKGid(*outside);
}

std::optional<uint32_t> UserNamespace::Inside(KUid id) const {
  if (parent_ == nullptr) return id.value != UINT32_MAX ? std::optional(id.value) : std::nullopt;
  std::optional<uint32_t> outside = parent_->Inside(id);
  if (!outside) return std::nullopt;
  MutexLock lock(mutex_);
  return MapUp(uid_map_, *outside);
}

std::optional<uint32_t> UserNamespace::Inside(KGid id) const {
  if (parent_ == nullptr) return id.value != UINT32_MAX ? std::optional(id.value) : std::nullopt;
  std::optional<uint32_t> outside = parent_->Inside(id);
  if (!outside) return std::nullopt;
  MutexLock lock(mutex_);
  return MapUp(gid_map_, *outside);
}

uint32_t UserNamespace::FromKUid(KUid id) const {
  return parent_ == nullptr ? id.value : Inside(id).value_or(kOverflowId);
}
uint32_t UserNamespace::FromKGid(KGid id) const {
  return parent_ == nullptr ? id.value : Inside(id).value_or(kOverflowId);
}
bool UserNamespace::IsMapped(KUid id) const { return Inside(id).has_value(); }
bool UserNamespace::IsMapped(KGid id) const { return Inside(id).has_value(); }

Result<void> UserNamespace::SetUidMap(std::vector<IdMapEntry> map) {
  if (!IsValidMap(map)) return Errno::kEINVAL;
  MutexLock lock(mutex_);
  if (!uid_map_.empty()) return Errno::kEPERM;
  uid_map_ = std::move(map);
  return Ok();
}

Result<void> UserNamespace::SetGidMap(std::vector<IdMapEntry> map) {
  if (!IsValidMap(map)) return Errno::kEINVAL;
  MutexLock lock(mutex_);
  if (!gid_map_.empty()) return Errno::kEPERM;
  gid_map_ = std::move(map);
  return Ok();
}

std::vector<IdMapEntry> UserNamespace::uid_map() const {
  MutexLock lock(mutex_);
  return uid_map_;
}

std::vector<IdMapEntry> UserNamespace::gid_map() const {
  MutexLock lock(mutex_);
  return gid_map_;
}

std::vector<IdMapEntry> UserNamespace::UidMapFor(const UserNamespace& viewer) const {
  std::vector<IdMapEntry> map = uid_map();
  const UserNamespace& as = &viewer == this && parent_ != nullptr ? *parent_ : viewer;
  for (IdMapEntry& e : map) {
    auto id = parent_ != nullptr ? parent_->ToKUid(e.outside) : KUid(e.outside);
    e.outside = id && as.IsMapped(*id) ? as.FromKUid(*id) : UINT32_MAX;
  }
  return map;
}

std::vector<IdMapEntry> UserNamespace::GidMapFor(const UserNamespace& viewer) const {
  std::vector<IdMapEntry> map = gid_map();
  const UserNamespace& as = &viewer == this && parent_ != nullptr ? *parent_ : viewer;
  for (IdMapEntry& e : map) {
    auto id = parent_ != nullptr ? parent_->ToKGid(e.outside) : KGid(e.outside);
    e.outside = id && as.IsMapped(*id) ? as.FromKGid(*id) : UINT32_MAX;
  }
  return map;
}

bool UserNamespace::MaySetgroups() const {
  MutexLock lock(mutex_);
  return !gid_map_.empty() && setgroups_allowed_;
}

bool UserNamespace::setgroups_allowed() const {
  MutexLock lock(mutex_);
  return setgroups_allowed_;
}

Result<void> UserNamespace::SetSetgroups(bool allowed) {
  MutexLock lock(mutex_);
  if (allowed) return setgroups_allowed_ ? Ok() : Result<void>(Errno::kEPERM);
  if (setgroups_allowed_ && !gid_map_.empty()) return Errno::kEPERM;
  setgroups_allowed_ = false;
  return Ok();
}

Ref<Credentials> Credentials::Clone() const {
  Ref<Credentials> copy = MakeRef<Credentials>();
  copy->ruid = ruid;
  copy->euid = euid;
  copy->suid = suid;
  copy->fsuid = fsuid;
  copy->rgid = rgid;
  copy->egid = egid;
  copy->sgid = sgid;
  copy->fsgid = fsgid;
  copy->groups = groups;
  copy->permitted = permitted;
  copy->effective = effective;
  copy->inheritable = inheritable;
  copy->bounding = bounding;
  copy->ambient = ambient;
  copy->securebits = securebits;
  copy->user_ns = user_ns;
  return copy;
}

bool Credentials::InGroup(KGid gid) const {
  return gid == fsgid || std::binary_search(groups.begin(), groups.end(), gid);
}

bool Credentials::Capable(int cap, const UserNamespace& ns) const {
  // user_namespaces(7): a task has a capability in a namespace if it has it in that namespace or an
  // ancestor that it is a member of, or if it owns the namespace from its parent.
  for (const UserNamespace* at = &ns; at != nullptr; at = at->parent()) {
    if (at == user_ns.get()) return effective.Has(cap);
    if (at->level() <= user_ns->level()) return false;
    if (at->parent() == user_ns.get() && at->owner() == euid) return true;
  }
  return false;
}

bool Credentials::CapableInit(int cap) const {
  return user_ns->parent() == nullptr && effective.Has(cap);
}

Ref<Credentials> Credentials::Root(Ref<UserNamespace> ns, CapSet caps) {
  Ref<Credentials> root = MakeRef<Credentials>();
  root->permitted = root->effective = root->bounding = caps;
  root->user_ns = std::move(ns);
  return root;
}

}  // namespace sandboxd::creds
