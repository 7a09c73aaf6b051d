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

// #GP with no address.
Fault GeneralProtection();

// The thread has made a system call by an entry that a kernel without 32-bit support doesn't have
// (int $0x80, sysenter). Puts it back before the call, as far as the host has told us, and says
// what such a kernel reports.
Fault UndoForeignCall(Registers& regs);

}  // namespace sandboxd::arch
