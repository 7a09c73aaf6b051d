// Pages of the platform's own among the application's (platform::RoomKeeper).
#include <algorithm>

#include "kernel/mm/memory_manager.h"

namespace sandboxd::mm {

const UserAddr* MemoryManager::ReservedIn(AddrRange range) const {
  // A page counts if any of it is in the range.
  const UserAddr low =
      range.start < UserAddr(kPageSize) ? UserAddr(0) : range.start - kPageSize + 1;
  auto it = std::lower_bound(reserved_.begin(), reserved_.end(), low);
  return it != reserved_.end() && *it < range.end ? &*it : nullptr;
}

std::optional<UserAddr> MemoryManager::FindTopDown(uint64_t length, UserAddr low,
                                                   UserAddr high) const {
  for (;;) {
    auto place = vmas_.FindTopDown(length, low, high);
    const UserAddr* taken = place ? ReservedIn({*place, *place + length}) : nullptr;
    if (taken == nullptr) return place;
    high = *taken;
  }
}

std::optional<UserAddr> MemoryManager::FindBottomUp(uint64_t length, UserAddr low,
                                                    UserAddr high) const {
  for (;;) {
    auto place = vmas_.FindBottomUp(length, low, high);
    const UserAddr* taken = place ? ReservedIn({*place, *place + length}) : nullptr;
    if (taken == nullptr) return place;
    low = *taken + kPageSize;
  }
}

Result<UserAddr> MemoryManager::Reserve(AddrRange window) {
  const UserAddr low = std::max(UserAddr(PageRoundDown(window.start.value)), kMmapMinAddr);
  const auto rounded = PageRoundUp(window.end.value);
  if (!rounded) return Errno::kENOMEM;
  const UserAddr high = std::min(UserAddr(*rounded), platform::kApplicationEnd);
  MutexLock lock(mutex_);
  auto place = FindBottomUp(kPageSize, low, high);
  if (!place) return Errno::kENOMEM;
  reserved_.insert(std::lower_bound(reserved_.begin(), reserved_.end(), *place), *place);
  return *place;
}

}  // namespace sandboxd::mm
