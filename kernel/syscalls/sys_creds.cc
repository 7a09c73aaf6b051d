// User and group ids, supplementary groups and capabilities (credentials(7), capabilities(7)).
#include <linux/capability.h>
#include <linux/securebits.h>

#include <algorithm>

#include "kernel/syscalls/families.h"
#include "kernel/task/session.h"

namespace sandboxd::syscalls {
namespace {

using creds::CapSet;
using creds::Credentials;
using creds::CredRef;
using creds::KGid;
using creds::KUid;

constexpr uint32_t kUnchanged = ~uint32_t{0};
constexpr int32_t kMaxGroups = 65536;  // NGROUPS_MAX

// --- asking ---

Result<uint64_t> SysGetuid(Task& t) {
  CredRef c = t.credentials();
  return uint64_t{c->user_ns->FromKUid(c->ruid)};
}
Result<uint64_t> SysGeteuid(Task& t) {
  CredRef c = t.credentials();
  return uint64_t{c->user_ns->FromKUid(c->euid)};
}
Result<uint64_t> SysGetgid(Task& t) {
  CredRef c = t.credentials();
  return uint64_t{c->user_ns->FromKGid(c->rgid)};
}
Result<uint64_t> SysGetegid(Task& t) {
  CredRef c = t.credentials();
  return uint64_t{c->user_ns->FromKGid(c->egid)};
}

Result<void> SysGetresuid(Task& t, UserOut<uint32_t> r, UserOut<uint32_t> e, UserOut<uint32_t> s) {
  CredRef c = t.credentials();
  TRY(r.Write(t, c->user_ns->FromKUid(c->ruid)));
  TRY(e.Write(t, c->user_ns->FromKUid(c->euid)));
  return s.Write(t, c->user_ns->FromKUid(c->suid));
}

Result<void> SysGetresgid(Task& t, UserOut<uint32_t> r, UserOut<uint32_t> e, UserOut<uint32_t> s) {
  CredRef c = t.credentials();
  TRY(r.Write(t, c->user_ns->FromKGid(c->rgid)));
  TRY(e.Write(t, c->user_ns->FromKGid(c->egid)));
  return s.Write(t, c->user_ns->FromKGid(c->sgid));
}

// --- changing ---

// capabilities(7), "Effect of user ID changes on capabilities".
void AdjustCapabilities(Credentials& n, const Credentials& old) {
  if ((old.securebits & SECBIT_NO_SETUID_FIXUP) != 0) return;
  auto root = n.user_ns->ToKUid(0);
  if (!root) return;
  const bool had_root = old.ruid == *root || old.euid == *root || old.suid == *root;
  const bool has_root = n.ruid == *root || n.euid == *root || n.suid == *root;
  if (had_root && !has_root) {
    if ((old.securebits & SECBIT_KEEP_CAPS) == 0) n.permitted = n.effective = {};
    n.ambient = {};
  }
  if (old.euid == *root && n.euid != *root) n.effective = {};
  if (old.euid != *root && n.euid == *root) n.effective = n.permitted;
}

// "If fsuid changes from 0 the file system capabilities are cleared from the effective set", and
// back.
void AdjustFsCapabilities(Credentials& n, const Credentials& old) {
  if ((old.securebits & SECBIT_NO_SETUID_FIXUP) != 0) return;
  constexpr CapSet kFs{(1ULL << CAP_CHOWN) | (1ULL << CAP_MKNOD) | (1ULL << CAP_DAC_OVERRIDE) |
                       (1ULL << CAP_DAC_READ_SEARCH) | (1ULL << CAP_FOWNER) | (1ULL << CAP_FSETID) |
                       (1ULL << CAP_LINUX_IMMUTABLE) | (1ULL << CAP_MAC_OVERRIDE)};
  auto root = n.user_ns->ToKUid(0);
  if (!root) return;
  if (old.fsuid == *root && n.fsuid != *root) n.effective = n.effective & ~kFs;
  if (old.fsuid != *root && n.fsuid == *root) n.effective = n.effective | (n.permitted & kFs);
}

void Publish(Task& t, Ref<Credentials> n, const Credentials& old) {
  if (n->euid != old.euid || n->egid != old.egid || n->fsuid != old.fsuid ||
      n->fsgid != old.fsgid || !n->permitted.SubsetOf(old.permitted)) {
    if (Ref<mm::MemoryManager> mm = t.mm()) mm->set_dumpable(0);
    MutexLock lock(t.kernel().tree_mutex());
    t.parent_death_signal = 0;
  }
  t.set_credentials(std::move(n));
}

void PublishUids(Task& t, Ref<Credentials> n, const Credentials& old) {
  AdjustCapabilities(*n, old);
  AdjustFsCapabilities(*n, old);
  Publish(t, std::move(n), old);
}

// -1 leaves an id as it is: nullopt inside the Result. EINVAL for an id with no mapping.
Result<std::optional<KUid>> MapUid(const Credentials& c, uint32_t id) {
  if (id == kUnchanged) return std::optional<KUid>();
  auto k = c.user_ns->ToKUid(id);
  if (!k) return Errno::kEINVAL;
  return k;
}
Result<std::optional<KGid>> MapGid(const Credentials& c, uint32_t id) {
  if (id == kUnchanged) return std::optional<KGid>();
  auto k = c.user_ns->ToKGid(id);
  if (!k) return Errno::kEINVAL;
  return k;
}

Result<void> SysSetuid(Task& t, uint32_t uid) {
  CredRef old = t.credentials();
  auto k = old->user_ns->ToKUid(uid);
  if (!k) return Errno::kEINVAL;
  Ref<Credentials> n = old->Clone();
  if (old->CapableOwn(CAP_SETUID)) {
    n->ruid = n->suid = *k;
  } else if (*k != old->ruid && *k != old->suid) {
    return Errno::kEPERM;
  }
  n->euid = n->fsuid = *k;
  PublishUids(t, std::move(n), *old);
  return Ok();
}

Result<void> SysSetgid(Task& t, uint32_t gid) {
  CredRef old = t.credentials();
  auto k = old->user_ns->ToKGid(gid);
  if (!k) return Errno::kEINVAL;
  Ref<Credentials> n = old->Clone();
  if (old->CapableOwn(CAP_SETGID)) {
    n->rgid = n->sgid = *k;
  } else if (*k != old->rgid && *k != old->sgid) {
    return Errno::kEPERM;
  }
  n->egid = n->fsgid = *k;
  Publish(t, std::move(n), *old);
  return Ok();
}

Result<void> SysSetreuid(Task& t, uint32_t ruid, uint32_t euid) {
  CredRef old = t.credentials();
  auto r = TRY(MapUid(*old, ruid));
  auto e = TRY(MapUid(*old, euid));
  const bool privileged = old->CapableOwn(CAP_SETUID);
  Ref<Credentials> n = old->Clone();
  if (r) {
    if (*r != old->ruid && *r != old->euid && !privileged) return Errno::kEPERM;
    n->ruid = *r;
  }
  if (e) {
    if (*e != old->ruid && *e != old->euid && *e != old->suid && !privileged) return Errno::kEPERM;
    n->euid = *e;
  }
  if (r || (e && *e != old->ruid)) n->suid = n->euid;
  n->fsuid = n->euid;
  PublishUids(t, std::move(n), *old);
  return Ok();
}

Result<void> SysSetregid(Task& t, uint32_t rgid, uint32_t egid) {
  CredRef old = t.credentials();
  auto r = TRY(MapGid(*old, rgid));
  auto e = TRY(MapGid(*old, egid));
  const bool privileged = old->CapableOwn(CAP_SETGID);
  Ref<Credentials> n = old->Clone();
  if (r) {
    if (*r != old->rgid && *r != old->egid && !privileged) return Errno::kEPERM;
    n->rgid = *r;
  }
  if (e) {
    if (*e != old->rgid && *e != old->egid && *e != old->sgid && !privileged) return Errno::kEPERM;
    n->egid = *e;
  }
  if (r || (e && *e != old->rgid)) n->sgid = n->egid;
  n->fsgid = n->egid;
  Publish(t, std::move(n), *old);
  return Ok();
}

Result<void> SysSetresuid(Task& t, uint32_t ruid, uint32_t euid, uint32_t suid) {
  CredRef old = t.credentials();
  std::optional<KUid> ids[3] = {TRY(MapUid(*old, ruid)), TRY(MapUid(*old, euid)),
                                TRY(MapUid(*old, suid))};
  if (!old->CapableOwn(CAP_SETUID)) {
    for (const auto& id : ids) {
      if (id && *id != old->ruid && *id != old->euid && *id != old->suid) return Errno::kEPERM;
    }
  }
  Ref<Credentials> n = old->Clone();
  n->ruid = ids[0].value_or(old->ruid);
  n->euid = ids[1].value_or(old->euid);
  n->suid = ids[2].value_or(old->suid);
  n->fsuid = n->euid;
  PublishUids(t, std::move(n), *old);
  return Ok();
}

Result<void> SysSetresgid(Task& t, uint32_t rgid, uint32_t egid, uint32_t sgid) {
  CredRef old = t.credentials();
  std::optional<KGid> ids[3] = {TRY(MapGid(*old, rgid)), TRY(MapGid(*old, egid)),
                                TRY(MapGid(*old, sgid))};
  if (!old->CapableOwn(CAP_SETGID)) {
    for (const auto& id : ids) {
      if (id && *id != old->rgid && *id != old->egid && *id != old->sgid) return Errno::kEPERM;
    }
  }
  Ref<Credentials> n = old->Clone();
  n->rgid = ids[0].value_or(old->rgid);
  n->egid = ids[1].value_or(old->egid);
  n->sgid = ids[2].value_or(old->sgid);
  n->fsgid = n->egid;
  Publish(t, std::move(n), *old);
  return Ok();
}

// setfsuid(2): says the old id whether it worked or not.
Result<uint64_t> SysSetfsuid(Task& t, uint32_t uid) {
  CredRef old = t.credentials();
  uint64_t before = old->user_ns->FromKUid(old->fsuid);
  auto k = old->user_ns->ToKUid(uid);
  if (!k || uid == kUnchanged) return before;
  const bool own = *k == old->ruid || *k == old->euid || *k == old->suid || *k == old->fsuid;
  if (!own && !old->CapableOwn(CAP_SETUID)) return before;
  Ref<Credentials> n = old->Clone();
  n->fsuid = *k;
  AdjustFsCapabilities(*n, *old);
  Publish(t, std::move(n), *old);
  return before;
}

Result<uint64_t> SysSetfsgid(Task& t, uint32_t gid) {
  CredRef old = t.credentials();
  uint64_t before = old->user_ns->FromKGid(old->fsgid);
  auto k = old->user_ns->ToKGid(gid);
  if (!k || gid == kUnchanged) return before;
  const bool own = *k == old->rgid || *k == old->egid || *k == old->sgid || *k == old->fsgid;
  if (!own && !old->CapableOwn(CAP_SETGID)) return before;
  Ref<Credentials> n = old->Clone();
  n->fsgid = *k;
  Publish(t, std::move(n), *old);
  return before;
}

Result<uint64_t> SysGetgroups(Task& t, int32_t size, UserAddr list) {
  if (size < 0) return Errno::kEINVAL;
  CredRef c = t.credentials();
  if (size == 0) return uint64_t{c->groups.size()};
  if (c->groups.size() > static_cast<size_t>(size)) return Errno::kEINVAL;
  std::vector<uint32_t> ids;
  for (KGid gid : c->groups) ids.push_back(c->user_ns->FromKGid(gid));
  TRY(t.memory().CopyOut(list, std::as_bytes(std::span(ids))));
  return uint64_t{ids.size()};
}

Result<void> SysSetgroups(Task& t, int32_t size, UserAddr list) {
  CredRef old = t.credentials();
  if (!old->CapableOwn(CAP_SETGID) || !old->user_ns->MaySetgroups()) return Errno::kEPERM;
  if (size < 0 || size > kMaxGroups) return Errno::kEINVAL;
  auto ids = TRY(t.memory().ReadArray<uint32_t>(list, static_cast<size_t>(size)));
  Ref<Credentials> n = old->Clone();
  n->groups.clear();
  for (uint32_t id : ids) {
    auto k = old->user_ns->ToKGid(id);
    if (!k) return Errno::kEINVAL;
    n->groups.push_back(*k);
  }
  std::sort(n->groups.begin(), n->groups.end());
  Publish(t, std::move(n), *old);
  return Ok();
}

// --- capget and capset ---

struct CapHeader {  // struct __user_cap_header_struct
  uint32_t version;
  int32_t pid;
};
struct CapData {  // struct __user_cap_data_struct
  uint32_t effective, permitted, inheritable;
};
static_assert(sizeof(CapData) == 12);

// How many CapData of 32 capabilities the version has. For an unknown one the preferred version is
// written back and EINVAL given.
Result<size_t> WordsOfVersion(Task& t, UserAddr header, uint32_t version) {
  switch (version) {
    case _LINUX_CAPABILITY_VERSION_1:
      return size_t{1};
    case _LINUX_CAPABILITY_VERSION_2:
    case _LINUX_CAPABILITY_VERSION_3:
      return size_t{2};
    default:
      TRY(t.memory().Write<uint32_t>(header, _LINUX_CAPABILITY_VERSION_3));
      return Errno::kEINVAL;
  }
}

Result<void> SysCapget(Task& t, UserIn<CapHeader> header, UserAddr data) {
  CapHeader h = TRY(header.Read(t));
  auto words = WordsOfVersion(t, header, h.version);
  if (!words.ok()) {
    // "If datap is NULL" the call only asks for the version.
    if (words.Is(Errno::kEINVAL) && data.null()) return Ok();
    return words.error();
  }
  if (h.pid < 0) return Errno::kEINVAL;
  CredRef c = t.credentials();
  if (h.pid != 0) c = TRY(task::FindThread(t, Tid(h.pid)))->credentials();
  std::vector<CapData> out(*words);
  for (size_t i = 0; i < *words; i++) {
    const unsigned shift = static_cast<unsigned>(32 * i);
    out[i] = {static_cast<uint32_t>(c->effective.bits >> shift),
              static_cast<uint32_t>(c->permitted.bits >> shift),
              static_cast<uint32_t>(c->inheritable.bits >> shift)};
  }
  return t.memory().CopyOut(data, std::as_bytes(std::span(out)));
}

Result<void> SysCapset(Task& t, UserIn<CapHeader> header, UserAddr data) {
  CapHeader h = TRY(header.Read(t));
  size_t words = TRY(WordsOfVersion(t, header, h.version));
  if (h.pid != 0 && Tid(h.pid) != t.tid()) return Errno::kEPERM;
  auto in = TRY(t.memory().ReadArray<CapData>(data, words));
  CapSet effective, permitted, inheritable;
  for (size_t i = 0; i < words; i++) {
    effective.bits |= uint64_t{in[i].effective} << (32 * i);
    permitted.bits |= uint64_t{in[i].permitted} << (32 * i);
    inheritable.bits |= uint64_t{in[i].inheritable} << (32 * i);
  }
  effective = effective & CapSet::All();
  permitted = permitted & CapSet::All();
  inheritable = inheritable & CapSet::All();

  CredRef old = t.credentials();
  const CapSet reach = old->CapableOwn(CAP_SETPCAP) ? old->inheritable | old->bounding
                                                    : old->inheritable | old->permitted;
  if (!inheritable.SubsetOf(reach)) return Errno::kEPERM;
  if (!inheritable.SubsetOf(old->inheritable | old->bounding)) return Errno::kEPERM;
  if (!permitted.SubsetOf(old->permitted)) return Errno::kEPERM;
  if (!effective.SubsetOf(permitted)) return Errno::kEPERM;
  Ref<Credentials> n = old->Clone();
  n->effective = effective;
  n->permitted = permitted;
  n->inheritable = inheritable;
  n->ambient = n->ambient & permitted & inheritable;
  t.set_credentials(std::move(n));
  return Ok();
}

constexpr Row kRows[] = {
    Full<SysGetuid>(SYS_getuid, "getuid"),          Full<SysGeteuid>(SYS_geteuid, "geteuid"),
    Full<SysGetgid>(SYS_getgid, "getgid"),          Full<SysGetegid>(SYS_getegid, "getegid"),
    Full<SysGetresuid>(SYS_getresuid, "getresuid"), Full<SysGetresgid>(SYS_getresgid, "getresgid"),
    Full<SysSetuid>(SYS_setuid, "setuid"),          Full<SysSetgid>(SYS_setgid, "setgid"),
    Full<SysSetreuid>(SYS_setreuid, "setreuid"),    Full<SysSetregid>(SYS_setregid, "setregid"),
    Full<SysSetresuid>(SYS_setresuid, "setresuid"), Full<SysSetresgid>(SYS_setresgid, "setresgid"),
    Full<SysSetfsuid>(SYS_setfsuid, "setfsuid"),    Full<SysSetfsgid>(SYS_setfsgid, "setfsgid"),
    Full<SysGetgroups>(SYS_getgroups, "getgroups"), Full<SysSetgroups>(SYS_setgroups, "setgroups"),
    Full<SysCapget>(SYS_capget, "capget"),          Full<SysCapset>(SYS_capset, "capset"),
};

}  // namespace

std::span<const Row> CredsRows() { return kRows; }

}  // namespace sandboxd::syscalls
