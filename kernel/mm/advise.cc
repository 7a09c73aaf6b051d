// madvise(2), msync(2), mincore(2), mlock(2).
#include <sys/mman.h>

#include <algorithm>
#include <utility>

#include "kernel/mm/memory_manager.h"

namespace sandboxd::mm {
namespace {

// Newer than the C library's headers.
constexpr int kMadvPopulateRead = 22;
constexpr int kMadvPopulateWrite = 23;
constexpr int kMadvDontNeedLocked = 24;

// Advice that Linux 6.1 takes. MADV_HWPOISON and MADV_SOFT_OFFLINE need a kernel with memory
// failure handling; MADV_COLLAPSE is 6.1's, and for privileged use of huge pages: both EINVAL here.
bool IsKnown(int advice) {
  switch (advice) {
    case MADV_NORMAL:
    case MADV_RANDOM:
    case MADV_SEQUENTIAL:
    case MADV_WILLNEED:
    case MADV_DONTNEED:
    case MADV_FREE:
    case MADV_REMOVE:
    case MADV_DONTFORK:
    case MADV_DOFORK:
    case MADV_MERGEABLE:
    case MADV_UNMERGEABLE:
    case MADV_HUGEPAGE:
    case MADV_NOHUGEPAGE:
    case MADV_DONTDUMP:
    case MADV_DODUMP:
    case MADV_WIPEONFORK:
    case MADV_KEEPONFORK:
    case MADV_COLD:
    case MADV_PAGEOUT:
    case kMadvPopulateRead:
    case kMadvPopulateWrite:
    case kMadvDontNeedLocked:
      return true;
    default:
      return false;
  }
}

// What a mapping must be for the advice.
Result<void> CheckAdvice(const Vma& vma, int advice) {
  const bool anonymous_private = vma.file == nullptr && !vma.shared();
  switch (advice) {
    case MADV_DONTNEED:
    case MADV_COLD:
    case MADV_PAGEOUT:
      return vma.locked ? Result<void>(Errno::kEINVAL) : Ok();
    case MADV_FREE:
    case MADV_WIPEONFORK:
      return anonymous_private ? Ok() : Result<void>(Errno::kEINVAL);
    case MADV_REMOVE:
      if (vma.locked || !vma.has_object()) return Errno::kEINVAL;
      if (!vma.shared() || (vma.prot & PROT_WRITE) == 0) return Errno::kEACCES;
      return Ok();
    default:
      return Ok();
  }
}

// Advice that changes our own map.
bool Record(Vma& vma, int advice) {
  switch (advice) {
    case MADV_DONTFORK:
    case MADV_DOFORK:
      vma.dont_fork = advice == MADV_DONTFORK;
      return true;
    case MADV_WIPEONFORK:
    case MADV_KEEPONFORK:
      vma.wipe_on_fork = advice == MADV_WIPEONFORK;
      return true;
    case MADV_DONTDUMP:
    case MADV_DODUMP:
      vma.dont_dump = advice == MADV_DONTDUMP;
      return true;
    default:
      return false;
  }
}

// Advice that is of no consequence to the host: the host would decide about its own core dumps and
// page merging.
bool StaysHere(int advice) {
  return advice == MADV_DONTDUMP || advice == MADV_DODUMP || advice == MADV_MERGEABLE ||
         advice == MADV_UNMERGEABLE;
}

// May the host refuse without the program noticing?
bool IsHint(int advice) {
  switch (advice) {
    case MADV_NORMAL:
    case MADV_RANDOM:
    case MADV_SEQUENTIAL:
    case MADV_WILLNEED:
    case MADV_HUGEPAGE:
    case MADV_NOHUGEPAGE:
    case MADV_COLD:
    case MADV_PAGEOUT:
      return true;
    default:
      return false;
  }
}

// What start and length cover, in the way that msync(2), mincore(2) and others see it.
struct Span {
  AddrRange range;
  bool empty = false;
};
Result<Span> RoundSpan(UserAddr addr, uint64_t length, Errno overflow) {
  auto rounded = PageRoundUp(length);
  if (!rounded) return overflow;
  auto end = CheckedAdd(addr.value, *rounded);
  if (!end) return overflow;
  return Span{{addr, UserAddr(*end)}, *rounded == 0};
}

}  // namespace

Result<void> MemoryManager::AdvisePiece(platform::Context& by, const Vma& vma, AddrRange part,
                                        int advice) {
  TRY(CheckAdvice(vma, advice));
  if (vma.special || StaysHere(advice)) return Ok();
  auto done = as_->Advise(by, part, advice == kMadvDontNeedLocked ? MADV_DONTNEED : advice);
  return IsHint(advice) ? Ok() : done;
}

Result<void> MemoryManager::Madvise(platform::Context& by, UserAddr addr, uint64_t length,
                                    int advice) {
  if (!IsKnown(advice) || !IsPageAligned(addr.value)) return Errno::kEINVAL;
  Span span = TRY(RoundSpan(addr, length, Errno::kEINVAL));
  if (span.empty) return Ok();
  std::vector<Vma> dropped;
  MutexLock lock(mutex_);
  struct Piece {
    Vma vma;
    AddrRange part;
  };
  std::vector<Piece> pieces;
  vmas_.ForEach(span.range, [&](const Vma& vma, AddrRange part) { pieces.push_back({vma, part}); });
  if (vmas_.size() + 2 > kMaxMapCount) return Errno::kENOMEM;
  // madvise(2): "ENOMEM Addresses in the specified range are not currently mapped": but the rest is
  // done.
  bool hole = !vmas_.Covers(span.range);
  for (const Piece& p : pieces) {
    TRY(AdvisePiece(by, p.vma, p.part, advice));
    Vma probe;
    if (Record(probe, advice)) vmas_.Update(p.part, [&](Vma& vma) { Record(vma, advice); });
  }
  // The copies are not the last to hold their files: the map, which is locked, does.
  pieces.clear();
  if (hole) return Errno::kENOMEM;
  return Ok();
}

Result<void> MemoryManager::Msync(platform::Context&, UserAddr addr, uint64_t length, int flags) {
  if ((flags & ~(MS_ASYNC | MS_INVALIDATE | MS_SYNC)) != 0 || !IsPageAligned(addr.value) ||
      ((flags & MS_ASYNC) != 0 && (flags & MS_SYNC) != 0)) {
    return Errno::kEINVAL;
  }
  Span span = TRY(RoundSpan(addr, length, Errno::kENOMEM));
  if (span.empty) return Ok();
  struct Dirty {
    Ref<Mappable> file;
    uint64_t offset, length;
  };
  std::vector<Dirty> dirty;
  bool hole = false, busy = false;
  {
    MutexLock lock(mutex_);
    hole = !vmas_.Covers(span.range);
    vmas_.ForEach(span.range, [&](const Vma& vma, AddrRange part) {
      if (busy) return;
      busy = (flags & MS_INVALIDATE) != 0 && vma.locked;
      if (!busy && (flags & MS_SYNC) != 0 && vma.file != nullptr && vma.shared()) {
        dirty.push_back({vma.file, vma.OffsetOf(part.start), part.length()});
      }
    });
  }
  for (const Dirty& d : dirty) TRY(d.file->Sync(d.offset, d.length));
  if (busy) return Errno::kEBUSY;
  if (hole) return Errno::kENOMEM;
  return Ok();
}

Result<void> MemoryManager::Mincore(platform::Context& by, UserAddr addr, uint64_t length,
                                    Bytes vec) {
  if (!IsPageAligned(addr.value)) return Errno::kEINVAL;
  Span span = TRY(RoundSpan(addr, length, Errno::kENOMEM));
  if (span.empty) return Ok();
  if (span.range.end > kTaskSize) return Errno::kENOMEM;
  if (vec.size() < span.range.length() / kPageSize) return Errno::kEINVAL;
  MutexLock lock(mutex_);
  if (!vmas_.Covers(span.range)) return Errno::kENOMEM;
  if (span.range.end > platform::kApplicationEnd) {  // the vdso is always there
    std::fill_n(vec.begin(), span.range.length() / kPageSize, std::byte{1});
    return Ok();
  }
  return as_->Mincore(by, span.range, vec);
}

void MemoryManager::SetLocked(AddrRange range, bool locked) {
  vmas_.Update(range, [&](Vma& vma) { vma.locked = locked && !vma.special; });
}

Result<void> MemoryManager::Mlock(platform::Context& by, UserAddr addr, uint64_t length, int flags,
                                  const MemoryLimits& limits) {
  constexpr int kOnFault = 1;  // MLOCK_ONFAULT
  if ((flags & ~kOnFault) != 0) return Errno::kEINVAL;
  if (limits.locked == 0) return Errno::kEPERM;
  UserAddr start(PageRoundDown(addr.value));
  auto bytes = CheckedAdd(length, addr - start);
  if (!bytes) return Errno::kEINVAL;
  Span span = TRY(RoundSpan(start, *bytes, Errno::kEINVAL));
  MutexLock lock(mutex_);
  uint64_t already = 0;
  vmas_.ForEach(span.range, [&](const Vma& vma, AddrRange part) {
    if (vma.locked) already += part.length();
  });
  auto sum = CheckedAdd(vmas_.totals().locked - already, span.range.length());
  if (!sum || *sum > limits.locked) return Errno::kENOMEM;
  if (span.empty) return Ok();
  if (vmas_.size() + 2 > kMaxMapCount) return Errno::kENOMEM;
  AddrRange covered{span.range.start, vmas_.CoveredUntil(span.range)};
  SetLocked(covered, true);
  if (covered != span.range) return Errno::kENOMEM;
  // The pages are made present, as a program can see by mincore(2); that they stay is the host's
  // business. Memory that can't be read stays as it is.
  if (flags == 0) {
    vmas_.ForEach(covered, [&](const Vma& vma, AddrRange part) {
      if (vma.special) return;
      bool write = (vma.prot & PROT_WRITE) != 0 && !vma.shared();
      (void)as_->Advise(by, part, write ? kMadvPopulateWrite : kMadvPopulateRead);
    });
  }
  return Ok();
}

Result<void> MemoryManager::Munlock(platform::Context&, UserAddr addr, uint64_t length) {
  UserAddr start(PageRoundDown(addr.value));
  auto bytes = CheckedAdd(length, addr - start);
  if (!bytes) return Errno::kEINVAL;
  Span span = TRY(RoundSpan(start, *bytes, Errno::kEINVAL));
  if (span.empty) return Ok();
  MutexLock lock(mutex_);
  if (vmas_.size() + 2 > kMaxMapCount) return Errno::kENOMEM;
  AddrRange covered{span.range.start, vmas_.CoveredUntil(span.range)};
  SetLocked(covered, false);
  if (covered != span.range) return Errno::kENOMEM;
  return Ok();
}

Result<void> MemoryManager::MlockAll(platform::Context&, int flags, const MemoryLimits& limits) {
  if (flags == 0 || flags == MCL_ONFAULT ||
      (flags & ~(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT)) != 0) {
    return Errno::kEINVAL;
  }
  if (limits.locked == 0) return Errno::kEPERM;
  MutexLock lock(mutex_);
  const bool current = (flags & MCL_CURRENT) != 0;
  if (current && vmas_.totals().total > limits.locked) return Errno::kENOMEM;
  lock_future_ = (flags & MCL_FUTURE) != 0;
  if (current) SetLocked({UserAddr(0), kTaskSize}, true);
  return Ok();
}

Result<void> MemoryManager::MunlockAll(platform::Context&) {
  MutexLock lock(mutex_);
  lock_future_ = false;
  SetLocked({UserAddr(0), kTaskSize}, false);
  return Ok();
}

}  // namespace sandboxd::mm
