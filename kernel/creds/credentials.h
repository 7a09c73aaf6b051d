// Credentials: who a task is. Immutable once published, shared by reference, replaced as a whole
// (credentials(7), capabilities(7), user_namespaces(7)).
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "kernel/creds/namespace.h"
#include "platform/base/mutex.h"
#include "platform/base/ref.h"
#include "platform/base/result.h"
#include "platform/base/types.h"

namespace sandboxd::creds {

// Ids as the initial user namespace of the sandbox counts them; what programs see is mapped by a
// UserNamespace.
using KUid = StrongInt<struct KUidTag, uint32_t>;
using KGid = StrongInt<struct KGidTag, uint32_t>;
inline constexpr KUid kRootUid{0};
inline constexpr KGid kRootGid{0};
inline constexpr uint32_t kOverflowId = 65534;

// Bit n is capability n of capabilities(7).
struct CapSet {
  uint64_t bits = 0;
  static constexpr int kLast = 40;  // CAP_CHECKPOINT_RESTORE
  static constexpr CapSet All() { return CapSet{(uint64_t{1} << (kLast + 1)) - 1}; }
  constexpr bool Has(int cap) const { return (bits >> cap) & 1; }
  constexpr void Add(int cap) { bits |= uint64_t{1} << cap; }
  constexpr void Remove(int cap) { bits &= ~(uint64_t{1} << cap); }
  constexpr CapSet operator&(CapSet o) const { return {bits & o.bits}; }
  constexpr CapSet operator|(CapSet o) const { return {bits | o.bits}; }
  constexpr CapSet operator~() const { return CapSet{~bits} & All(); }
  constexpr bool SubsetOf(CapSet o) const { return (bits & ~o.bits) == 0; }
  constexpr bool operator==(const CapSet&) const = default;
};

struct IdMapEntry {
  uint32_t inside = 0;
  uint32_t outside = 0;  // as the parent namespace counts
  uint32_t count = 0;
};

class UserNamespace : public Namespace {
 public:
  // The sandbox's initial one: every id maps to itself.
  static Ref<UserNamespace> CreateInitial();
  // user_namespaces(7): at most 32 levels (EUSERS → ENOSPC as Linux gives).
  static Result<Ref<UserNamespace>> CreateChild(Ref<UserNamespace> parent, KUid owner, KGid group);

  const UserNamespace* parent() const { return parent_.get(); }
  const UserNamespace* owner_ns() const override { return parent_.get(); }
  int level() const { return level_; }
  KUid owner() const { return owner_; }
  KGid group() const { return group_; }
  bool IsAncestorOfOrSame(const UserNamespace& other) const;

  // Inside id → KUid; nullopt if unmapped.
  std::optional<KUid> ToKUid(uint32_t inside) const;
  std::optional<KGid> ToKGid(uint32_t inside) const;
  // KUid → inside id; the overflow id if unmapped.
  uint32_t FromKUid(KUid id) const;
  uint32_t FromKGid(KGid id) const;
  bool IsMapped(KUid id) const;
  bool IsMapped(KGid id) const;

  // EPERM if set before; EINVAL if overlapping, empty or too many.
  Result<void> SetUidMap(std::vector<IdMapEntry> map);
  Result<void> SetGidMap(std::vector<IdMapEntry> map);
  std::vector<IdMapEntry> uid_map() const;
  std::vector<IdMapEntry> gid_map() const;
  // Each line of a map with its outside ids as a reader in `viewer` counts them (4294967295: not
  // mapped there); the parent's if the reader is inside.
  std::vector<IdMapEntry> UidMapFor(const UserNamespace& viewer) const;
  std::vector<IdMapEntry> GidMapFor(const UserNamespace& viewer) const;
  // user_namespaces(7), /proc/PID/setgroups. Without a group map nobody may call setgroups(2).
  bool MaySetgroups() const;
  bool setgroups_allowed() const;
  // EPERM: "deny" after the group map was written, or "allow" after "deny".
  Result<void> SetSetgroups(bool allowed);

 private:
  template <typename T, typename... Args>
  friend Ref<T> sandboxd::MakeRef(Args&&...);
  UserNamespace(Ref<UserNamespace> parent, KUid owner, KGid group);
  // The id as this namespace counts. Visits each level once: a program chooses how many there are.
  std::optional<uint32_t> Inside(KUid id) const;
  std::optional<uint32_t> Inside(KGid id) const;

  const Ref<UserNamespace> parent_;
  const int level_;
  const KUid owner_;
  const KGid group_;
  mutable Mutex mutex_{LockRank::kLeaf};
  std::vector<IdMapEntry> uid_map_ GUARDED_BY(mutex_);
  std::vector<IdMapEntry> gid_map_ GUARDED_BY(mutex_);
  bool setgroups_allowed_ GUARDED_BY(mutex_) = true;
};

struct Credentials : public RefCounted {
  KUid ruid, euid, suid, fsuid;
  KGid rgid, egid, sgid, fsgid;
  std::vector<KGid> groups;  // supplementary, sorted
  CapSet permitted, effective, inheritable, bounding, ambient;
  uint32_t securebits = 0;
  Ref<UserNamespace> user_ns;

  // A copy to change and publish.
  Ref<Credentials> Clone() const;
  bool InGroup(KGid gid) const;  // fsgid or supplementary
  // capabilities(7) over user namespaces: does this task hold `cap` with respect to `ns`?
  bool Capable(int cap, const UserNamespace& ns) const;
  // With respect to the sandbox's initial user namespace.
  bool CapableInit(int cap) const;
  bool CapableOwn(int cap) const { return effective.Has(cap); }

  // Root with the given capability sets in a fresh initial namespace.
  static Ref<Credentials> Root(Ref<UserNamespace> ns, CapSet caps);
};

using CredRef = Ref<const Credentials>;

}  // namespace sandboxd::creds
