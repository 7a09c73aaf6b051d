// The stack frame that a signal handler runs on, as Linux lays it out (struct rt_sigframe and
// struct ucontext of arch/x86/include/asm/sigframe.h and uapi/asm/sigcontext.h), as bytes: this
// folder touches no application memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "platform/arch/registers.h"

namespace sandboxd::arch {

struct SignalStack {  // stack_t
  uint64_t sp = 0;
  int32_t flags = 2;  // SS_DISABLE
  int32_t pad = 0;
  uint64_t size = 0;
};
static_assert(sizeof(SignalStack) == 24);

struct SigContext {  // struct sigcontext_64
  uint64_t r8, r9, r10, r11, r12, r13, r14, r15;
  uint64_t di, si, bp, bx, dx, ax, cx, sp, ip, flags;
  uint16_t cs, gs, fs, ss;
  uint64_t err, trapno, oldmask, cr2;
  uint64_t fpstate;
  uint64_t reserved[8];
};
static_assert(sizeof(SigContext) == 256);

struct UContext {
  uint64_t flags;
  uint64_t link;
  SignalStack stack;
  SigContext mcontext;
  uint64_t sigmask;
};
static_assert(sizeof(UContext) == 304);

struct SignalFrame {  // struct rt_sigframe
  uint64_t return_address;
  UContext uc;
  std::byte info[128];
};
static_assert(sizeof(SignalFrame) == 440);

struct SignalFrameRequest {
  Registers regs;                     // of the interrupted code
  std::span<const std::byte> xstate;  // uncompacted XSAVE image
  int signo = 0;
  std::span<const std::byte, 128> info;
  uint64_t handler = 0;
  uint64_t restorer = 0;
  uint64_t sigmask = 0;  // what sigreturn shall restore
  SignalStack stack;     // as sigaltstack(2) reports it
  uint64_t top = 0;      // the frame goes below this: past the red zone, or the end of the altstack
  uint64_t trapno = 0, error_code = 0, fault_addr = 0;
};

struct BuiltSignalFrame {
  uint64_t address = 0;          // of bytes[0]
  std::vector<std::byte> bytes;  // the frame, then the vector state
  Registers regs;                // to enter the handler with
};

// The application's red zone below the stack pointer.
inline constexpr uint64_t kRedZone = 128;

BuiltSignalFrame BuildSignalFrame(const SignalFrameRequest& request);

// rt_sigreturn(2). Where the frame's ucontext is when the handler has returned to its restorer.
inline uint64_t UContextAddress(const Registers& regs) { return regs.rsp; }
// The registers that `uc` asks for. Segments and privileged flags are ours.
Registers RestoreRegisters(const UContext& uc, const Registers& current);
// The size of the vector state at uc.mcontext.fpstate, from its first 512 bytes: at most `max`, 512
// if it is the legacy part alone.
size_t XstateSizeInFrame(std::span<const std::byte, 512> legacy, size_t max);
// What to give Context::SetFpState: the bytes read (that many plus 4 of end mark, or 512).
std::vector<std::byte> XstateFromFrame(std::span<const std::byte> bytes);

}  // namespace sandboxd::arch
