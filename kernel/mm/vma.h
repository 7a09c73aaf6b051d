// Vma: one mapping of an address space.
#pragma once

#include <cstdint>

#include "kernel/mm/mappable.h"
#include "platform/address_space.h"
#include "platform/base/ref.h"
#include "platform/base/types.h"

namespace sandboxd::mm {

// One mapping as /proc/PID/maps shows it.
struct Vma {
  AddrRange range;
  int prot = 0;      // PROT_*
  int max_prot = 0;  // what mprotect may raise it to
  platform::Sharing sharing = platform::Sharing::kPrivate;
  Ref<Mappable> file;   // null: anonymous
  uint64_t offset = 0;  // in `file` or the shared anonymous object, of range.start
  // Shared anonymous memory has an identity of its own, for futexes; 0 otherwise.
  uint64_t shared_anon_id = 0;
  bool grows_down = false;
  bool locked = false;
  bool no_reserve = false;
  bool dont_fork = false;     // MADV_DONTFORK
  bool wipe_on_fork = false;  // MADV_WIPEONFORK
  bool dont_dump = false;
  bool special = false;    // vdso, vvar: may not be unmapped or changed
  const char* label = "";  // "[heap]", "[stack]", "[vdso]", "[vvar]"

  bool shared() const { return sharing == platform::Sharing::kShared; }
  // Does `offset` count: is there an object behind the memory?
  bool has_object() const { return file != nullptr || shared_anon_id != 0; }
  uint64_t OffsetOf(UserAddr a) const { return has_object() ? offset + (a - range.start) : 0; }
};

}  // namespace sandboxd::mm
