// How the host reports processor exceptions, and what Linux would tell the application of them.
#pragma once

#include <csignal>

#include "platform/arch/registers.h"
#include "platform/base/types.h"

namespace sandboxd::arch {

// What a signal frame says about an exception.
struct Fault {
  int32_t signo = 0;        // SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP
  int32_t code = 0;         // si_code: SEGV_MAPERR …
  UserAddr addr;            // si_addr
  uint64_t trapno = 0;      // as in sigcontext; 0 where the platform can't know
  uint64_t error_code = 0;  // likewise
};

// The signals by which Linux reports exceptions of the processor.
bool IsFaultSignal(int signo);

// From the host's siginfo (si_code > 0) alone. The exception's number follows from signal and code;
// of a page fault's error code, "user" and "present" are known and "instruction fetch" is guessed
// from rip; "write" isn't known.
Fault FaultFromSiginfo(const siginfo_t& info, const Registers& regs);

// What Linux makes of an exception of the processor other than a page fault. `vector_status` is
// that of the x87 or vector unit, for exceptions 16 and 19: see FpStatus().
Fault FaultFromException(uint64_t vector, uint64_t error_code, uint32_t vector_status,
                         const Registers& regs);
// The unmasked exceptions that the x87 unit (16) or the vector unit (19) reports, from an XSAVE
// area.
uint32_t FpStatus(uint64_t vector, ConstBytes xstate);
// A page fault. `error_code`: the processor's.
Fault PageFault(int signo, int code, UserAddr addr, uint64_t error_code);

// #GP with no address.
Fault GeneralProtection();

// The thread has made a system call by an entry that a kernel without 32-bit support doesn't have
// (int $0x80, sysenter). Puts it back before the call, as far as the host has told us, and says
// what such a kernel reports.
Fault UndoForeignCall(Registers& regs);

}  // namespace sandboxd::arch
