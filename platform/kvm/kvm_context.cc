#include "platform/kvm/kvm_context.h"

#include <sys/mman.h>

#include <csignal>
#include <utility>

#include "platform/arch/fault.h"
#include "platform/base/log.h"

namespace sandboxd::platform::kvm {
namespace {

using stub::Command;
using stub::Event;
using Verdict = KvmAddressSpace::Verdict;

constexpr uint64_t kInvalidOpcode = 6, kPageFault = 14, kX87Error = 16, kSimdError = 19;
// Of a page fault's error code.
constexpr uint64_t kErrorPresent = 1, kErrorWrite = 2, kErrorUser = 4, kErrorFetch = 16;

// No instruction touches so many pages.
constexpr int kChecks = 32;
constexpr int kMaxHostFaults = 4;

int AccessOf(uint64_t error) {
  if ((error & kErrorWrite) != 0) return PROT_WRITE;
  if ((error & kErrorFetch) != 0) return PROT_EXEC;
  return PROT_READ;
}

}  // namespace

KvmContext::KvmContext(Ref<KvmAddressSpace> as, stub::SharedContext& shared, pid_t tid,
                       uint64_t slot)
    : SystrapContext(std::move(as), shared, tid, slot) {}

Stop KvmContext::Switch(arch::Registers& regs, StepMode step) {
  if (turns().dead()) return {Stop::Kind::kDead, {}};
  const Running running(*this);
  if (running.interrupted()) return {Stop::Kind::kInterrupt, {}};

  StoreRegisters(regs, step);
  for (;;) {
    if (!turns().Take(Command::kRun)) return {Stop::Kind::kDead, {}};
    const stub::SharedContext& shared = turns().shared();
    std::optional<arch::Fault> fault;
    switch (shared.event) {
      case Event::kSyscall:
        LoadRegisters(regs, step);
        return {Stop::Kind::kSyscall, {}};
      case Event::kInterrupt:
        if (!TakeInterrupt()) continue;  // late, or not ours
        LoadRegisters(regs, step);
        return {Stop::Kind::kInterrupt, {}};
      case Event::kFault:
        if (shared.fault_trapno != kPageFault) {
          LoadRegisters(regs, step);
          return {Stop::Kind::kFault, TakeException(regs)};
        }
        fault = TakePageFault();
        break;
      case Event::kHostFault:
        fault = TakeHostFault(shared.regs);
        break;
      default:
        LOG_ERROR("kvm: the machine of stub %d can't go on: step or exit %d, host's answer %d",
                  address_space().host_pid(), static_cast<int>(shared.number),
                  static_cast<int>(shared.result));
        address_space().Kill();
        return {Stop::Kind::kDead, {}};
    }
    if (turns().dead()) return {Stop::Kind::kDead, {}};
    if (!fault) continue;
    LoadRegisters(regs, step);
    return {Stop::Kind::kFault, *fault};
  }
}

std::optional<arch::Fault> KvmContext::TakePageFault() {
  const UserAddr at(turns().shared().fault_address);
  uint64_t error = turns().shared().fault_error;
  const bool check = checks_left_ > 0;
  if (check) checks_left_--;
  switch (space().ResolveFault(*this, at, AccessOf(error), check)) {
    case Verdict::kAllowed:
      return std::nullopt;
    case Verdict::kNotThere:
      checks_left_ = host_faults_ = 0;
      return arch::PageFault(SIGBUS, BUS_ADRERR, at, error & ~kErrorPresent);
    case Verdict::kForbidden:
      // The tables may not have been filled here.
      return arch::PageFault(SIGSEGV, SEGV_ACCERR, at, error | kErrorPresent);
    case Verdict::kNotMapped:
      break;
  }
  return arch::PageFault(SIGSEGV, SEGV_MAPERR, at, error);
}

// KVM doesn't say which page. So everything faults again, in the guest, which does.
std::optional<arch::Fault> KvmContext::TakeHostFault(const arch::Registers& regs) {
  if (++host_faults_ > kMaxHostFaults) {
    host_faults_ = 0;
    LOG_WARNING("kvm: stub %d: the host can't provide a page and doesn't say which",
                address_space().host_pid());
    return arch::PageFault(SIGBUS, BUS_ADRERR, UserAddr(regs.rip), kErrorUser);
  }
  checks_left_ = kChecks;
  space().Distrust();
  return std::nullopt;
}

arch::Fault KvmContext::TakeException(arch::Registers& regs) {
  const uint64_t vector = turns().shared().fault_trapno;
  const uint64_t error = turns().shared().fault_error;
  if (vector == kInvalidOpcode) {
    // `int $n` where interrupts by software aren't served: on a real processor the interrupt table
    // refuses it.
    std::array<uint8_t, 2> code{};
    constexpr uint8_t kInt = 0xcd;
    constexpr uint64_t kInTable = 2;
    if (CopyIn(UserAddr(regs.rip), std::as_writable_bytes(std::span(code))) == code.size() &&
        code[0] == kInt) {
      arch::Fault fault = arch::GeneralProtection();
      fault.error_code = uint64_t{code[1]} * 8 + kInTable;
      return fault;
    }
  }
  uint32_t status = 0;
  if (vector == kX87Error || vector == kSimdError) {
    auto state = GetFpState();
    if (state.ok()) status = arch::FpStatus(vector, *state);
  }
  return arch::FaultFromException(vector, error, status, regs);
}

}  // namespace sandboxd::platform::kvm
