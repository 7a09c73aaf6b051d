// The memory that a machine has besides the application's (stub/machine.h): page tables,
// descriptor tables, entries. It is shared with the stub, which alone maps it; the guest can't
// reach it but for the processor's own walks and pushes.
//
// Page tables only grow: a page that has become one stays that one, at its place in the tree, and
// entries for the application are always of 4 KiB. A host without nested paging keeps copies of
// guest tables and sees their changes only if the guest makes them. What it copies from an entry
// that stops being valid, or loses a right, it forgets when the host's own mapping changes: so an
// entry is cleared before the host's call that takes a page or a right away, and set after the call
// that gives one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

#include "platform/base/result.h"
#include "platform/base/types.h"
#include "platform/stub/layout.h"
#include "platform/stub/machine.h"

namespace sandboxd::platform::kvm {

class GuestTables {
 public:
  // `memory`: SANDBOXD_STUB_TABLES_SIZE zero bytes, which outlive this. `layout` outlives it too.
  GuestTables(std::byte* memory, const stub::Layout& layout) : memory_(memory), layout_(layout) {}
  GuestTables(const GuestTables&) = delete;
  GuestTables& operator=(const GuestTables&) = delete;

  // The system's part, and the vdso.
  static constexpr uint64_t kSetSpan = uint64_t{4} << 20;
  Result<void> Init();
  // Makes this a copy of `other`, instead of Init(), but for those memory slots that hold windows
  // of the application's memory, in which nothing is mapped, and which `keep` doesn't want.
  void CopyFrom(const GuestTables& other, const std::function<bool(uint64_t start)>& keep);
  // The page that a thread's processor needs.
  Result<void> AddThread(uint64_t slot);

  // Maps the range, of at most kSetSpan, with the protection to the guest-physical memory from
  // `physical` on. ENOMEM if there is no room for page tables: see NeedsRoom().
  Result<void> Set(AddrRange range, uint64_t physical, int prot);
  // Nothing in the range is mapped any more.
  void Clear(AddrRange range);
  // Whether something is mapped at `at` with all the rights in `prot`.
  bool Allows(UserAddr at, int prot) const;

  // Appends to the list of memory slots, and says which place of the list that is: its address in
  // the stub. ENOMEM if the list is full.
  Result<uint64_t> AddMemorySlot(uint64_t physical, uint64_t address_in_stub, uint64_t size);
  // Whether the next Set() might need memory that is in no slot of the machine yet. Then AddRoom()
  // describes one more slot, which the machine must have before Set() is called.
  bool NeedsRoom() const { return next_page_ + kTablesForSet * kPageSize > slotted_; }
  Result<uint64_t> AddRoom();

  uint64_t bytes_used() const { return next_page_; }

 private:
  uint64_t* Table(uint64_t offset) { return reinterpret_cast<uint64_t*>(memory_ + offset); }
  Result<uint64_t> NewTable();
  Result<uint64_t*> Leaf(uint64_t address);
  stub::SlotList& list() {
    return *reinterpret_cast<stub::SlotList*>(memory_ + stub::kSlotListOffset);
  }
  Result<void> MapSystemPage(uint64_t offset);
  void WriteDescriptors();
  void WriteEntries();
  Result<void> MapHole();
  Result<void> MapVdso();

  // Three last-level tables, and two on the way to each of the ends.
  static constexpr uint64_t kTablesForSet = 7;

  std::byte* const memory_;
  const stub::Layout& layout_;
  uint64_t next_page_ = stub::kFreePages;  // offset of the first page that isn't in use
  uint64_t next_system_table_ = stub::kSystemTables;
  uint64_t slotted_ = 0;  // up to here memory_ is in slots of the machine
};

}  // namespace sandboxd::platform::kvm
