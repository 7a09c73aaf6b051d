// The virtual machine of a stub (Kind::kMachine): what the guest's memory holds besides the
// application's, and what the stub is told to make its machine from. Shared by the stub's program
// and platform/kvm.
//
// Guest-physical memory: [0, SANDBOXD_STUB_TABLES_SIZE) is the stub's `tables` region, as far as it
// is in use; the host's vdso and windows of the application's memory lie where the list of memory
// slots says.
//
// The guest maps, at kSystemBase and for ring 0 only, the pages of `tables` that the processor
// needs to deliver an exception; and for ring 3 the application and the vdso, each at the address
// that it has in the stub. The page tables themselves and the stub are not mapped anywhere.
#pragma once

#include <linux/kvm.h>

#include <cstddef>
#include <cstdint>

#include "platform/stub/region_stub.h"
#include "platform/stub/shared_context.h"

namespace sandboxd::platform::stub {

// Guest-virtual address of the start of `tables`.
inline constexpr uint64_t kSystemBase = 0xffff'ff80'0000'0000;

// Offsets in `tables`, all of whole pages.
inline constexpr uint64_t kRootOffset = 0x0000;  // the top page table
inline constexpr uint64_t kGdtOffset = 0x1000;
inline constexpr uint64_t kIdtOffset = 0x2000;
inline constexpr uint64_t kEntryOffset = 0x3000;   // code: see kVectorStride
inline constexpr uint64_t kSystemTables = 0x4000;  // one PDPT, one PD, five PTs
inline constexpr uint64_t kSlotListOffset = 0x10000;
inline constexpr uint64_t kThreadPages =
    0x200000;  // one a thread: its TSS, and a stack from its end
inline constexpr uint64_t kFreePages = kThreadPages + kMaxSlots * 4096;  // page tables

// Exceptions enter at kEntryOffset + vector * kVectorStride, system calls at kCallOffset behind the
// last vector. Each entry is a `hlt`, which leaves the machine.
//
// Where `syscall` arrives at its entry still in ring 3, so that fetching the `hlt` there is a page
// fault, the entry is moved to Layout::hole(): a page that ring 3 may run, in a memory slot behind
// which the stub has nothing. Then the fetch leaves the machine without any exception.
inline constexpr uint64_t kVectorStride = 8;
inline constexpr uint64_t kCallOffset = 0x900;

constexpr uint64_t ThreadPage(uint64_t slot) { return kThreadPages + slot * 4096; }

inline constexpr uint16_t kGuestCs = 0x33, kGuestDs = 0x2b;  // as Linux has them
inline constexpr uint16_t kSystemCs = 0x10;
inline constexpr uint16_t kTssSelector = 0x40;
inline constexpr uint64_t kGdtLimit = 0x4f;
inline constexpr uint64_t kTssSize = 0x68;

// Memory slots, at kSlotListOffset. The kernel process appends.
struct SlotList {
  uint32_t count;
  uint32_t padding;
  uint64_t reserved[3];
  kvm_userspace_memory_region slots[32764];
};
static_assert(kSlotListOffset + sizeof(SlotList) <= kThreadPages);

inline constexpr size_t kXsaveSize = 4096;  // of what KVM_GET_XSAVE gives

// The numbers of these requests contain the size of a structure with a flexible array, which C++
// sees differently.
inline constexpr unsigned long kGetSupportedCpuidRequest = _IOWR(KVMIO, 0x05, uint64_t);
inline constexpr unsigned long kSetCpuid2Request = _IOW(KVMIO, 0x90, uint64_t);
inline constexpr unsigned long kGetXsaveRequest = _IOR(KVMIO, 0xa4, std::byte[kXsaveSize]);
inline constexpr unsigned long kSetXsaveRequest = _IOW(KVMIO, 0xa5, std::byte[kXsaveSize]);
inline constexpr unsigned long kSetMsrsRequest = _IOW(KVMIO, 0x89, uint64_t);

inline constexpr uint32_t kMaxCpuid = 160;

// At SANDBOXD_STUB_VM.
struct MachineState {
  // From before the lock-down, for every machine alike.
  uint64_t xcr0;
  uint32_t xstate_size;
  uint32_t run_size;  // of struct kvm_run and what belongs to it
  bool tsc_offset;    // whether the guest's clock can be set to the host's
  struct {            // struct kvm_cpuid2
    uint32_t count;
    uint32_t padding;
    kvm_cpuid_entry2 entries[kMaxCpuid];
  } cpuid;
  // Of this machine.
  alignas(64) int32_t failed_step;  // 0: it could be made
  int32_t error;                    // and if not, the host's answer, negative
  bool calls_fault;                 // `syscall` arrives in ring 3
  int32_t vcpus[kMaxSlots];         // descriptors; 0: none yet
  bool clear_events[kMaxSlots];     // an interrupt may have left an exception half delivered
};
static_assert(sizeof(MachineState) <= SANDBOXD_STUB_VM_SIZE);

}  // namespace sandboxd::platform::stub
