#include "platform/ptrace/ptrace_context.h"

#include <algorithm>
#include <utility>

#include "platform/arch/xstate.h"
#include "platform/stub/snippets_stub.h"

namespace sandboxd::platform::ptrace {
namespace {

// A word that the application may name.
bool IsUserWord(UserAddr addr) {
  return addr.value % sizeof(uint32_t) == 0 && addr < kApplicationEnd;
}

}  // namespace

PtraceContext::PtraceContext(Ref<PtraceAddressSpace> as, pid_t tid, const stub::Layout& layout)
    : Context(std::move(as)), tracee_(tid, layout) {}

PtraceContext::~PtraceContext() {
  if (static_cast<PtraceAddressSpace&>(address_space()).ReleaseThread(tracee_.tid())) {
    tracee_.Park();
  }
}

Stop PtraceContext::Switch(arch::Registers& regs, StepMode step) { return tracee_.Run(regs, step); }
void PtraceContext::Interrupt() { tracee_.Interrupt(); }

Result<std::vector<std::byte>> PtraceContext::GetFpState() { return tracee_.GetXstate(); }

Result<void> PtraceContext::SetFpState(ConstBytes xstate) {
  if (xstate.size() < arch::kMinXstateSize) return Errno::kEINVAL;
  // The host takes its full size or nothing. Components behind the end of what we were given are
  // not in its header, so that what stands there doesn't matter.
  std::vector<std::byte> full = TRY(tracee_.GetXstate());
  if (xstate.size() > full.size()) return Errno::kEINVAL;
  std::copy(xstate.begin(), xstate.end(), full.begin());
  return tracee_.SetXstate(full);
}

Result<void> PtraceContext::ResetFpState() { return SetFpState(arch::InitialXstate()); }

size_t PtraceContext::CopyIn(UserAddr src, Bytes dst) { return address_space().CopyIn(src, dst); }
size_t PtraceContext::CopyOut(UserAddr dst, ConstBytes src) {
  return address_space().CopyOut(dst, src);
}

Result<uint32_t> PtraceContext::Load32(UserAddr addr) {
  if (!IsUserWord(addr)) return Errno::kEFAULT;
  arch::Registers regs;
  regs.rdi = addr.value;
  TRY(tracee_.RunSnippet(sandboxd_stub_load, regs));
  return static_cast<uint32_t>(regs.rax);
}

Result<uint32_t> PtraceContext::CompareExchange32(UserAddr addr, uint32_t expected,
                                                  uint32_t desired) {
  if (!IsUserWord(addr)) return Errno::kEFAULT;
  arch::Registers regs;
  regs.rdi = addr.value;
  regs.rax = expected;
  regs.rdx = desired;
  TRY(tracee_.RunSnippet(sandboxd_stub_cmpxchg, regs));
  return static_cast<uint32_t>(regs.rax);
}

Result<uint64_t> PtraceContext::HostCall(long number, const uint64_t (&args)[6]) {
  return tracee_.HostCall(number, args);
}

}  // namespace sandboxd::platform::ptrace
