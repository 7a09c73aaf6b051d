#include "platform/arch/fault_x86_64.h"

namespace sandboxd::arch {
namespace {

// Exception numbers of the architecture (Intel SDM volume 3, 6.3).
constexpr uint64_t kDivideError = 0;
constexpr uint64_t kDebug = 1;
constexpr uint64_t kBreakpoint = 3;
constexpr uint64_t kOverflow = 4;
constexpr uint64_t kInvalidOpcode = 6;
constexpr uint64_t kGeneralProtection = 13;
constexpr uint64_t kPageFault = 14;
constexpr uint64_t kAlignmentCheck = 17;
constexpr uint64_t kSimdError = 19;

constexpr uint64_t kErrorPresent = 1;
constexpr uint64_t kErrorUser = 4;
constexpr uint64_t kErrorFetch = 16;

constexpr uint64_t kUserCs = 0x33;
constexpr uint64_t kUserDs = 0x2b;
// Selector error code of vector 0x80 in the interrupt table.
constexpr uint64_t kInt80ErrorCode = 0x80 * 8 + 2;

uint64_t PageFaultError(const siginfo_t& info, const Registers& regs) {
  uint64_t error = kErrorUser;
  if (info.si_signo == SIGSEGV && info.si_code != SEGV_MAPERR) error |= kErrorPresent;
  if (reinterpret_cast<uint64_t>(info.si_addr) == regs.rip) error |= kErrorFetch;
  return error;
}

}  // namespace

bool IsFaultSignal(int signo) {
  return signo == SIGSEGV || signo == SIGBUS || signo == SIGILL || signo == SIGFPE ||
         signo == SIGTRAP;
}

Fault FaultFromSiginfo(const siginfo_t& info, const Registers& regs) {
  Fault fault;
  fault.signo = info.si_signo;
  fault.code = info.si_code;
  fault.addr = UserAddr(reinterpret_cast<uint64_t>(info.si_addr));
  switch (info.si_signo) {
    case SIGSEGV:
      if (info.si_code == SI_KERNEL) {
        fault.trapno = kGeneralProtection;
        fault.addr = UserAddr(0);
      } else {
        fault.trapno = kPageFault;
        fault.error_code = PageFaultError(info, regs);
      }
      break;
    case SIGBUS:
      fault.trapno = info.si_code == BUS_ADRALN ? kAlignmentCheck : kPageFault;
      if (fault.trapno == kPageFault) fault.error_code = PageFaultError(info, regs);
      break;
    case SIGILL:
      fault.trapno = kInvalidOpcode;
      break;
    case SIGFPE:
      if (info.si_code == FPE_INTDIV) {
        fault.trapno = kDivideError;
      } else if (info.si_code == FPE_INTOVF) {
        fault.trapno = kOverflow;
      } else {
        // The x87 unit reports at the next instruction of its own (opcodes d8 to df), the vector
        // unit at once; the signal is the same, and the vector unit is what programs use.
        fault.trapno = kSimdError;
      }
      break;
    case SIGTRAP:
      if (info.si_code == SI_KERNEL) {
        fault.trapno = kBreakpoint;
        fault.addr = UserAddr(0);
      } else {
        fault.trapno = kDebug;
      }
      break;
    default:
      break;
  }
  return fault;
}

Fault GeneralProtection() {
  Fault fault;
  fault.signo = SIGSEGV;
  fault.code = SI_KERNEL;
  fault.trapno = kGeneralProtection;
  return fault;
}

Fault UndoForeignCall(Registers& regs) {
  Fault fault = GeneralProtection();
  if (regs.cs == kUserCs) {
    // int $0x80 from 64-bit code: two bytes, like `syscall`.
    regs.rip -= 2;
    fault.error_code = kInt80ErrorCode;
  }
  regs.rax = regs.orig_rax;
  regs.orig_rax = ~uint64_t{0};
  // The host leaves a thread that used sysenter in its 32-bit segments.
  regs.cs = kUserCs;
  regs.ss = kUserDs;
  return fault;
}

}  // namespace sandboxd::arch
