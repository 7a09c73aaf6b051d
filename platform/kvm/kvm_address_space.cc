#include "platform/kvm/kvm_address_space.h"

#include <linux/kvm.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <algorithm>
#include <utility>

#include "platform/base/log.h"
#include "platform/kvm/guest_physical.h"
#include "platform/kvm/kvm_context.h"

namespace sandboxd::platform::kvm {
namespace {

using systrap::SharedSlots;
using systrap::SystrapAddressSpace;

// What one fault fills: the part of the address space that one last-level page table covers.
constexpr uint64_t kFillSpan = uint64_t{2} << 20;
static_assert(kFillSpan <= GuestTables::kSetSpan && kWindowSize % kFillSpan == 0);
// A mapping of at most this size is filled at once, as it will be used; a larger one is when it is
// touched.
constexpr uint64_t kEagerSize = kFillSpan;

// Memory slots that aren't windows, at most.
constexpr uint64_t kOtherSlots = SANDBOXD_STUB_TABLES_SIZE / kTablesChunk + 16;
// A copy begins with the windows in use and all page tables if they are this few; each is a memory
// slot to be made. Otherwise it begins with none, and gets them as it needs them.
constexpr size_t kWindowsToCopy = 24;

bool Permits(int prot, int access) {
  if ((access & PROT_WRITE) != 0) return (prot & PROT_WRITE) != 0;
  if ((access & PROT_EXEC) != 0) return (prot & PROT_EXEC) != 0;
  return prot != PROT_NONE;  // x86 can read what it can write or run
}

}  // namespace

Result<KvmAddressSpace::Parts> KvmAddressSpace::MakeParts(const stub::Layout& layout) {
  SharedSlots slots = TRY(SharedSlots::Create(SANDBOXD_STUB_TABLES_SIZE));
  auto tables = std::make_unique<GuestTables>(slots.extra(), layout);
  TRY(tables->Init());
  TRY(tables->AddThread(0));
  return Parts{std::move(slots), std::move(tables), {}, {}};
}

KvmAddressSpace::KvmAddressSpace(pid_t leader, uint64_t slot, Parts parts,
                                 const stub::Layout& layout, stub::Graveyard& graveyard,
                                 const MachineLimits& limits)
    : SystrapAddressSpace(leader, slot, std::move(parts.slots), layout, graveyard, limits.threads),
      limits_(limits),
      tables_(std::move(parts.tables)),
      ranges_(std::move(parts.ranges)),
      windows_(std::move(parts.windows)) {}

std::unique_ptr<systrap::SystrapContext> KvmAddressSpace::MakeContext(stub::SharedContext& shared,
                                                                      pid_t tid, uint64_t slot) {
  return std::make_unique<KvmContext>(Ref<KvmAddressSpace>(this), shared, tid, slot);
}

// `description`: where in the stub.
Result<void> KvmAddressSpace::AddSlotToMachine(Context& by, uint64_t description) {
  TRY(HostCall(by, SYS_ioctl, SANDBOXD_STUB_MACHINE, KVM_SET_USER_MEMORY_REGION, description));
  return Ok();
}

// Gives the machine the window around `address` if it doesn't have it.
Result<uint64_t> KvmAddressSpace::PhysicalOf(Context& by, uint64_t address) {
  const uint64_t window = address / kWindowSize;
  auto it = windows_.physical.find(window);
  if (it == windows_.physical.end()) {
    const uint64_t physical = kWindowsPhysical + windows_.ever * kWindowSize;
    if (physical + kWindowSize > limits_.physical_end) return Errno::kENOMEM;
    if (windows_.physical.size() + kOtherSlots > limits_.memory_slots) return Errno::kENOMEM;
    const uint64_t start = window * kWindowSize;
    const uint64_t size = std::min(kWindowSize, kApplicationEnd.value - start);
    const uint64_t description = TRY(tables_->AddMemorySlot(physical, start, size));
    TRY(AddSlotToMachine(by, description));
    it = windows_.physical.emplace(window, physical).first;
    windows_.ever++;
  }
  return it->second + address % kWindowSize;
}

// Has the guest's page tables say what ranges_ says, for what is mapped in `range`: at most
// kFillSpan, in one or two pieces of it.
Result<void> KvmAddressSpace::Fill(Context& by, AddrRange range) {
  std::vector<RangeMap::Area> areas;
  ranges_.ForEach(range, [&](const RangeMap::Area& area) {
    if (area.prot != PROT_NONE) areas.push_back(area);
  });
  for (const RangeMap::Area& area : areas) {
    for (AddrRange rest = area.range; !rest.empty();) {
      const uint64_t start = rest.start.value;
      const AddrRange part = {rest.start,
                              std::min(rest.end, UserAddr((start / kFillSpan + 1) * kFillSpan))};
      if (tables_->NeedsRoom()) TRY(AddSlotToMachine(by, TRY(tables_->AddRoom())));
      TRY(tables_->Set(part, TRY(PhysicalOf(by, start)), area.prot));
      rest.start = part.end;
    }
  }
  return Ok();
}

// What can't be filled now is when it is touched, or the reason is told then.
void KvmAddressSpace::FillIfSmall(Context& by, AddrRange range) {
  if (range.length() <= kEagerSize) static_cast<void>(Fill(by, range).ok());
}

Result<void> KvmAddressSpace::Map(Context& by, AddrRange range, int prot, const Backing& backing) {
  MutexLock lock(tables_mutex_);
  tables_->Clear(range.Intersect({kApplicationStart, kApplicationEnd}));
  TRY(SystrapAddressSpace::Map(by, range, prot, backing));
  ranges_.Set(range, prot);
  FillIfSmall(by, range);
  return Ok();
}

Result<void> KvmAddressSpace::Unmap(Context& by, AddrRange range) {
  MutexLock lock(tables_mutex_);
  tables_->Clear(range.Intersect({kApplicationStart, kApplicationEnd}));
  TRY(SystrapAddressSpace::Unmap(by, range));
  ranges_.Erase(range);
  return Ok();
}

Result<void> KvmAddressSpace::Protect(Context& by, AddrRange range, int prot) {
  MutexLock lock(tables_mutex_);
  tables_->Clear(range.Intersect({kApplicationStart, kApplicationEnd}));
  TRY(SystrapAddressSpace::Protect(by, range, prot));
  ranges_.Protect(range, prot);
  FillIfSmall(by, range);
  return Ok();
}

Result<void> KvmAddressSpace::Remap(Context& by, AddrRange from, AddrRange to, bool keep_source) {
  constexpr AddrRange kAll{kApplicationStart, kApplicationEnd};
  MutexLock lock(tables_mutex_);
  if (!keep_source) tables_->Clear(from.Intersect(kAll));
  tables_->Clear(to.Intersect(kAll));
  TRY(SystrapAddressSpace::Remap(by, from, to, keep_source));
  if (from == to) return Ok();
  // What moves, with its protections; what it grows by has the last one's.
  std::vector<RangeMap::Area> moved;
  const uint64_t common = std::min(from.length(), to.length());
  ranges_.ForEach({from.start, from.start + std::max(common, kPageSize)},
                  [&](const RangeMap::Area& area) { moved.push_back(area); });
  if (!keep_source) ranges_.Erase(from);
  ranges_.Erase(to);
  for (size_t i = 0; i < moved.size(); i++) {
    const uint64_t start = moved[i].range.start - from.start;
    const uint64_t end = i + 1 < moved.size() ? moved[i].range.end - from.start : to.length();
    ranges_.Set({to.start + start, to.start + end}, moved[i].prot);
  }
  FillIfSmall(by, to);
  return Ok();
}

Result<Ref<AddressSpace>> KvmAddressSpace::Fork(Context& by) {
  MutexLock lock(tables_mutex_);
  auto copy = SystrapAddressSpace::Fork(by);
  tables_for_copy_.reset();
  return copy;
}

// Inside Fork().
Result<SharedSlots> KvmAddressSpace::MakeSlotsForCopy(uint64_t slot) {
  tables_mutex_.AssertHeld();
  SharedSlots slots = TRY(SharedSlots::Create(SANDBOXD_STUB_TABLES_SIZE));
  tables_for_copy_ = std::make_unique<GuestTables>(slots.extra(), layout());
  windows_for_copy_ = {};
  for (const auto& [window, physical] : windows_.physical) {
    const UserAddr start(window * kWindowSize);
    bool used = false;
    ranges_.ForEach({start, start + kWindowSize}, [&](const RangeMap::Area&) { used = true; });
    if (used) windows_for_copy_.physical.emplace(window, physical);
  }
  if (windows_for_copy_.physical.size() <= kWindowsToCopy) {
    windows_for_copy_.ever = windows_.ever;
    tables_for_copy_->CopyFrom(*tables_, [&](uint64_t start) {
      return windows_for_copy_.physical.contains(start / kWindowSize);
    });
  } else {
    windows_for_copy_ = {};
    TRY(tables_for_copy_->Init());
  }
  TRY(tables_for_copy_->AddThread(slot));
  return slots;
}

Ref<AddressSpace> KvmAddressSpace::MakeCopy(pid_t leader, uint64_t slot, SharedSlots slots) {
  tables_mutex_.AssertHeld();
  return Ref<AddressSpace>(MakeRef<KvmAddressSpace>(
      leader, slot,
      Parts{std::move(slots), std::move(tables_for_copy_), ranges_, std::move(windows_for_copy_)},
      layout(), graveyard(), limits_));
}

Result<void> KvmAddressSpace::PrepareThread(Context& by) {
  MutexLock lock(tables_mutex_);
  return SystrapAddressSpace::PrepareThread(by);
}

// Inside PrepareThread().
Result<void> KvmAddressSpace::PrepareSlot(uint64_t slot) {
  tables_mutex_.AssertHeld();
  return tables_->AddThread(slot);
}

KvmAddressSpace::Verdict KvmAddressSpace::ResolveFault(Context& by, UserAddr at, int access,
                                                       bool check_host) {
  MutexLock lock(tables_mutex_);
  const auto area = ranges_.Find(at);
  if (!area) return layout().vdso.vdso.Contains(at) ? Verdict::kForbidden : Verdict::kNotMapped;
  if (!Permits(area->prot, access)) return Verdict::kForbidden;
  const UserAddr page(PageRoundDown(at.value));
  AddrRange fill{page, page + kPageSize};
  if (check_host) {
    std::byte byte;
    if (CopyIn(at, {&byte, 1}) == 0) return Verdict::kNotThere;
  } else {
    fill.start = UserAddr(at.value / kFillSpan * kFillSpan);
    fill.end = fill.start + kFillSpan;
  }
  if (auto filled = Fill(by, fill); !filled.ok()) {
    LOG_WARNING("kvm: no room for page tables or memory slots of stub %d: %s", host_pid(),
                ErrnoName(filled.error()));
    return Verdict::kNotThere;
  }
  return Verdict::kAllowed;
}

void KvmAddressSpace::Distrust() {
  MutexLock lock(tables_mutex_);
  tables_->Clear({kApplicationStart, kApplicationEnd});
}

}  // namespace sandboxd::platform::kvm
