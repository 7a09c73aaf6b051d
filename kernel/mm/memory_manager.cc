#include "kernel/mm/memory_manager.h"

#include <signal.h>
#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <utility>

#include "kernel/mm/random.h"
#include "platform/base/check.h"

namespace sandboxd::mm {
namespace {

using platform::kApplicationEnd;
using platform::Sharing;

constexpr int kProtMask = PROT_READ | PROT_WRITE | PROT_EXEC;
// As on Linux x86-64: 28 bits of pages for mmap, 22 for the stack.
constexpr uint64_t kMmapEntropy = kPageSize << 28;
constexpr uint64_t kStackEntropy = kPageSize << 22;
constexpr uint64_t kMinMmapGap = uint64_t{128} << 20;
// What the stack of a program with RLIMIT_STACK unlimited gets.
constexpr uint64_t kMaxStack = uint64_t{256} << 20;
constexpr uint64_t kMinStack = uint64_t{256} << 10;
// MAP_32BIT looks here (mmap(2): "the first 2 Gigabytes of the process address space").
constexpr AddrRange kLow32{UserAddr(0x4000'0000), UserAddr(0x8000'0000)};

uint64_t NextId() {
  static std::atomic<uint64_t> next{1};
  return next.fetch_add(1, std::memory_order_relaxed);
}

bool IsFixed(int flags) { return (flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)) != 0; }

Result<Sharing> SharingOf(const MmapRequest& r) {
  int type = r.flags & MAP_TYPE;
  if (type == MAP_PRIVATE) return Sharing::kPrivate;
  if (type == MAP_SHARED) return Sharing::kShared;
  if (type == MAP_SHARED_VALIDATE && r.file != nullptr) return Sharing::kShared;
  return Errno::kEINVAL;
}

// What MAP_SHARED_VALIDATE knows (LEGACY_MAP_MASK).
constexpr int kLegacyFlags = MAP_SHARED | MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS | MAP_DENYWRITE |
                             MAP_EXECUTABLE | MAP_GROWSDOWN | MAP_LOCKED | MAP_NORESERVE |
                             MAP_POPULATE | MAP_NONBLOCK | MAP_STACK | MAP_HUGETLB | MAP_32BIT |
                             MAP_FIXED_NOREPLACE | MAP_SHARED_VALIDATE;

Result<Vma> DescribeMapping(const MmapRequest& r) {
  Vma vma;
  vma.sharing = TRY(SharingOf(r));
  vma.prot = r.prot & kProtMask;
  vma.max_prot = r.max_prot;
  vma.grows_down = (r.flags & MAP_GROWSDOWN) != 0;
  vma.no_reserve = (r.flags & MAP_NORESERVE) != 0;
  vma.locked = (r.flags & MAP_LOCKED) != 0;
  vma.label = r.label;
  vma.file = r.file;
  if (r.file == nullptr) {
    if (vma.grows_down && vma.shared()) return Errno::kEINVAL;
    if (vma.shared()) vma.shared_anon_id = NextId();
    return vma;
  }
  if ((r.flags & MAP_TYPE) == MAP_SHARED_VALIDATE && (r.flags & ~kLegacyFlags) != 0) {
    return Errno::kEOPNOTSUPP;
  }
  // mmap(2): "EACCES … MAP_SHARED was requested and PROT_WRITE is set, but fd is not open in
  // read/write mode". A private mapping may always be written.
  if (!vma.shared()) vma.max_prot |= PROT_WRITE;
  if ((vma.prot & ~vma.max_prot & (PROT_READ | PROT_WRITE)) != 0) return Errno::kEACCES;
  if ((vma.prot & ~vma.max_prot & PROT_EXEC) != 0) return Errno::kEPERM;
  if (vma.grows_down) return Errno::kEINVAL;
  vma.offset = r.offset;
  return vma;
}

MapAccess AccessOf(const Vma& vma) {
  if (!vma.shared()) return MapAccess::kPrivate;
  return (vma.max_prot & PROT_WRITE) != 0 ? MapAccess::kSharedWritable : MapAccess::kSharedReadOnly;
}

bool IsData(const Vma& vma) {
  return !vma.shared() && !vma.grows_down && (vma.prot & PROT_WRITE) != 0;
}

}  // namespace

MemoryManager::MemoryManager(Ref<platform::AddressSpace> as)
    : as_(std::move(as)), id_(NextId()), mmap_base_(kApplicationEnd - kStackEntropy - kMinMmapGap) {
  as_->set_room_keeper(this);
}

// No code runs any more in an address space whose map goes away.
MemoryManager::~MemoryManager() { as_->set_room_keeper(nullptr); }

Result<Ref<MemoryManager>> MemoryManager::Create(Ref<platform::AddressSpace> as,
                                                 const platform::VdsoLayout& vdso) {
  auto mm = MakeRef<MemoryManager>(std::move(as));
  MutexLock lock(mm->mutex_);
  auto list = [&](AddrRange range, int prot, const char* label) REQUIRES(mm->mutex_) {
    if (range.empty()) return;
    Vma vma;
    vma.range = range;
    vma.prot = vma.max_prot = prot;
    vma.special = true;
    vma.label = label;
    mm->vmas_.Insert(std::move(vma));
  };
  list(vdso.vvar, PROT_READ, "[vvar]");
  list(vdso.vdso, PROT_READ | PROT_EXEC, "[vdso]");
  return mm;
}

void MemoryManager::NotePeak() { peak_bytes_ = std::max(peak_bytes_, vmas_.totals().total); }

Result<void> MemoryManager::CheckRoom(uint64_t more, bool is_data,
                                      const MemoryLimits& limits) const {
  const VmaTotals& now = vmas_.totals();
  auto total = CheckedAdd(now.total, more);
  if (!total || *total > limits.address_space) return Errno::kENOMEM;
  if (is_data && now.data + more > limits.data) return Errno::kENOMEM;
  return Ok();
}

Result<void> MemoryManager::CheckMmap(const MmapRequest& r) {
  if (!IsPageAligned(r.offset) || r.length == 0) return Errno::kEINVAL;
  auto length = PageRoundUp(r.length);
  if (!length) return Errno::kENOMEM;
  if (!CheckedAdd(r.offset, *length)) return Errno::kEOVERFLOW;
  if (*length > kTaskSize.value) return Errno::kENOMEM;
  if (!IsFixed(r.flags)) return Ok();
  if (r.addr > kTaskSize - *length) return Errno::kENOMEM;
  if (!IsPageAligned(r.addr.value)) return Errno::kEINVAL;
  if (r.addr < kMmapMinAddr) return Errno::kEPERM;
  return Ok();
}

Result<UserAddr> MemoryManager::ChoosePlace(const MmapRequest& r, uint64_t length) const {
  if (IsFixed(r.flags)) {
    AddrRange range{r.addr, r.addr + length};
    if ((r.flags & MAP_FIXED_NOREPLACE) != 0 && vmas_.Overlaps(range)) return Errno::kEEXIST;
    if (range.end > kApplicationEnd || ReservedIn(range) != nullptr) return Errno::kENOMEM;
    return r.addr;
  }
  // A hint is taken if there is room.
  auto rounded = PageRoundUp(r.addr.value);
  if (r.addr.value != 0 && rounded) {
    UserAddr hint = std::max(UserAddr(*rounded), kMmapMinAddr);
    bool in_low = hint + length <= kLow32.end || (r.flags & MAP_32BIT) == 0;
    if (hint < kApplicationEnd && length <= kApplicationEnd - hint && in_low &&
        !vmas_.Overlaps({hint, hint + length}) && ReservedIn({hint, hint + length}) == nullptr) {
      const Vma* above = vmas_.FindFrom(hint);
      bool guarded = above != nullptr && above->grows_down &&
                     above->range.start - (hint + length) < kStackGuardGap;
      if (!guarded) return hint;
    }
  }
  std::optional<UserAddr> place;
  if ((r.flags & MAP_32BIT) != 0) {
    place = FindBottomUp(length, kLow32.start, kLow32.end);
  } else {
    place = FindTopDown(length, kMmapMinAddr, mmap_base_);
    if (!place) place = FindBottomUp(length, mmap_base_, kApplicationEnd);
  }
  if (!place) return Errno::kENOMEM;
  return *place;
}

Result<UserAddr> MemoryManager::FindRoom(UserAddr hint, uint64_t length) const {
  MmapRequest r;
  r.addr = hint;
  MutexLock lock(mutex_);
  return ChoosePlace(r, length);
}

Result<void> MemoryManager::UnmapLocked(platform::Context& by, AddrRange range,
                                        std::vector<Vma>& dropped) {
  UserAddr first, last;
  bool any = false, special = false;
  vmas_.ForEach(range, [&](const Vma& vma, AddrRange part) {
    if (!any) first = part.start;
    any = true;
    last = part.end;
    special = special || vma.special;
  });
  if (special) return Errno::kEINVAL;
  if (!any) return Ok();
  if (vmas_.size() + vmas_.SplitsOfRemove(range) > kMaxMapCount) return Errno::kENOMEM;
  TRY(as_->Unmap(by, {first, last}));
  for (Vma& vma : vmas_.Remove(range)) dropped.push_back(std::move(vma));
  return Ok();
}

Result<void> MemoryManager::MapLocked(platform::Context& by, Vma vma, const HostRange& host,
                                      bool populate, std::vector<Vma>& dropped) {
  platform::Backing backing{host.fd, host.offset, vma.sharing, vma.no_reserve, populate};
  auto mapped = as_->Map(by, vma.range, vma.prot, backing);
  if (!mapped.ok()) {
    // A host mmap that fails may have taken away what was there.
    if (vmas_.Overlaps(vma.range)) {
      (void)UnmapLocked(by, vma.range, dropped);
    }
    return mapped.error();
  }
  for (Vma& old : vmas_.Remove(vma.range)) dropped.push_back(std::move(old));
  vmas_.Insert(std::move(vma));
  NotePeak();
  return Ok();
}

Result<UserAddr> MemoryManager::Mmap(platform::Context& by, const MmapRequest& request,
                                     const MemoryLimits& limits) {
  if ((request.flags & MAP_HUGETLB) != 0) {
    // As on a machine without reserved huge pages; a file is never one of hugetlbfs.
    return request.file == nullptr ? Errno::kENOMEM : Errno::kEINVAL;
  }
  TRY(CheckMmap(request));
  uint64_t length = *PageRoundUp(request.length);
  auto described = DescribeMapping(request);
  HostRange host;
  if (described.ok() && request.file != nullptr) {
    host = TRY(request.file->HostBacking(request.offset, length, AccessOf(*described)));
  }
  std::vector<Vma> dropped;
  MutexLock lock(mutex_);
  if (vmas_.size() >= kMaxMapCount) return Errno::kENOMEM;
  UserAddr place = TRY(ChoosePlace(request, length));
  Vma vma = TRY(std::move(described));
  vma.range = {place, place + length};
  vma.locked = vma.locked || lock_future_;
  if (vma.locked) {
    if (limits.locked == 0) return Errno::kEPERM;
    if (vmas_.totals().locked + length > limits.locked) return Errno::kEAGAIN;
  }
  uint64_t replaced = IsFixed(request.flags) ? vmas_.MappedBytes(vma.range) : 0;
  TRY(CheckRoom(length - replaced, IsData(vma), limits));
  if (vmas_.size() + vmas_.SplitsOfRemove(vma.range) >= kMaxMapCount) return Errno::kENOMEM;
  bool populate = (request.flags & MAP_LOCKED) != 0 ||
                  (request.flags & (MAP_POPULATE | MAP_NONBLOCK)) == MAP_POPULATE;
  TRY(MapLocked(by, std::move(vma), host, populate, dropped));
  return place;
}

Result<void> MemoryManager::Munmap(platform::Context& by, UserAddr addr, uint64_t length) {
  if (!IsPageAligned(addr.value) || addr > kTaskSize || length > kTaskSize - addr) {
    return Errno::kEINVAL;
  }
  uint64_t rounded = *PageRoundUp(length);
  if (rounded == 0) return Errno::kEINVAL;
  std::vector<Vma> dropped;
  MutexLock lock(mutex_);
  return UnmapLocked(by, {addr, addr + rounded}, dropped);
}

Result<void> MemoryManager::Mprotect(platform::Context& by, UserAddr addr, uint64_t length,
                                     int prot) {
  const int grows = prot & (PROT_GROWSDOWN | PROT_GROWSUP);
  if (grows == (PROT_GROWSDOWN | PROT_GROWSUP) || !IsPageAligned(addr.value)) {
    return Errno::kEINVAL;
  }
  if (length == 0) return Ok();
  auto rounded = PageRoundUp(length);
  if (!rounded || *rounded == 0 || !CheckedAdd(addr.value, *rounded)) return Errno::kENOMEM;
  constexpr int kProtSem = 0x8;
  prot &= ~(PROT_GROWSDOWN | PROT_GROWSUP);
  if ((prot & ~(kProtMask | kProtSem)) != 0) return Errno::kEINVAL;
  prot &= kProtMask;
  AddrRange range{addr, addr + *rounded};

  std::vector<Vma> dropped;
  MutexLock lock(mutex_);
  const Vma* first = vmas_.FindFrom(addr);
  if (first == nullptr) return Errno::kENOMEM;
  if (grows == PROT_GROWSDOWN) {
    if (first->range.start >= range.end) return Errno::kENOMEM;
    if (!first->grows_down) return Errno::kEINVAL;
    range.start = first->range.start;
  } else if (first->range.start > addr) {
    return Errno::kENOMEM;
  } else if (grows == PROT_GROWSUP) {
    return Errno::kEINVAL;
  }
  // Mappings are changed one after the other up to the first that can't be (mprotect(2)).
  UserAddr end = vmas_.CoveredUntil(range);
  Result<void> outcome = end < range.end ? Result<void>(Errno::kENOMEM) : Ok();
  UserAddr until = end;
  vmas_.ForEach({range.start, end}, [&](const Vma& vma, AddrRange part) {
    if (part.start >= until || (!vma.special && (prot & ~vma.max_prot) == 0)) return;
    until = part.start;
    outcome = Errno::kEACCES;
  });
  if (until <= range.start) return outcome;
  if (vmas_.size() + 2 > kMaxMapCount) return Errno::kENOMEM;
  AddrRange changed{range.start, until};
  TRY(as_->Protect(by, changed, prot));
  vmas_.Update(changed, [&](Vma& vma) { vma.prot = prot; });
  return outcome;
}

Result<AddrRange> MemoryManager::MapStack(platform::Context& by, const MemoryLimits& limits,
                                          bool executable, bool randomize) {
  uint64_t size = std::clamp(PageRoundDown(limits.stack), kMinStack, kMaxStack);
  Vma vma;
  vma.prot = PROT_READ | PROT_WRITE | (executable ? PROT_EXEC : 0);
  vma.max_prot = kProtMask;
  vma.grows_down = true;
  vma.no_reserve = true;
  vma.label = "[stack]";
  std::vector<Vma> dropped;
  MutexLock lock(mutex_);
  UserAddr top = kApplicationEnd - (randomize ? RandomPageOffset(kStackEntropy) : 0);
  vma.range = {top - size, top};
  AddrRange range = vma.range;
  TRY(CheckRoom(size, false, limits));
  TRY(MapLocked(by, std::move(vma), {}, false, dropped));
  UserAddr base = kApplicationEnd - kStackEntropy - std::max(kMinMmapGap, size + kStackGuardGap);
  mmap_base_ = base - (randomize ? RandomPageOffset(kMmapEntropy) : 0);
  layout_.start_stack = top;
  return range;
}

Result<Ref<MemoryManager>> MemoryManager::Fork(platform::Context& by) {
  MutexLock lock(mutex_);
  auto child = MakeRef<MemoryManager>(TRY(as_->Fork(by)));
  // Nobody knows the child yet, so that its lock, of our own rank, isn't needed.
  [&]() NO_THREAD_SAFETY_ANALYSIS {
    for (const auto& [start, vma] : vmas_.map()) {
      if (vma.dont_fork) continue;
      Vma copy = vma;
      copy.locked = false;  // mlock(2): "Memory locks are not inherited by a child"
      child->vmas_.Insert(std::move(copy));
    }
    child->layout_ = layout_;
    child->mmap_base_ = mmap_base_;
    child->reserved_ = reserved_;
    child->peak_bytes_ = child->vmas_.totals().total;
    child->dumpable_ = dumpable_;
    child->executable_ = executable_;
  }();
  return child;
}

Result<SharedKey> MemoryManager::KeyFor(UserAddr addr) const {
  MutexLock lock(mutex_);
  const Vma* vma = vmas_.Find(addr);
  if (vma == nullptr) return Errno::kEFAULT;
  if (!vma->shared()) return SharedKey{SharedKey::Kind::kPrivate, id_, 0, addr.value};
  uint64_t offset = vma->OffsetOf(addr);
  if (vma->file == nullptr) {
    return SharedKey{SharedKey::Kind::kSharedAnon, vma->shared_anon_id, 0, offset};
  }
  Mappable::Identity identity = vma->file->identity();
  return SharedKey{SharedKey::Kind::kFile, identity.device, identity.inode, offset};
}

std::vector<Vma> MemoryManager::Snapshot() const {
  std::vector<Vma> all;
  MutexLock lock(mutex_);
  all.reserve(vmas_.size());
  for (const auto& [start, vma] : vmas_.map()) all.push_back(vma);
  return all;
}

int MemoryManager::FaultCode(UserAddr addr) const {
  MutexLock lock(mutex_);
  return vmas_.Find(addr) != nullptr ? SEGV_ACCERR : SEGV_MAPERR;
}

MemoryManager::Usage MemoryManager::usage() const {
  MutexLock lock(mutex_);
  const VmaTotals& t = vmas_.totals();
  return {t.total, t.data, t.stack, t.exec, t.locked, std::max(peak_bytes_, t.total)};
}

MemoryManager::Layout MemoryManager::layout() const {
  MutexLock lock(mutex_);
  return layout_;
}

void MemoryManager::set_layout(const Layout& layout) {
  MutexLock lock(mutex_);
  layout_ = layout;
}

void MemoryManager::SetBrkStart(UserAddr start) {
  MutexLock lock(mutex_);
  layout_.start_brk = layout_.brk = start;
}

Ref<RefCounted> MemoryManager::executable() const {
  MutexLock lock(mutex_);
  return executable_;
}

void MemoryManager::set_executable(Ref<RefCounted> file) {
  // The old one goes with `file`, after the lock.
  MutexLock lock(mutex_);
  std::swap(executable_, file);
}

int MemoryManager::dumpable() const {
  MutexLock lock(mutex_);
  return dumpable_;
}

void MemoryManager::set_dumpable(int value) {
  MutexLock lock(mutex_);
  dumpable_ = value;
}

}  // namespace sandboxd::mm
