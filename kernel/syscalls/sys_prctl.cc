// prctl(2) and arch_prctl(2).
#include <asm/prctl.h>
#include <linux/capability.h>
#include <linux/prctl.h>
#include <linux/seccomp.h>
#include <linux/securebits.h>

#include "kernel/mm/memory_manager.h"
#include "kernel/syscalls/families.h"
#include "kernel/syscalls/seccomp_calls.h"
#include "kernel/task/seccomp.h"

namespace sandboxd::syscalls {
namespace {

using creds::CapSet;
using creds::Credentials;
using creds::CredRef;

constexpr size_t kCommSize = 16;

Result<void> Update(Task& t, const std::function<void(Credentials&)>& change) {
  Ref<Credentials> n = t.credentials()->Clone();
  change(*n);
  t.set_credentials(std::move(n));
  return Ok();
}

Result<void> SetName(Task& t, UserAddr addr) {
  // strncpy_from_user of 15 bytes: a longer name is cut, not refused.
  std::string name;
  for (size_t i = 0; i < kCommSize - 1; i++) {
    char c = TRY(t.memory().Read<char>(addr + i));
    if (c == '\0') break;
    name.push_back(c);
  }
  t.set_comm(name);
  return Ok();
}

Result<void> GetName(Task& t, UserAddr addr) {
  char name[kCommSize] = {};
  std::string comm = t.comm();
  comm.copy(name, kCommSize - 1);
  return t.memory().Write(addr, name);
}

bool IsCapability(uint64_t cap) { return cap <= CapSet::kLast; }

Result<uint64_t> DropBounding(Task& t, uint64_t cap) {
  if (!IsCapability(cap)) return Errno::kEINVAL;
  if (!t.credentials()->CapableOwn(CAP_SETPCAP)) return Errno::kEPERM;
  TRY(Update(t, [cap](Credentials& n) { n.bounding.Remove(static_cast<int>(cap)); }));
  return uint64_t{0};
}

Result<uint64_t> SetSecurebits(Task& t, uint64_t bits) {
  CredRef old = t.credentials();
  const uint64_t current = old->securebits;
  const bool unlocks = (((current & SECURE_ALL_LOCKS) >> 1) & (current ^ bits)) != 0;
  const bool drops_lock = (current & SECURE_ALL_LOCKS & ~bits) != 0;
  const bool unknown = (bits & ~uint64_t{SECURE_ALL_LOCKS | SECURE_ALL_BITS}) != 0;
  if (unlocks || drops_lock || unknown || !old->CapableOwn(CAP_SETPCAP)) return Errno::kEPERM;
  TRY(Update(t, [bits](Credentials& n) { n.securebits = static_cast<uint32_t>(bits); }));
  return uint64_t{0};
}

Result<uint64_t> SetKeepCaps(Task& t, uint64_t value) {
  if (value > 1) return Errno::kEINVAL;
  if ((t.credentials()->securebits & SECBIT_KEEP_CAPS_LOCKED) != 0) return Errno::kEPERM;
  TRY(Update(t, [value](Credentials& n) {
    constexpr uint32_t kKeep = SECBIT_KEEP_CAPS;
    n.securebits = value != 0 ? n.securebits | kKeep : n.securebits & ~kKeep;
  }));
  return uint64_t{0};
}

Result<uint64_t> Ambient(Task& t, uint64_t op, uint64_t cap, uint64_t a4, uint64_t a5) {
  if (op == PR_CAP_AMBIENT_CLEAR_ALL) {
    if ((cap | a4 | a5) != 0) return Errno::kEINVAL;
    TRY(Update(t, [](Credentials& n) { n.ambient = {}; }));
    return uint64_t{0};
  }
  if ((a4 | a5) != 0 || !IsCapability(cap)) return Errno::kEINVAL;
  const int number = static_cast<int>(cap);
  CredRef old = t.credentials();
  switch (op) {
    case PR_CAP_AMBIENT_IS_SET:
      return uint64_t{old->ambient.Has(number)};
    case PR_CAP_AMBIENT_RAISE:
      if (!old->permitted.Has(number) || !old->inheritable.Has(number) ||
          (old->securebits & SECBIT_NO_CAP_AMBIENT_RAISE) != 0) {
        return Errno::kEPERM;
      }
      TRY(Update(t, [number](Credentials& n) { n.ambient.Add(number); }));
      return uint64_t{0};
    case PR_CAP_AMBIENT_LOWER:
      TRY(Update(t, [number](Credentials& n) { n.ambient.Remove(number); }));
      return uint64_t{0};
    default:
      return Errno::kEINVAL;
  }
}

Result<uint64_t> SetParentDeathSignal(Task& t, uint64_t signo) {
  if (signo > static_cast<uint64_t>(signal::kSignalCount)) return Errno::kEINVAL;
  MutexLock lock(t.kernel().tree_mutex());
  t.parent_death_signal = static_cast<int>(signo);
  return uint64_t{0};
}

Result<uint64_t> GetParentDeathSignal(Task& t, UserAddr out) {
  int32_t signo;
  {
    MutexLock lock(t.kernel().tree_mutex());
    signo = t.parent_death_signal;
  }
  TRY(t.memory().Write(out, signo));
  return uint64_t{0};
}

// What concerns credentials and capabilities; nullopt for everything else.
std::optional<Result<uint64_t>> CredentialsOption(Task& t, int32_t option, uint64_t a2, uint64_t a3,
                                                  uint64_t a4, uint64_t a5) {
  switch (option) {
    case PR_CAPBSET_READ:
      if (!IsCapability(a2)) return Errno::kEINVAL;
      return uint64_t{t.credentials()->bounding.Has(static_cast<int>(a2))};
    case PR_CAPBSET_DROP:
      return DropBounding(t, a2);
    case PR_GET_SECUREBITS:
      return uint64_t{t.credentials()->securebits};
    case PR_SET_SECUREBITS:
      return SetSecurebits(t, a2);
    case PR_GET_KEEPCAPS:
      return uint64_t{(t.credentials()->securebits & SECBIT_KEEP_CAPS) != 0};
    case PR_SET_KEEPCAPS:
      return SetKeepCaps(t, a2);
    case PR_CAP_AMBIENT:
      return Ambient(t, a2, a3, a4, a5);
    case PR_SET_NO_NEW_PRIVS:
      if (a2 != 1 || (a3 | a4 | a5) != 0) return Errno::kEINVAL;
      t.no_new_privs = true;
      return uint64_t{0};
    case PR_GET_NO_NEW_PRIVS:
      if ((a2 | a3 | a4 | a5) != 0) return Errno::kEINVAL;
      return uint64_t{t.no_new_privs.load()};
    default:
      return std::nullopt;
  }
}

Result<uint64_t> SetSeccomp(Task& t, uint64_t mode, UserAddr filter) {
  if (mode == SECCOMP_MODE_FILTER) return InstallFilter(t, 0, filter);
  if (mode != SECCOMP_MODE_STRICT) return Errno::kEINVAL;
  TRY(task::SetSeccompStrict(t));
  return uint64_t{0};
}

Result<uint64_t> SysPrctl(Task& t, int32_t option, uint64_t a2, uint64_t a3, uint64_t a4,
                          uint64_t a5) {
  if (auto r = CredentialsOption(t, option, a2, a3, a4, a5)) return *r;
  switch (option) {
    case PR_SET_NAME:
      TRY(SetName(t, UserAddr(a2)));
      return uint64_t{0};
    case PR_GET_NAME:
      TRY(GetName(t, UserAddr(a2)));
      return uint64_t{0};
    case PR_SET_PDEATHSIG:
      return SetParentDeathSignal(t, a2);
    case PR_GET_PDEATHSIG:
      return GetParentDeathSignal(t, UserAddr(a2));
    case PR_GET_DUMPABLE:
      return static_cast<uint64_t>(t.mm()->dumpable());
    case PR_SET_DUMPABLE:
      if (a2 > 1) return Errno::kEINVAL;
      t.mm()->set_dumpable(static_cast<int>(a2));
      return uint64_t{0};
    case PR_SET_CHILD_SUBREAPER:
      t.group().child_subreaper = a2 != 0;
      return uint64_t{0};
    case PR_GET_CHILD_SUBREAPER:
      TRY(t.memory().Write<int32_t>(UserAddr(a2), t.group().child_subreaper.load()));
      return uint64_t{0};
    case PR_SET_TIMERSLACK:
      t.timer_slack_ns = a2 == 0 ? 50'000 : a2;
      return uint64_t{0};
    case PR_GET_TIMERSLACK:
      return t.timer_slack_ns.load();
    case PR_GET_TID_ADDRESS:
      TRY(t.memory().Write(UserAddr(a2), t.clear_child_tid.value));
      return uint64_t{0};
    case PR_GET_TIMING:
      return uint64_t{0};  // PR_TIMING_STATISTICAL
    case PR_GET_SECCOMP:
      return static_cast<uint64_t>(t.seccomp_mode());
    case PR_SET_SECCOMP:
      return SetSeccomp(t, a2, UserAddr(a3));
    case PR_SET_TIMING:
      return a2 == PR_TIMING_STATISTICAL ? Result<uint64_t>(uint64_t{0}) : Errno::kEINVAL;
    case PR_GET_TSC:
      TRY(t.memory().Write<int32_t>(UserAddr(a2), PR_TSC_ENABLE));
      return uint64_t{0};
    case PR_SET_TSC:
      return a2 == PR_TSC_ENABLE ? Result<uint64_t>(uint64_t{0}) : Errno::kEINVAL;
    case PR_MCE_KILL_GET:
      return (a2 | a3 | a4 | a5) == 0 ? Result<uint64_t>(uint64_t{PR_MCE_KILL_DEFAULT})
                                      : Errno::kEINVAL;
    case PR_GET_THP_DISABLE:
      return (a2 | a3 | a4 | a5) == 0 ? Result<uint64_t>(uint64_t{0}) : Errno::kEINVAL;
    case PR_SET_MM:
      return t.credentials()->CapableInit(CAP_SYS_RESOURCE) ? Errno::kEINVAL : Errno::kEPERM;
    default:
      return Errno::kEINVAL;
  }
}

Result<void> SysArchPrctl(Task& t, int32_t code, uint64_t addr) {
  arch::Registers& regs = t.registers();
  switch (code) {
    case ARCH_SET_FS:
      if (addr >= mm::kTaskSize.value) return Errno::kEPERM;
      regs.fs_base = addr;
      return Ok();
    case ARCH_SET_GS:
      if (addr >= mm::kTaskSize.value) return Errno::kEPERM;
      regs.gs_base = addr;
      return Ok();
    case ARCH_GET_FS:
      return t.memory().Write(UserAddr(addr), regs.fs_base);
    case ARCH_GET_GS:
      return t.memory().Write(UserAddr(addr), regs.gs_base);
    default:
      return Errno::kEINVAL;
  }
}

constexpr Row kRows[] = {
    Partial<SysPrctl>(
        SYS_prctl, "prctl",
        "names, death signal, dumpable, subreaper, capabilities, no_new_privs, seccomp, timer "
        "slack; EINVAL for what a kernel without the feature refuses"),
    Partial<SysArchPrctl>(SYS_arch_prctl, "arch_prctl", "FS and GS bases"),
};

}  // namespace

std::span<const Row> PrctlRows() { return kRows; }

}  // namespace sandboxd::syscalls
