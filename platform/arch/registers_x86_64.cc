#include "platform/arch/registers_x86_64.h"

namespace sandboxd::arch {
namespace {

// The flat user segments of the Linux GDT (arch/x86/include/asm/segment.h: __USER_CS, __USER_DS).
constexpr uint64_t kUserCs = 0x33;
constexpr uint64_t kUserDs = 0x2b;
// Bit 1 reads as one always; IF is set whenever user code runs.
constexpr uint64_t kInitialFlags = 0x202;

}  // namespace

Registers InitialRegisters(uint64_t ip, uint64_t sp) {
  Registers regs;
  regs.rip = ip;
  regs.rsp = sp;
  regs.cs = kUserCs;
  regs.ss = kUserDs;
  regs.eflags = kInitialFlags;
  regs.orig_rax = ~uint64_t{0};
  return regs;
}

}  // namespace sandboxd::arch
