// VmaSet: the mappings of one address space, disjoint, by address. Neighbours that differ in
// nothing are one. Not thread-safe: MemoryManager guards it.
#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "kernel/mm/vma.h"
#include "platform/base/types.h"

namespace sandboxd::mm {

// Sums over mappings, in bytes (/proc/PID/status, RLIMIT_AS, RLIMIT_DATA).
struct VmaTotals {
  uint64_t total = 0;
  uint64_t data = 0;   // private and writable, but no stack
  uint64_t stack = 0;  // growing down
  uint64_t exec = 0;   // executable and not writable
  uint64_t locked = 0;
};

// Linux keeps this much free below a mapping that grows down (stack_guard_gap).
inline constexpr uint64_t kStackGuardGap = 256 * kPageSize;

class VmaSet {
 public:
  using Map = std::map<UserAddr, Vma>;

  // The mapping that holds `a`, or null.
  const Vma* Find(UserAddr a) const;
  // The mapping that holds `a`, or else the next above; null if there is none.
  const Vma* FindFrom(UserAddr a) const;
  bool Overlaps(AddrRange range) const;
  // Is every byte of `range` mapped?
  bool Covers(AddrRange range) const;
  // Where the part of `range` that is mapped without a hole from its start on ends.
  UserAddr CoveredUntil(AddrRange range) const;

  // `vma.range` must be free.
  void Insert(Vma vma);
  // Takes out what lies in `range`. The caller drops the pieces when it holds no lock.
  std::vector<Vma> Remove(AddrRange range);
  // Calls change(Vma&) for the pieces of mappings in `range`; it may change all but the range.
  template <typename Change>
  void Update(AddrRange range, const Change& change) {
    std::vector<Vma> pieces = Take(range);
    for (Vma& piece : pieces) {
      change(piece);
      Insert(std::move(piece));
    }
  }
  // visit(const Vma&, AddrRange): each mapping and the part of it that lies in `range`.
  template <typename Visit>
  void ForEach(AddrRange range, const Visit& visit) const {
    for (auto it = FirstFrom(range.start); it != map_.end() && it->first < range.end; ++it) {
      visit(it->second, it->second.range.Intersect(range));
    }
  }

  // A free range of `length` within [low, high): the highest, or the lowest. Top down, a search
  // goes on where the last one with the same `high` ended if nothing above can be large enough.
  std::optional<UserAddr> FindTopDown(uint64_t length, UserAddr low, UserAddr high) const;
  std::optional<UserAddr> FindBottomUp(uint64_t length, UserAddr low, UserAddr high) const;
  // How much the number of mappings may grow if `range` is taken out: 1 if it is inside of one.
  size_t SplitsOfRemove(AddrRange range) const;

  size_t size() const { return map_.size(); }
  const Map& map() const { return map_; }
  const VmaTotals& totals() const { return totals_; }
  // Bytes of `range` that are mapped.
  uint64_t MappedBytes(AddrRange range) const;

 private:
  Map::const_iterator FirstFrom(UserAddr a) const;
  // Remove() of what will be put back.
  std::vector<Vma> Take(AddrRange range);
  static bool CanMerge(const Vma& low, const Vma& high);
  void Count(const Vma& vma, AddrRange part, int sign);

  // What top-down searches know: between `from` and `high` no hole is larger than `largest`.
  struct Search {
    UserAddr high, from;
    uint64_t largest = 0;
  };

  Map map_;
  VmaTotals totals_;
  mutable Search search_;
};

}  // namespace sandboxd::mm
