#include "platform/kvm/guest_tables.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>

#include "platform/base/check.h"
#include "platform/kvm/guest_physical.h"

namespace sandboxd::platform::kvm {
namespace {

// Entries of page tables (Intel SDM volume 3, 4.5). Accessed and dirty are set from the start, so
// that the processor has nothing to write into the tables.
constexpr uint64_t kPresent = 1, kWritable = 2, kUser = 4, kAccessed = 0x20, kDirty = 0x40;
constexpr uint64_t kNoExecute = uint64_t{1} << 63;
constexpr uint64_t kAddressMask = 0x000f'ffff'ffff'f000;
constexpr uint64_t kTableBits = kPresent | kWritable | kUser | kAccessed;
constexpr uint64_t kTableEntries = 512;
constexpr uint64_t kLeafSpan = kTableEntries * kPageSize;

// Segment descriptors (Intel SDM volume 3, 3.4.5): flat, 64-bit.
constexpr uint64_t kSystemCode = 0x00af'9b00'0000'ffff;
constexpr uint64_t kUserData = 0x00cf'f300'0000'ffff;
constexpr uint64_t kUserCode = 0x00af'fb00'0000'ffff;
constexpr uint64_t kInterruptGate = 0x8e, kUserGate = 0x60;

// The processor walks these while we write them.
void Write(uint64_t* entry, uint64_t value) { __atomic_store_n(entry, value, __ATOMIC_RELEASE); }
uint64_t Read(const uint64_t* entry) { return __atomic_load_n(entry, __ATOMIC_RELAXED); }

uint64_t IndexOf(uint64_t address, int level) { return address >> (12 + 9 * level) & 511; }

uint64_t LeafBits(int prot) {
  if (prot == PROT_NONE) return 0;
  uint64_t bits = kPresent | kUser | kAccessed | kDirty;
  if ((prot & PROT_WRITE) != 0) bits |= kWritable;
  if ((prot & PROT_EXEC) == 0) bits |= kNoExecute;
  return bits;
}

}  // namespace

Result<void> GuestTables::Init() {
  list().count = 0;
  TRY(AddMemorySlot(0, layout_.tables(), kTablesChunk));
  slotted_ = kTablesChunk;
  WriteDescriptors();
  WriteEntries();
  for (uint64_t offset : {stub::kGdtOffset, stub::kIdtOffset, stub::kEntryOffset}) {
    TRY(MapSystemPage(offset));
  }
  TRY(MapHole());
  return MapVdso();
}

void GuestTables::CopyFrom(const GuestTables& other,
                           const std::function<bool(uint64_t start)>& keep) {
  auto copy = [&](uint64_t offset, uint64_t size) {
    std::memcpy(memory_ + offset, other.memory_ + offset, size);
  };
  const auto& slots =
      *reinterpret_cast<const stub::SlotList*>(other.memory_ + stub::kSlotListOffset);
  copy(0, stub::kSlotListOffset);
  list().count = 0;
  for (uint32_t i = 0; i < slots.count; i++) {
    const kvm_userspace_memory_region& from = slots.slots[i];
    if (from.userspace_addr < kApplicationEnd.value && !keep(from.userspace_addr)) continue;
    kvm_userspace_memory_region& to = list().slots[list().count];
    to = from;
    to.slot = list().count++;
  }
  copy(stub::kFreePages, other.next_page_ - stub::kFreePages);
  next_page_ = other.next_page_;
  next_system_table_ = other.next_system_table_;
  slotted_ = other.slotted_;
}

Result<void> GuestTables::AddThread(uint64_t slot) {
  const uint64_t page = stub::ThreadPage(slot);
  // TSS (Intel SDM volume 3, 8.7): RSP0 at 4, I/O map base at 102. Exceptions arrive at the end of
  // the page.
  const uint64_t stack = stub::kSystemBase + page + kPageSize;
  const auto no_io_map = static_cast<uint16_t>(stub::kTssSize);
  std::memcpy(memory_ + page + 4, &stack, sizeof(stack));
  std::memcpy(memory_ + page + 102, &no_io_map, sizeof(no_io_map));
  return MapSystemPage(page);
}

void GuestTables::WriteDescriptors() {
  uint64_t* gdt = Table(stub::kGdtOffset);
  gdt[stub::kSystemCs / 8] = kSystemCode;
  gdt[stub::kGuestDs / 8] = kUserData;
  gdt[stub::kGuestCs / 8] = kUserCode;
  uint64_t* idt = Table(stub::kIdtOffset);
  for (uint64_t vector = 0; vector < 256; vector++) {
    const uint64_t entry = stub::kSystemBase + stub::kEntryOffset + vector * stub::kVectorStride;
    // int3 and into may be raised by instructions of the application, the others may not.
    const uint64_t gate = kInterruptGate | (vector == 3 || vector == 4 ? kUserGate : 0);
    idt[vector * 2] = (entry & 0xffff) | uint64_t{stub::kSystemCs} << 16 | gate << 40 |
                      (entry >> 16 & 0xffff) << 48;
    idt[vector * 2 + 1] = entry >> 32;
  }
}

void GuestTables::WriteEntries() {
  constexpr uint8_t kHlt = 0xf4, kInt3 = 0xcc;
  std::byte* code = memory_ + stub::kEntryOffset;
  std::memset(code, kInt3, kPageSize);
  for (uint64_t vector = 0; vector < 256; vector++) {
    code[vector * stub::kVectorStride] = std::byte{kHlt};
  }
  code[stub::kCallOffset] = std::byte{kHlt};
}

// Ring 0 only. The tables on the way come from a place of their own, so that they are the same in
// every machine.
Result<void> GuestTables::MapSystemPage(uint64_t offset) {
  const uint64_t address = stub::kSystemBase + offset;
  uint64_t table = stub::kRootOffset;
  for (int level = 3; level > 0; level--) {
    uint64_t* entry = Table(table) + IndexOf(address, level);
    if ((Read(entry) & kPresent) == 0) {
      next_system_table_ += kPageSize;
      if (next_system_table_ > stub::kSlotListOffset) return Errno::kENOMEM;
      Write(entry, (next_system_table_ - kPageSize) | (kTableBits & ~kUser));
    }
    table = Read(entry) & kAddressMask;
  }
  Write(Table(table) + IndexOf(address, 0), offset | kPresent | kWritable | kAccessed | kDirty);
  return Ok();
}

Result<void> GuestTables::MapHole() {
  const UserAddr hole(layout_.hole());
  TRY(AddMemorySlot(kHolePhysical, hole.value, kPageSize));
  return Set({hole, hole + kPageSize}, kHolePhysical, PROT_EXEC);
}

// The host's own pages, as they lie in every stub: data to read, code to read and run.
Result<void> GuestTables::MapVdso() {
  const VdsoLayout& vdso = layout_.vdso;
  if (vdso.vdso.empty()) return Ok();
  const AddrRange whole{vdso.vvar.start, vdso.vdso.end};
  TRY(AddMemorySlot(kVdsoPhysical, whole.start.value, whole.length()));
  TRY(Set(vdso.vvar, kVdsoPhysical, PROT_READ));
  return Set(vdso.vdso, kVdsoPhysical + vdso.vvar.length(), PROT_READ | PROT_EXEC);
}

Result<uint64_t> GuestTables::NewTable() {
  const uint64_t table = next_page_;
  if (table + kPageSize > slotted_) return Errno::kENOMEM;
  next_page_ += kPageSize;
  return table;
}

Result<uint64_t> GuestTables::AddRoom() {
  if (slotted_ + kTablesChunk > SANDBOXD_STUB_TABLES_SIZE) return Errno::kENOMEM;
  const uint64_t slot = TRY(AddMemorySlot(slotted_, layout_.tables() + slotted_, kTablesChunk));
  slotted_ += kTablesChunk;
  return slot;
}

// The last-level table that covers `address`.
Result<uint64_t*> GuestTables::Leaf(uint64_t address) {
  uint64_t table = stub::kRootOffset;
  for (int level = 3; level > 0; level--) {
    uint64_t* entry = Table(table) + IndexOf(address, level);
    if ((Read(entry) & kPresent) == 0) Write(entry, TRY(NewTable()) | kTableBits);
    table = Read(entry) & kAddressMask;
  }
  return Table(table);
}

Result<void> GuestTables::Set(AddrRange range, uint64_t physical, int prot) {
  const uint64_t bits = LeafBits(prot);
  for (uint64_t at = range.start.value; at < range.end.value;) {
    uint64_t* leaf = TRY(Leaf(at));
    const uint64_t end = std::min(range.end.value, (at / kLeafSpan + 1) * kLeafSpan);
    for (; at < end; at += kPageSize, physical += kPageSize) {
      Write(leaf + IndexOf(at, 0), bits == 0 ? 0 : physical | bits);
    }
  }
  return Ok();
}

void GuestTables::Clear(AddrRange range) {
  for (uint64_t at = range.start.value; at < range.end.value;) {
    uint64_t table = stub::kRootOffset;
    int level = 3;
    for (; level > 0; level--) {
      const uint64_t entry = Read(Table(table) + IndexOf(at, level));
      if ((entry & kPresent) == 0) break;
      table = entry & kAddressMask;
    }
    const uint64_t span = level == 0 ? kLeafSpan : kPageSize << (9 * level);
    const uint64_t end = std::min(range.end.value, (at / span + 1) * span);
    if (level == 0) {
      for (uint64_t page = at; page < end; page += kPageSize)
        Write(Table(table) + IndexOf(page, 0), 0);
    }
    at = end;
  }
}

bool GuestTables::Allows(UserAddr at, int prot) const {
  uint64_t table = stub::kRootOffset;
  for (int level = 3; level >= 0; level--) {
    const auto* entries = reinterpret_cast<const uint64_t*>(memory_ + table);
    const uint64_t entry = Read(entries + IndexOf(at.value, level));
    if ((entry & kPresent) == 0) return false;
    if (level == 0) {
      return ((prot & PROT_WRITE) == 0 || (entry & kWritable) != 0) &&
             ((prot & PROT_EXEC) == 0 || (entry & kNoExecute) == 0);
    }
    table = entry & kAddressMask;
  }
  return false;
}

Result<uint64_t> GuestTables::AddMemorySlot(uint64_t physical, uint64_t address_in_stub,
                                            uint64_t size) {
  stub::SlotList& slots = list();
  if (slots.count >= std::size(slots.slots)) return Errno::kENOMEM;
  kvm_userspace_memory_region& slot = slots.slots[slots.count];
  slot.slot = slots.count++;
  slot.flags = 0;
  slot.guest_phys_addr = physical;
  slot.memory_size = size;
  slot.userspace_addr = address_in_stub;
  return layout_.tables() + static_cast<uint64_t>(reinterpret_cast<std::byte*>(&slot) - memory_);
}

}  // namespace sandboxd::platform::kvm
