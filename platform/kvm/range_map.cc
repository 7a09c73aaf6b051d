#include "platform/kvm/range_map.h"

#include <iterator>
#include <vector>

namespace sandboxd::platform::kvm {

// Afterwards no area lies on both sides of `at`.
void RangeMap::SplitAt(uint64_t at) {
  auto it = areas_.lower_bound(at);
  if (it == areas_.begin()) return;
  --it;
  if (it->second.end.value <= at) return;
  const Rest right = it->second;
  it->second.end = UserAddr(at);
  areas_.emplace(at, right);
}

// Makes one of two areas that meet at `at` and are alike.
void RangeMap::MergeAt(uint64_t at) {
  auto right = areas_.find(at);
  if (right == areas_.end() || right == areas_.begin()) return;
  auto left = std::prev(right);
  if (left->second.end.value != at || left->second.prot != right->second.prot) return;
  left->second.end = right->second.end;
  areas_.erase(right);
}

void RangeMap::Erase(AddrRange range) {
  if (range.empty()) return;
  SplitAt(range.start.value);
  SplitAt(range.end.value);
  areas_.erase(areas_.lower_bound(range.start.value), areas_.lower_bound(range.end.value));
}

void RangeMap::Set(AddrRange range, int prot) {
  if (range.empty()) return;
  Erase(range);
  areas_.emplace(range.start.value, Rest{range.end, prot});
  MergeAt(range.end.value);
  MergeAt(range.start.value);
}

void RangeMap::Protect(AddrRange range, int prot) {
  std::vector<AddrRange> parts;
  ForEach(range, [&](const Area& area) { parts.push_back(area.range); });
  for (const AddrRange& part : parts) Set(part, prot);
}

std::optional<RangeMap::Area> RangeMap::Find(UserAddr at) const {
  auto it = areas_.upper_bound(at.value);
  if (it == areas_.begin()) return std::nullopt;
  --it;
  if (at >= it->second.end) return std::nullopt;
  return Area{{UserAddr(it->first), it->second.end}, it->second.prot};
}

}  // namespace sandboxd::platform::kvm
