// Memory as a debugger reaches it: past the protections (ptrace(2), /proc/PID/mem).
#include <sys/mman.h>

#include "kernel/mm/memory_manager.h"

namespace sandboxd::mm {

bool MemoryManager::WithProtection(platform::Context& by, UserAddr at, int more,
                                   const std::function<bool()>& access) {
  constexpr uint64_t kPage = 4096;
  UserAddr start(at.value & ~(kPage - 1));
  // The map stands still meanwhile; other threads of the application may use the page in that time.
  MutexLock lock(mutex_);
  const Vma* vma = vmas_.Find(at);
  if (vma == nullptr || vma->special) return false;
  // What others share may be changed only as far as the mapping allows.
  if (vma->shared() && (more & ~vma->max_prot) != 0) return false;
  AddrRange page{start, start + kPage};
  if (!as_->Protect(by, page, vma->prot | more).ok()) return false;
  bool done = access();
  return as_->Protect(by, page, vma->prot).ok() && done;
}

bool MemoryManager::ForceRead(platform::Context& by, UserAddr from, Bytes to) {
  return WithProtection(by, from, PROT_READ, [&] { return as_->CopyIn(from, to) == to.size(); });
}

bool MemoryManager::ForceWrite(platform::Context& by, UserAddr to, ConstBytes from) {
  return WithProtection(by, to, PROT_READ | PROT_WRITE,
                        [&] { return as_->CopyOut(to, from) == from.size(); });
}

}  // namespace sandboxd::mm
