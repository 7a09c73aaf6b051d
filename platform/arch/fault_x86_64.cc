#include "platform/arch/fault_x86_64.h"

#include <cstring>

#include "platform/arch/xstate.h"

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

uint32_t FpStatus(uint64_t vector, ConstBytes xstate) {
  if (xstate.size() < kMinXstateSize) return 0;
  constexpr size_t kFswOffset = 2;
  constexpr uint32_t kExceptions = 0x3f;
  constexpr int kMxcsrMasks = 7;
  uint16_t control, status;
  uint32_t mxcsr;
  std::memcpy(&control, xstate.data() + kXstateFcwOffset, sizeof(control));
  std::memcpy(&status, xstate.data() + kFswOffset, sizeof(status));
  std::memcpy(&mxcsr, xstate.data() + kXstateMxcsrOffset, sizeof(mxcsr));
  if (vector == kSimdError) return mxcsr & ~(mxcsr >> kMxcsrMasks) & kExceptions;
  return status & ~uint32_t{control} & kExceptions;
}

namespace {

// Bits of status words (Intel SDM volume 1, 8.1.3 and 10.2.3), in the order in which Linux looks.
int FpCode(uint32_t status) {
  if ((status & 0x01) != 0) return FPE_FLTINV;
  if ((status & 0x04) != 0) return FPE_FLTDIV;
  if ((status & 0x08) != 0) return FPE_FLTOVF;
  if ((status & 0x12) != 0) return FPE_FLTUND;
  if ((status & 0x20) != 0) return FPE_FLTRES;
  return FPE_FLTINV;
}

}  // namespace

Fault FaultFromException(uint64_t vector, uint64_t error_code, uint32_t vector_status,
                         const Registers& regs) {
  constexpr uint64_t kBoundRange = 5, kSegmentNotPresent = 11, kStackSegment = 12, kX87Error = 16;
  Fault fault = GeneralProtection();
  fault.trapno = vector;
  fault.error_code = error_code;
  const UserAddr here(regs.rip);
  auto is = [&](int signo, int code, UserAddr addr) {
    fault.signo = signo;
    fault.code = code;
    fault.addr = addr;
  };
  switch (vector) {
    case kDivideError:
      is(SIGFPE, FPE_INTDIV, here);
      break;
    case kDebug:
      is(SIGTRAP, TRAP_TRACE, here);
      break;
    case kBreakpoint:
      is(SIGTRAP, SI_KERNEL, UserAddr(0));
      break;
    case kInvalidOpcode:
      is(SIGILL, ILL_ILLOPN, here);
      break;
    case kSegmentNotPresent:
    case kStackSegment:
      is(SIGBUS, SI_KERNEL, UserAddr(0));
      break;
    case kX87Error:
    case kSimdError:
      is(SIGFPE, FpCode(vector_status), here);
      break;
    case kAlignmentCheck:
      is(SIGBUS, BUS_ADRALN, UserAddr(0));
      break;
    case kOverflow:
    case kBoundRange:
    default:
      break;  // as a general protection fault
  }
  return fault;
}

Fault PageFault(int signo, int code, UserAddr addr, uint64_t error_code) {
  Fault fault;
  fault.signo = signo;
  fault.code = code;
  fault.addr = addr;
  fault.trapno = kPageFault;
  fault.error_code = error_code;
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
