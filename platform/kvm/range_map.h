// What an application has mapped, as far as the guest's page tables need to know it.
#pragma once

#include <cstdint>
#include <map>
#include <optional>

#include "platform/base/types.h"

namespace sandboxd::platform::kvm {

// Disjoint ranges of addresses, each with a protection. Not thread-safe.
class RangeMap {
 public:
  struct Area {
    AddrRange range;
    int prot = 0;  // PROT_*
  };

  // Replaces whatever is there.
  void Set(AddrRange range, int prot);
  void Erase(AddrRange range);
  // Changes the protection of what is mapped in `range`.
  void Protect(AddrRange range, int prot);
  std::optional<Area> Find(UserAddr at) const;

  // Calls `visit` with the part of each area that lies in `range`, in order.
  template <typename F>
  void ForEach(AddrRange range, F visit) const {
    auto it = areas_.upper_bound(range.start.value);
    if (it != areas_.begin()) --it;
    for (; it != areas_.end() && it->first < range.end.value; ++it) {
      const AddrRange part = AddrRange{UserAddr(it->first), it->second.end}.Intersect(range);
      if (!part.empty()) visit(Area{part, it->second.prot});
    }
  }

 private:
  struct Rest {
    UserAddr end;
    int prot;
  };
  void SplitAt(uint64_t at);
  void MergeAt(uint64_t at);

  std::map<uint64_t, Rest> areas_;  // by start
};

}  // namespace sandboxd::platform::kvm
