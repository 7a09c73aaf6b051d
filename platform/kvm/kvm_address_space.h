// An address space of the KVM platform: a stub that is the monitor of a virtual machine whose
// memory is the stub's own.
#pragma once

#include <memory>
#include <unordered_map>

#include "platform/base/mutex.h"
#include "platform/kvm/guest_tables.h"
#include "platform/kvm/range_map.h"
#include "platform/systrap/systrap_address_space.h"

namespace sandboxd::platform::kvm {

// What a platform's address spaces have in common.
struct MachineLimits {
  uint64_t threads = 1;        // virtual processors of a machine
  uint64_t memory_slots = 64;  // of a machine
  uint64_t physical_end = 0;   // of guest-physical memory
};

class KvmAddressSpace final : public systrap::SystrapAddressSpace {
 public:
  // Windows of the application's memory that the machine has.
  struct Windows {
    std::unordered_map<uint64_t, uint64_t> physical;  // guest-physical address by window
    uint64_t ever = 0;                                // how many there have been
  };
  // What an address space is made of, before its stub exists.
  struct Parts {
    systrap::SharedSlots slots;
    std::unique_ptr<GuestTables> tables;
    RangeMap ranges;
    Windows windows;
  };
  static Result<Parts> MakeParts(const stub::Layout& layout);

  KvmAddressSpace(pid_t leader, uint64_t slot, Parts parts, const stub::Layout& layout,
                  stub::Graveyard& graveyard, const MachineLimits& limits);

  Result<void> Map(Context& by, AddrRange range, int prot, const Backing& backing) override;
  Result<void> Unmap(Context& by, AddrRange range) override;
  Result<void> Protect(Context& by, AddrRange range, int prot) override;
  Result<void> Remap(Context& by, AddrRange from, AddrRange to, bool keep_source) override;
  Result<Ref<AddressSpace>> Fork(Context& by) override;
  Result<void> PrepareThread(Context& by) override;

  // The guest's page tables don't allow an access that the application has made.
  enum class Verdict : uint8_t { kAllowed, kNotMapped, kForbidden, kNotThere };
  // `check_host`: the host could not provide some page that they did allow; kNotThere if it is this
  // one. kAllowed: they allow it now.
  Verdict ResolveFault(Context& by, UserAddr at, int access, bool check_host);
  // Makes every page fault again that the host might not be able to provide.
  void Distrust();

 private:
  std::unique_ptr<systrap::SystrapContext> MakeContext(stub::SharedContext& shared, pid_t tid,
                                                       uint64_t slot) override;
  Result<systrap::SharedSlots> MakeSlotsForCopy(uint64_t slot) override;
  Result<void> PrepareSlot(uint64_t slot) override;
  Ref<AddressSpace> MakeCopy(pid_t leader, uint64_t slot, systrap::SharedSlots slots) override;

  Result<void> AddSlotToMachine(Context& by, uint64_t description) REQUIRES(tables_mutex_);
  Result<uint64_t> PhysicalOf(Context& by, uint64_t address) REQUIRES(tables_mutex_);
  Result<void> Fill(Context& by, AddrRange range) REQUIRES(tables_mutex_);
  void FillIfSmall(Context& by, AddrRange range) REQUIRES(tables_mutex_);

  const MachineLimits limits_;
  // Held while the host's mappings and the guest's page tables change, as one step.
  Mutex tables_mutex_{LockRank::kGuestTables};
  std::unique_ptr<GuestTables> tables_ GUARDED_BY(tables_mutex_);
  RangeMap ranges_ GUARDED_BY(tables_mutex_);
  Windows windows_ GUARDED_BY(tables_mutex_);
  // While a copy is under way.
  std::unique_ptr<GuestTables> tables_for_copy_ GUARDED_BY(tables_mutex_);
  Windows windows_for_copy_ GUARDED_BY(tables_mutex_);
};

}  // namespace sandboxd::platform::kvm
