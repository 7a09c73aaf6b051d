#include "platform/arch/signal_frame_x86_64.h"

#include <algorithm>
#include <cstring>

namespace sandboxd::arch {
namespace {

constexpr uint64_t kFpXstate = 1;          // UC_FP_XSTATE
constexpr uint64_t kSigcontextSs = 2;      // UC_SIGCONTEXT_SS
constexpr uint64_t kStrictRestoreSs = 4;   // UC_STRICT_RESTORE_SS
constexpr uint32_t kMagic1 = 0x46505853U;  // FP_XSTATE_MAGIC1
constexpr uint32_t kMagic2 = 0x46505845U;  // FP_XSTATE_MAGIC2
constexpr size_t kLegacySize = 512;
constexpr size_t kMinXstate = 576;   // legacy area and header
constexpr size_t kSwReserved = 464;  // in the legacy area
constexpr size_t kHeaderOffset = 512;
constexpr uint64_t kLegacyFeatures = 3;  // x87 and SSE

// struct _fpx_sw_bytes
struct SwBytes {
  uint32_t magic1;
  uint32_t extended_size;
  uint64_t xfeatures;
  uint32_t xstate_size;
  uint32_t padding[7];
};
static_assert(sizeof(SwBytes) == 48);

// Flags that a program may set: AC OF DF TF SF ZF AF PF CF, and RF.
constexpr uint64_t kUserFlags =
    0x40000 | 0x800 | 0x400 | 0x100 | 0x80 | 0x40 | 0x10 | 0x4 | 0x1 | 0x10000;
// Cleared when a handler starts: DF RF TF.
constexpr uint64_t kHandlerClears = 0x400 | 0x10000 | 0x100;

uint64_t ReadU64(std::span<const std::byte> bytes, size_t offset) {
  uint64_t value = 0;
  std::memcpy(&value, bytes.data() + offset, sizeof(value));
  return value;
}

SigContext ContextOf(const SignalFrameRequest& q, uint64_t fpstate) {
  const Registers& r = q.regs;
  SigContext c{};
  c.r8 = r.r8, c.r9 = r.r9, c.r10 = r.r10, c.r11 = r.r11;
  c.r12 = r.r12, c.r13 = r.r13, c.r14 = r.r14, c.r15 = r.r15;
  c.di = r.rdi, c.si = r.rsi, c.bp = r.rbp, c.bx = r.rbx;
  c.dx = r.rdx, c.ax = r.rax, c.cx = r.rcx, c.sp = r.rsp;
  c.ip = r.rip, c.flags = r.eflags;
  c.cs = static_cast<uint16_t>(r.cs), c.ss = static_cast<uint16_t>(r.ss);
  c.err = q.error_code, c.trapno = q.trapno, c.oldmask = q.sigmask, c.cr2 = q.fault_addr;
  c.fpstate = fpstate;
  return c;
}

}  // namespace

BuiltSignalFrame BuildSignalFrame(const SignalFrameRequest& q) {
  const size_t xstate_size = q.xstate.size() >= kMinXstate ? q.xstate.size() : 0;
  const size_t fp_size = xstate_size == 0 ? 0 : xstate_size + sizeof(kMagic2);
  const uint64_t fp_addr = (q.top - fp_size) & ~uint64_t{63};
  // As at a function's entry: the stack pointer plus 8 is a multiple of 16.
  const uint64_t frame_addr = ((fp_addr - sizeof(SignalFrame)) & ~uint64_t{15}) - 8;

  SignalFrame frame{};
  frame.return_address = q.restorer;
  frame.uc.flags = kSigcontextSs | kStrictRestoreSs | (xstate_size != 0 ? kFpXstate : 0);
  frame.uc.stack = q.stack;
  frame.uc.mcontext = ContextOf(q, xstate_size != 0 ? fp_addr : 0);
  frame.uc.sigmask = q.sigmask;
  std::memcpy(frame.info, q.info.data(), sizeof(frame.info));

  BuiltSignalFrame built;
  built.address = frame_addr;
  built.bytes.resize(fp_addr + fp_size - frame_addr);
  std::memcpy(built.bytes.data(), &frame, sizeof(frame));
  if (xstate_size != 0) {
    std::byte* fp = built.bytes.data() + (fp_addr - frame_addr);
    std::memcpy(fp, q.xstate.data(), xstate_size);
    SwBytes sw{};
    sw.magic1 = kMagic1;
    sw.extended_size = static_cast<uint32_t>(fp_size);
    // NT_X86_XSTATE has the host's feature mask there; else say what the image holds.
    sw.xfeatures = ReadU64(q.xstate, kSwReserved);
    if (sw.xfeatures == 0) sw.xfeatures = ReadU64(q.xstate, kHeaderOffset) | kLegacyFeatures;
    sw.xstate_size = static_cast<uint32_t>(xstate_size);
    std::memcpy(fp + kSwReserved, &sw, sizeof(sw));
    std::memcpy(fp + xstate_size, &kMagic2, sizeof(kMagic2));
  }

  built.regs = q.regs;
  built.regs.rdi = static_cast<uint64_t>(q.signo);
  built.regs.rsi = frame_addr + offsetof(SignalFrame, info);
  built.regs.rdx = frame_addr + offsetof(SignalFrame, uc);
  built.regs.rax = 0;
  built.regs.rip = q.handler;
  built.regs.rsp = frame_addr;
  built.regs.eflags &= ~kHandlerClears;
  built.regs.orig_rax = ~uint64_t{0};
  return built;
}

Registers RestoreRegisters(const UContext& uc, const Registers& current) {
  const SigContext& c = uc.mcontext;
  Registers r = current;
  r.r8 = c.r8, r.r9 = c.r9, r.r10 = c.r10, r.r11 = c.r11;
  r.r12 = c.r12, r.r13 = c.r13, r.r14 = c.r14, r.r15 = c.r15;
  r.rdi = c.di, r.rsi = c.si, r.rbp = c.bp, r.rbx = c.bx;
  r.rdx = c.dx, r.rax = c.ax, r.rcx = c.cx, r.rsp = c.sp;
  r.rip = c.ip;
  r.eflags = (current.eflags & ~kUserFlags) | (c.flags & kUserFlags);
  r.orig_rax = ~uint64_t{0};
  return r;
}

size_t XstateSizeInFrame(std::span<const std::byte, 512> legacy, size_t max) {
  SwBytes sw;
  std::memcpy(&sw, legacy.data() + kSwReserved, sizeof(sw));
  if (sw.magic1 != kMagic1 || sw.xstate_size < kMinXstate || sw.xstate_size > max ||
      sw.extended_size < sw.xstate_size) {
    return kLegacySize;
  }
  return sw.xstate_size;
}

std::vector<std::byte> XstateFromFrame(std::span<const std::byte> bytes) {
  std::vector<std::byte> xstate;
  uint32_t mark = 0;
  if (bytes.size() >= kMinXstate + sizeof(mark)) {
    std::memcpy(&mark, bytes.data() + bytes.size() - sizeof(mark), sizeof(mark));
  }
  if (mark == kMagic2) {
    xstate.assign(bytes.begin(), bytes.end() - sizeof(mark));
  } else {
    // The legacy part alone: everything else is in its initial state.
    xstate.assign(bytes.begin(), bytes.begin() + std::min(bytes.size(), kLegacySize));
    xstate.resize(kMinXstate);
    std::memcpy(xstate.data() + kHeaderOffset, &kLegacyFeatures, sizeof(kLegacyFeatures));
  }
  std::memset(xstate.data() + kSwReserved, 0, sizeof(SwBytes));
  return xstate;
}

}  // namespace sandboxd::arch
