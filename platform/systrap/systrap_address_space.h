// An address space of the systrap platform: a stub process that runs by itself, and one more
// process for each further thread, all on the same memory, each with a slot of memory shared with
// us.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <vector>

#include "platform/address_space.h"
#include "platform/base/mutex.h"
#include "platform/base/unique_fd.h"
#include "platform/stub/graveyard.h"
#include "platform/stub/layout.h"
#include "platform/stub/shared_context.h"
#include "platform/systrap/patcher.h"

namespace sandboxd::platform::systrap {

class SystrapContext;

// The slots of one address space, as mapped here.
class SharedSlots {
 public:
  // `extra` bytes of shared memory follow the slots.
  static Result<SharedSlots> Create(uint64_t extra = 0);
  SharedSlots(SharedSlots&& other) noexcept;
  SharedSlots& operator=(SharedSlots&&) = delete;
  ~SharedSlots();

  int fd() const { return fd_.get(); }
  // The stub has it by now.
  void CloseFd() { fd_.Reset(); }
  stub::SharedContext& operator[](uint64_t slot) { return slots_[slot]; }
  std::byte* extra() { return reinterpret_cast<std::byte*>(slots_ + stub::kMaxSlots); }

 private:
  SharedSlots(UniqueFd fd, stub::SharedContext* slots, uint64_t size)
      : fd_(std::move(fd)), slots_(slots), size_(size) {}
  UniqueFd fd_;
  stub::SharedContext* slots_;
  uint64_t size_;
};

// The KVM platform's address spaces are made of this, too: its stubs take turns in the same way.
class SystrapAddressSpace : public AddressSpace {
 public:
  // `leader`: a child of this process which leads a process group of its own and waits for its
  // first turn in `slot`. Ours from now on.
  SystrapAddressSpace(pid_t leader, uint64_t slot, SharedSlots slots, const stub::Layout& layout,
                      stub::Graveyard& graveyard, uint64_t max_threads = stub::kMaxSlots);

  // From now on, and in copies, call sites are patched. Before the first context is made.
  void EnablePatching(std::unique_ptr<Patcher> patcher) { patcher_ = std::move(patcher); }
  Patcher* patcher() { return patcher_.get(); }
  // Whether no second thread can run here.
  bool alone() const { return threads_.load(std::memory_order_acquire) <= 1; }

  Result<void> Map(Context& by, AddrRange range, int prot, const Backing& backing) override;
  Result<void> Unmap(Context& by, AddrRange range) override;
  Result<void> Protect(Context& by, AddrRange range, int prot) override;
  Result<void> Remap(Context& by, AddrRange from, AddrRange to, bool keep_source) override;
  Result<void> Advise(Context& by, AddrRange range, int advice) override;
  size_t CopyIn(UserAddr src, Bytes dst) override;
  Result<void> Mincore(Context& by, AddrRange range, Bytes vec) override;
  Result<Ref<AddressSpace>> Fork(Context& by) override;
  Result<void> PrepareThread(Context& by) override;
  Result<std::unique_ptr<Context>> NewContext() override;
  void Kill() override;

  const std::atomic<bool>& killed() const { return killed_; }
  // A context is going away; its thread waits for a turn, or is `dead`.
  void ReleaseThread(pid_t tid, uint64_t slot, bool dead);

 protected:
  ~SystrapAddressSpace() override;
  // What a platform built on this one makes differently.
  virtual std::unique_ptr<SystrapContext> MakeContext(stub::SharedContext& shared, pid_t tid,
                                                      uint64_t slot);
  virtual Result<SharedSlots> MakeSlotsForCopy(uint64_t slot);
  // Before a thread is made in that slot.
  virtual Result<void> PrepareSlot(uint64_t slot);
  virtual Ref<AddressSpace> MakeCopy(pid_t leader, uint64_t slot, SharedSlots slots);

  const stub::Layout& layout() const { return layout_; }
  stub::Graveyard& graveyard() { return graveyard_; }
  SharedSlots& slots() { return slots_; }

 private:
  struct Parked {
    pid_t tid;
    uint64_t slot;
    std::vector<std::byte> vector_state;  // to start with; empty: that which it has
  };

  Result<void> MapFd(Context& by, AddrRange range, int prot, int flags,
                     const Backing& backing) override;
  void BeforeChange(Context& by, AddrRange range);
  Result<void> EnsureSocket(Context& by) REQUIRES(mutex_);
  Result<pid_t> CheckNewProcess(Result<uint64_t> reported) REQUIRES(mutex_);
  Result<uint64_t> TakeSlot() REQUIRES(mutex_);
  void KillLocked() REQUIRES(mutex_);

  const stub::Layout& layout_;  // the platform's, which outlives every address space
  stub::Graveyard& graveyard_;  // likewise
  SharedSlots slots_;           // each slot belongs to its context, or, before that, to NewContext
  // Held while the stub's scratch pages and its socket are in use.
  Mutex mutex_{LockRank::kAddressSpace};
  std::vector<Parked> parked_ GUARDED_BY(mutex_);
  // Threads whose context has gone; they wait for their turn, which comes when a new one is wanted.
  std::vector<Parked> idle_ GUARDED_BY(mutex_);
  // All processes but the leader that aren't reaped yet: parked or owned by a context.
  std::vector<pid_t> others_ GUARDED_BY(mutex_);
  std::vector<bool> used_slots_ GUARDED_BY(mutex_);
  int contexts_ GUARDED_BY(mutex_) = 0;
  // Processes that may run on this memory. Changed under mutex_; read by the thread that would be
  // the only one, and that alone could make another.
  std::atomic<int> threads_{1};
  std::unique_ptr<Patcher> patcher_;  // or null; final once a context is made
  std::atomic<bool> killed_{false};   // set under mutex_; read by waiting contexts
  // Our end of the channel for descriptors; made when first needed.
  UniqueFd socket_ GUARDED_BY(mutex_);
};

}  // namespace sandboxd::platform::systrap
