#include "kernel/mm/vma_set.h"

#include <sys/mman.h>

#include <algorithm>
#include <string_view>

#include "platform/base/check.h"

namespace sandboxd::mm {
namespace {

// The lowest address that a new mapping below `vma` must stay clear of.
UserAddr GuardedStart(const Vma& vma) {
  if (!vma.grows_down) return vma.range.start;
  return UserAddr(vma.range.start.value - std::min(vma.range.start.value, kStackGuardGap));
}

}  // namespace

VmaSet::Map::const_iterator VmaSet::FirstFrom(UserAddr a) const {
  auto it = map_.upper_bound(a);
  if (it != map_.begin()) {
    auto before = std::prev(it);
    if (before->second.range.Contains(a)) return before;
  }
  return it;
}

const Vma* VmaSet::Find(UserAddr a) const {
  const Vma* vma = FindFrom(a);
  return vma != nullptr && vma->range.Contains(a) ? vma : nullptr;
}

const Vma* VmaSet::FindFrom(UserAddr a) const {
  auto it = FirstFrom(a);
  return it == map_.end() ? nullptr : &it->second;
}

bool VmaSet::Overlaps(AddrRange range) const {
  const Vma* vma = FindFrom(range.start);
  return vma != nullptr && vma->range.start < range.end;
}

bool VmaSet::Covers(AddrRange range) const { return CoveredUntil(range) == range.end; }

UserAddr VmaSet::CoveredUntil(AddrRange range) const {
  UserAddr at = range.start;
  for (auto it = FirstFrom(at); it != map_.end() && it->first <= at && at < range.end; ++it) {
    at = std::min(it->second.range.end, range.end);
  }
  return at;
}

bool VmaSet::CanMerge(const Vma& low, const Vma& high) {
  if (low.range.end != high.range.start || low.special || high.special) return false;
  if (low.has_object() && low.OffsetOf(high.range.start) != high.offset) return false;
  return low.prot == high.prot && low.max_prot == high.max_prot && low.sharing == high.sharing &&
         low.file == high.file && low.shared_anon_id == high.shared_anon_id &&
         low.grows_down == high.grows_down && low.locked == high.locked &&
         low.no_reserve == high.no_reserve && low.dont_fork == high.dont_fork &&
         low.wipe_on_fork == high.wipe_on_fork && low.dont_dump == high.dont_dump &&
         std::string_view(low.label) == high.label;
}

void VmaSet::Count(const Vma& vma, AddrRange part, int sign) {
  uint64_t n = sign > 0 ? part.length() : -part.length();
  bool writable = (vma.prot & PROT_WRITE) != 0;
  totals_.total += n;
  if (vma.grows_down) {
    totals_.stack += n;
  } else if (writable && !vma.shared()) {
    totals_.data += n;
  } else if (!writable && (vma.prot & PROT_EXEC) != 0) {
    totals_.exec += n;
  }
  if (vma.locked) totals_.locked += n;
}

void VmaSet::Insert(Vma vma) {
  CHECK(!vma.range.empty() && !Overlaps(vma.range));
  Count(vma, vma.range, +1);
  auto after = map_.lower_bound(vma.range.end);
  if (after != map_.end() && CanMerge(vma, after->second)) {
    vma.range.end = after->second.range.end;
    after = map_.erase(after);
  }
  if (after != map_.begin()) {
    Vma& before = std::prev(after)->second;
    if (CanMerge(before, vma)) {
      before.range.end = vma.range.end;
      return;
    }
  }
  UserAddr start = vma.range.start;
  map_.emplace_hint(after, start, std::move(vma));
}

std::vector<Vma> VmaSet::Remove(AddrRange range) {
  std::vector<Vma> removed = Take(range);
  if (!removed.empty() && range.end > search_.from) {
    // A new hole, which may have joined one that was passed over: it is looked at again.
    auto above = map_.lower_bound(range.end);
    UserAddr next = above == map_.end() ? search_.high : above->first;
    search_.from = std::min(std::max(search_.from, next), search_.high);
  }
  return removed;
}

std::vector<Vma> VmaSet::Take(AddrRange range) {
  std::vector<Vma> removed;
  auto first = FirstFrom(range.start);
  while (first != map_.end() && first->first < range.end) {
    auto node = map_.extract(first);
    Vma vma = std::move(node.mapped());
    AddrRange part = vma.range.Intersect(range);
    Count(vma, part, -1);
    if (vma.range.start < part.start) {
      Vma low = vma;
      low.range.end = part.start;
      map_.emplace(low.range.start, std::move(low));
    }
    if (part.end < vma.range.end) {
      Vma high = vma;
      high.offset = vma.OffsetOf(part.end);
      high.range.start = part.end;
      map_.emplace(high.range.start, std::move(high));
    }
    vma.offset = vma.OffsetOf(part.start);
    vma.range = part;
    removed.push_back(std::move(vma));
    first = map_.lower_bound(part.end);
  }
  return removed;
}

std::optional<UserAddr> VmaSet::FindTopDown(uint64_t length, UserAddr low, UserAddr high) const {
  if (high < low || high - low < length) return std::nullopt;
  if (search_.high != high || length <= search_.largest) search_ = {high, high, 0};
  // `ceiling`: the end of the free range under consideration.
  UserAddr ceiling = search_.from;
  auto above = map_.lower_bound(ceiling);
  if (above != map_.end()) ceiling = std::min(ceiling, GuardedStart(above->second));
  for (auto it = above; it != map_.begin();) {
    --it;
    const Vma& below = it->second;
    if (below.range.end <= ceiling) {
      if (ceiling - below.range.end >= length) break;
      search_.largest = std::max(search_.largest, ceiling - below.range.end);
    }
    ceiling = std::min(ceiling, GuardedStart(below));
    if (ceiling <= low) return std::nullopt;
  }
  if (ceiling.value < length || ceiling - length < low) return std::nullopt;
  // Not below what was found: the caller may leave it unused.
  search_.from = ceiling;
  return ceiling - length;
}

std::optional<UserAddr> VmaSet::FindBottomUp(uint64_t length, UserAddr low, UserAddr high) const {
  UserAddr floor = low;
  for (auto it = FirstFrom(low); it != map_.end() && it->first < high; ++it) {
    UserAddr ceiling = GuardedStart(it->second);
    if (ceiling >= floor && ceiling - floor >= length) break;
    floor = std::max(floor, it->second.range.end);
  }
  if (floor > high || high - floor < length) return std::nullopt;
  return floor;
}

size_t VmaSet::SplitsOfRemove(AddrRange range) const {
  const Vma* vma = FindFrom(range.start);
  return vma != nullptr && vma->range.start < range.start && vma->range.end > range.end ? 1 : 0;
}

uint64_t VmaSet::MappedBytes(AddrRange range) const {
  uint64_t n = 0;
  ForEach(range, [&](const Vma&, AddrRange part) { n += part.length(); });
  return n;
}

}  // namespace sandboxd::mm
