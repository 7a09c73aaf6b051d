// An address space of the ptrace platform: a stub process, and one more process for each further
// thread, all on the same memory.
#pragma once

#include <sys/types.h>

#include <vector>

#include "platform/address_space.h"
#include "platform/base/mutex.h"
#include "platform/base/unique_fd.h"
#include "platform/stub/layout.h"

namespace sandboxd::platform::ptrace {

class PtraceContext;

class PtraceAddressSpace final : public AddressSpace {
 public:
  // `leader`: a child of this process, parked or on its way there. It is ours from now on.
  PtraceAddressSpace(pid_t leader, const stub::Layout& layout);

  Result<void> Mincore(Context& by, AddrRange range, Bytes vec) override;
  Result<Ref<AddressSpace>> Fork(Context& by) override;
  Result<void> PrepareThread(Context& by) override;
  Result<std::unique_ptr<Context>> NewContext() override;
  void Kill() override;

  // A context is going away; its thread is stopped or dead. True if the thread is to be parked: the
  // leader's process is the one by whose number the memory is known, and stays until the end.
  bool ReleaseThread(pid_t tid);

 private:
  ~PtraceAddressSpace() override;
  Result<void> MapFd(Context& by, AddrRange range, int prot, int flags,
                     const Backing& backing) override;
  Result<void> EnsureSocket(PtraceContext& by) REQUIRES(mutex_);
  void KillLocked() REQUIRES(mutex_);

  const stub::Layout& layout_;  // the platform's, which outlives every address space
  // Held while the stub's scratch pages and its socket are in use.
  Mutex mutex_{LockRank::kAddressSpace};
  std::vector<pid_t> parked_ GUARDED_BY(mutex_);
  // All processes but the leader that aren't reaped yet: parked or owned by a context.
  std::vector<pid_t> others_ GUARDED_BY(mutex_);
  int contexts_ GUARDED_BY(mutex_) = 0;
  bool killed_ GUARDED_BY(mutex_) = false;
  // Our end of the channel for descriptors; made when first needed.
  UniqueFd socket_ GUARDED_BY(mutex_);
};

}  // namespace sandboxd::platform::ptrace
