// mremap(2) and brk(2).
#include <sys/mman.h>

#include <algorithm>
#include <utility>

#include "kernel/mm/memory_manager.h"
#include "platform/base/check.h"

namespace sandboxd::mm {

using platform::kApplicationEnd;

// Lengths are rounded to pages.
struct MemoryManager::Move {
  Vma vma;  // a copy of the mapping that holds `from`
  UserAddr from;
  uint64_t old_length = 0;
  uint64_t new_length = 0;
  bool keep_source = false;  // MREMAP_DONTUNMAP

  AddrRange source() const { return {from, from + old_length}; }
  uint64_t growth() const { return new_length > old_length ? new_length - old_length : 0; }
};

Result<void> MemoryManager::CheckResize(const Move& move, const MemoryLimits& limits) const {
  if (move.vma.special) return Errno::kEINVAL;
  // mremap(2): "If the value of old_size is zero, and old_address refers to a shareable mapping …
  // then mremap() will create a new mapping of the same pages."
  if (move.old_length == 0 && !move.vma.shared()) return Errno::kEINVAL;
  if (move.old_length > move.vma.range.end - move.from) return Errno::kEFAULT;
  uint64_t more = move.keep_source ? move.new_length : move.growth();
  if (more == 0) return Ok();
  if (!CheckedAdd(move.vma.OffsetOf(move.from), move.new_length)) return Errno::kEINVAL;
  if (move.vma.locked && vmas_.totals().locked + more > limits.locked) return Errno::kEAGAIN;
  bool is_data = !move.vma.shared() && !move.vma.grows_down && (move.vma.prot & PROT_WRITE) != 0;
  return CheckRoom(more, is_data, limits);
}

// What is one mapping to us may be several to the host, whose mremap takes only one: then the range
// is moved in halves, down to single pages.
Result<void> MemoryManager::RemapPages(platform::Context& by, AddrRange from, AddrRange to,
                                       bool keep_source) {
  auto moved = as_->Remap(by, from, to, keep_source);
  if (moved.ok() || !moved.Is(Errno::kEFAULT) || from.length() <= kPageSize) return moved;
  UserAddr middle = from.start + PageRoundDown(from.length() / 2);
  uint64_t half = middle - from.start;
  if (to.length() <= half) return moved;
  TRY(RemapPages(by, {from.start, middle}, {to.start, to.start + half}, keep_source));
  return RemapPages(by, {middle, from.end}, {to.start + half, to.end}, keep_source);
}

Result<UserAddr> MemoryManager::MoveTo(platform::Context& by, const Move& move, UserAddr to,
                                       std::vector<Vma>& dropped) {
  AddrRange target{to, to + move.new_length};
  TRY(RemapPages(by, move.source(), target, move.keep_source));
  Vma vma = move.vma;
  vma.offset = move.vma.OffsetOf(move.from);
  vma.range = target;
  if (move.old_length != 0) {
    if (move.keep_source) {
      // What stays behind is empty, and unlocked (mremap(2), MREMAP_DONTUNMAP).
      SetLocked(move.source(), false);
    } else {
      for (Vma& old : vmas_.Remove(move.source())) dropped.push_back(std::move(old));
    }
  }
  for (Vma& old : vmas_.Remove(target)) dropped.push_back(std::move(old));
  vmas_.Insert(std::move(vma));
  NotePeak();
  return to;
}

Result<void> MemoryManager::GrowInPlace(platform::Context& by, const Move& move) {
  AddrRange added{move.from + move.old_length, move.from + move.new_length};
  Vma vma = move.vma;
  vma.offset = move.vma.OffsetOf(added.start);
  vma.range = added;
  auto grown = as_->Remap(by, move.source(), {move.from, added.end}, false);
  if (!grown.ok()) {
    if (move.vma.has_object()) return grown;
    // The host may hold the mapping in parts; more of private anonymous memory is more of it.
    TRY(as_->Map(by, added, vma.prot, {.no_reserve = vma.no_reserve}));
  }
  vmas_.Insert(std::move(vma));
  NotePeak();
  return Ok();
}

Result<UserAddr> MemoryManager::Mremap(platform::Context& by, UserAddr old_addr, uint64_t old_len,
                                       uint64_t new_len, int flags, UserAddr new_addr,
                                       const MemoryLimits& limits) {
  const bool may_move = (flags & MREMAP_MAYMOVE) != 0;
  const bool fixed = (flags & MREMAP_FIXED) != 0;
  constexpr int kDontUnmap = 4;  // MREMAP_DONTUNMAP
  Move move;
  move.keep_source = (flags & kDontUnmap) != 0;
  if ((flags & ~(MREMAP_MAYMOVE | MREMAP_FIXED | kDontUnmap)) != 0) return Errno::kEINVAL;
  if ((fixed || move.keep_source) && !may_move) return Errno::kEINVAL;
  if (move.keep_source && old_len != new_len) return Errno::kEINVAL;
  if (!IsPageAligned(old_addr.value)) return Errno::kEINVAL;
  move.from = old_addr;
  // Lengths that wrap become 0, as PAGE_ALIGN makes them.
  move.old_length = PageRoundUp(old_len).value_or(0);
  move.new_length = PageRoundUp(new_len).value_or(0);
  if (move.new_length == 0) return Errno::kEINVAL;

  std::vector<Vma> dropped;
  MutexLock lock(mutex_);
  const Vma* vma = vmas_.Find(old_addr);
  if (vma == nullptr) return Errno::kEFAULT;
  move.vma = *vma;

  if (fixed || move.keep_source) {
    if (fixed) {
      if (!IsPageAligned(new_addr.value) || move.new_length > kTaskSize.value ||
          new_addr > kTaskSize - move.new_length) {
        return Errno::kEINVAL;
      }
      AddrRange target{new_addr, new_addr + move.new_length};
      auto source_end = CheckedAdd(old_addr.value, move.old_length);
      if (!source_end || AddrRange{old_addr, UserAddr(*source_end)}.Overlaps(target)) {
        return Errno::kEINVAL;
      }
      if (new_addr < kMmapMinAddr) return Errno::kEPERM;
      if (target.end > kApplicationEnd || ReservedIn(target) != nullptr) return Errno::kENOMEM;
    }
    if (vmas_.size() + 2 >= kMaxMapCount - 3) return Errno::kENOMEM;
    if (fixed) TRY(UnmapLocked(by, {new_addr, new_addr + move.new_length}, dropped));
    if (move.old_length > move.new_length) {
      TRY(UnmapLocked(by, {old_addr + move.new_length, old_addr + move.old_length}, dropped));
      move.old_length = move.new_length;
    }
    // Unmapping may have cut the mapping.
    vma = vmas_.Find(old_addr);
    if (vma == nullptr) return Errno::kEFAULT;
    move.vma = *vma;
    TRY(CheckResize(move, limits));
    if (!fixed) {
      MmapRequest place;
      place.addr = new_addr;
      new_addr = TRY(ChoosePlace(place, move.new_length));
    }
    return MoveTo(by, move, new_addr, dropped);
  }

  if (move.old_length >= move.new_length) {
    if (move.old_length > move.new_length) {
      auto end = CheckedAdd(old_addr.value, move.old_length);
      if (!end || UserAddr(*end) > kTaskSize) return Errno::kEINVAL;
      TRY(UnmapLocked(by, {old_addr + move.new_length, UserAddr(*end)}, dropped));
    }
    return old_addr;
  }
  TRY(CheckResize(move, limits));
  if (move.old_length != 0 && move.from + move.old_length == move.vma.range.end &&
      move.growth() <= kApplicationEnd - move.vma.range.end) {
    AddrRange added{move.vma.range.end, move.from + move.new_length};
    const bool free = !vmas_.Overlaps(added) && ReservedIn(added) == nullptr;
    if (free && GrowInPlace(by, move).ok()) return old_addr;
  }
  if (!may_move) return Errno::kENOMEM;
  if (vmas_.size() + 2 >= kMaxMapCount - 3) return Errno::kENOMEM;
  UserAddr place = TRY(ChoosePlace({}, move.new_length));
  return MoveTo(by, move, place, dropped);
}

UserAddr MemoryManager::Brk(platform::Context& by, UserAddr addr, const MemoryLimits& limits) {
  std::vector<Vma> dropped;
  MutexLock lock(mutex_);
  const UserAddr before = layout_.brk;
  if (addr < layout_.start_brk || addr >= kApplicationEnd) return before;
  // RLIMIT_DATA counts the program's initialised data too (getrlimit(2)).
  uint64_t data = layout_.end_data - layout_.start_data;
  if (addr - layout_.start_brk > limits.data - std::min(limits.data, data)) return before;

  const UserAddr old_end(*PageRoundUp(before.value));
  const UserAddr new_end(*PageRoundUp(addr.value));
  if (new_end < old_end) {
    if (!UnmapLocked(by, {new_end, old_end}, dropped).ok()) return before;
  } else if (new_end > old_end) {
    AddrRange added{old_end, new_end};
    const Vma* above = vmas_.FindFrom(old_end);
    // One page stays free between the heap and what follows, more below a stack.
    if (above != nullptr) {
      uint64_t gap = above->grows_down ? kStackGuardGap : kPageSize;
      if (above->range.start < new_end + gap) return before;
    }
    if (ReservedIn(added) != nullptr) return before;
    Vma vma;
    vma.range = added;
    vma.prot = PROT_READ | PROT_WRITE;
    vma.max_prot = PROT_READ | PROT_WRITE | PROT_EXEC;
    vma.label = "[heap]";
    vma.locked = lock_future_;
    if (vma.locked && vmas_.totals().locked + added.length() > limits.locked) return before;
    if (vmas_.size() >= kMaxMapCount) return before;
    if (!CheckRoom(added.length(), true, limits).ok()) return before;
    if (!MapLocked(by, std::move(vma), {}, false, dropped).ok()) return before;
  }
  layout_.brk = addr;
  return addr;
}

}  // namespace sandboxd::mm
