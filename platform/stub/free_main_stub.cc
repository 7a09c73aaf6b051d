// See free_main_stub.h. SAFETY: this code runs in a stub, copied to another address than it was
// linked for, on a signal stack, with an application's fs base. So: everything in one section, no
// data, no library, no vector registers (compiler flags in BUILD.bazel), nothing that needs
// relocation; other symbols are reached relative to rip.
#include "platform/stub/free_main_stub.h"

#include <asm/unistd_64.h>

#include "platform/stub/free_parts_stub.h"
#include "platform/stub/region_stub.h"
#include "platform/stub/shared_context.h"
#include "platform/stub/snippets_stub.h"

namespace sandboxd::platform::stub {
namespace {

constexpr int kSigill = 4, kSigbus = 7, kSigusr1 = 10, kSigsegv = 11, kSigsys = 31;

// The parts of siginfo_t and ucontext_t that the host writes.
struct Siginfo {
  int32_t signo, error, code, padding;
  uint64_t address;  // of a fault, or of the instruction behind a trapped system call
  int32_t syscall;   // SIGSYS
  uint32_t arch;     // SIGSYS: AUDIT_ARCH_*
};
struct MachineContext {
  uint64_t r8, r9, r10, r11, r12, r13, r14, r15;
  uint64_t rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip, eflags;
  uint16_t cs, gs, fs, ss;
  uint64_t err, trapno, oldmask, cr2;
  std::byte* fpstate;
  uint64_t reserved[8];
};
struct UContext {
  uint64_t flags, link;
  uint64_t stack[3];
  MachineContext machine;
  uint64_t sigmask;
};

static_assert(offsetof(SharedContext, own_negative) == SANDBOXD_SLOT_OWN_NEGATIVE);
static_assert(offsetof(SharedContext, stack_end) == SANDBOXD_SLOT_STACK_END);
static_assert(offsetof(SharedContext, phase) == SANDBOXD_SLOT_PHASE);
static_assert(offsetof(SharedContext, interrupted) == SANDBOXD_SLOT_INTERRUPTED);
static_assert(offsetof(SharedContext, answers) == SANDBOXD_SLOT_ANSWERS);
static_assert(sizeof(SharedContext::answers) == SANDBOXD_SLOT_ANSWER_COUNT * sizeof(uint64_t));
static_assert(offsetof(SharedContext, regs) == SANDBOXD_SLOT_REGISTERS);

constexpr uint32_t kArchX86_64 = 0xc000003e;
// Flags that code of ours must not run with, or that take effect too early: trap, nested task.
constexpr uint64_t kOddFlags = 0x4100;
constexpr uint64_t kUserCs = 0x33, kUserDs = 0x2b;
// struct _fpx_sw_bytes: the host's own note in the legacy area, and xstate_size in it.
constexpr uint64_t kSoftwareBytes = 464, kSoftwareEnd = 512, kXstateSizeAt = 480;

STUB_INLINE void SetUpSlot(SharedContext* c, uint64_t stack_end, Phase phase) {
  c->own_negative = 0 - reinterpret_cast<uint64_t>(c);
  c->stack_end = stack_end;
  c->phase = phase;
  RegisterThread(c);
}

// A fork with shared memory of its own. True in the child, which goes on in the same frame of the
// same stack, copied.
STUB_INLINE bool Fork(SharedContext* c) {
  const long fd = ReceiveFd();
  if (fd < 0) {
    c->result = static_cast<uint64_t>(fd);
    return false;
  }
  const uint64_t stack_end = c->stack_end;
  const Phase phase = c->phase;
  const long pid = Host(__NR_clone, SANDBOXD_STUB_FORK_FLAGS);
  if (pid == 0) {
    // Nothing of the parent's shared memory may be touched before this.
    const long mapped = Host(__NR_mmap, Base() + SANDBOXD_STUB_SLOTS, SANDBOXD_STUB_SLOTS_SIZE, 3,
                             0x11, static_cast<uint64_t>(fd));
    if (mapped < 0) Host(__NR_exit_group, 1);
    Host(__NR_close, static_cast<uint64_t>(fd));
    Host(__NR_close, SANDBOXD_STUB_SOCKET);
    SetUpSlot(c, stack_end, phase);
    return true;
  }
  Host(__NR_close, static_cast<uint64_t>(fd));
  c->result = static_cast<uint64_t>(pid);
  return false;
}

// Our code doesn't touch the vector registers: without a signal frame the state is in them.
STUB_INLINE uint64_t SaveVectorRegisters(SharedContext* c) {
  const uint64_t size = c->args[0];
  if (size > sizeof(c->buffer)) return 0;
  auto* header = reinterpret_cast<volatile uint64_t*>(c->buffer + kSoftwareEnd);
  for (int i = 0; i < 8; i++) header[i] = 0;
  sandboxd_stub_xsave(c->buffer, c->args[1]);
  return size;
}

STUB_INLINE uint64_t GetVectorState(SharedContext* c, const UContext* uc) {
  if (uc == nullptr) return SaveVectorRegisters(c);
  const std::byte* from = uc->machine.fpstate;
  if (from == nullptr) return 0;
  uint64_t size = *reinterpret_cast<const uint32_t*>(from + kXstateSizeAt);
  if (size > sizeof(c->buffer)) size = sizeof(c->buffer);
  sandboxd_stub_copy(c->buffer, from, size);
  return size;
}

STUB_INLINE uint64_t SetVectorState(SharedContext* c, UContext* uc) {
  if (uc == nullptr) return sandboxd_stub_xrstor(c->buffer, c->args[1]);
  std::byte* to = uc->machine.fpstate;
  const uint64_t size = c->args[0];
  if (to == nullptr || size < kSoftwareEnd || size > sizeof(c->buffer)) return ~uint64_t{0};
  sandboxd_stub_copy(to, c->buffer, kSoftwareBytes);
  sandboxd_stub_copy(to + kSoftwareEnd, c->buffer + kSoftwareEnd, size - kSoftwareEnd);
  return 0;
}

// Carries out what the kernel thread asks for until it says run. `uc`: null outside of a signal
// handler.
STUB_CODE __attribute__((noinline)) void Serve(SharedContext* c, UContext* uc) {
  for (;;) {
    Await(c);
    const uint64_t* a = c->args;
    switch (c->command) {
      case Command::kRun:
        return;
      case Command::kHostCall:
        c->result = static_cast<uint64_t>(
            Host(static_cast<long>(c->number), a[0], a[1], a[2], a[3], a[4], a[5]));
        break;
      case Command::kCopyFromGuest:
        c->result = sandboxd_stub_copy(c->buffer, reinterpret_cast<void*>(a[0]), a[1]);
        break;
      case Command::kCopyToGuest:
        c->result = sandboxd_stub_copy(reinterpret_cast<void*>(a[0]), c->buffer, a[1]);
        break;
      case Command::kLoad:
        c->result = sandboxd_stub_load32(a[0]);
        break;
      case Command::kCompareExchange:
        c->result =
            sandboxd_stub_cas32(a[0], static_cast<uint32_t>(a[1]), static_cast<uint32_t>(a[2]));
        break;
      case Command::kGetVectorState:
        c->result = GetVectorState(c, uc);
        break;
      case Command::kSetVectorState:
        c->result = SetVectorState(c, uc);
        break;
      case Command::kMapFd:
        c->result = MapFd(a);
        break;
      case Command::kFork:
        if (Fork(c)) continue;  // the child waits for its first turn
        break;
      case Command::kThread:
        c->result = static_cast<uint64_t>(sandboxd_stub_start_thread(
            SANDBOXD_STUB_THREAD_FLAGS, StackOfSlot(a[0]) + SANDBOXD_STUB_STACK_SIZE, a[0]));
        break;
    }
    Post(c);
  }
}

// A gs base of 0 is the slot's address in truth, by which trampolines find it. Every other is what
// the application has chosen; then its calls take the long way.
STUB_INLINE void SaveRegisters(const MachineContext& m, SharedContext* c) {
  arch::Registers* r = &c->regs;
  r->r15 = m.r15, r->r14 = m.r14, r->r13 = m.r13, r->r12 = m.r12;
  r->rbp = m.rbp, r->rbx = m.rbx, r->r11 = m.r11, r->r10 = m.r10;
  r->r9 = m.r9, r->r8 = m.r8, r->rax = m.rax, r->rcx = m.rcx;
  r->rdx = m.rdx, r->rsi = m.rsi, r->rdi = m.rdi;
  r->rip = m.rip, r->eflags = m.eflags, r->rsp = m.rsp;
  r->cs = m.cs, r->ss = m.ss, r->orig_rax = ~uint64_t{0};
  uint64_t base;
  asm volatile("rdfsbase %0" : "=r"(base));
  r->fs_base = base;
  asm volatile("rdgsbase %0" : "=r"(base));
  r->gs_base = base == reinterpret_cast<uint64_t>(c) ? 0 : base;
}

STUB_INLINE void LoadRegisters(const SharedContext* c, MachineContext& m) {
  const arch::Registers* r = &c->regs;
  m.r15 = r->r15, m.r14 = r->r14, m.r13 = r->r13, m.r12 = r->r12;
  m.rbp = r->rbp, m.rbx = r->rbx, m.r11 = r->r11, m.r10 = r->r10;
  m.r9 = r->r9, m.r8 = r->r8, m.rax = r->rax, m.rcx = r->rcx;
  m.rdx = r->rdx, m.rsi = r->rsi, m.rdi = r->rdi;
  m.rip = r->rip, m.eflags = r->eflags, m.rsp = r->rsp;
  m.cs = kUserCs, m.ss = kUserDs;
  asm volatile("wrfsbase %0" : : "r"(r->fs_base));
  const uint64_t own = reinterpret_cast<uint64_t>(c);
  asm volatile("wrgsbase %0" : : "r"(r->gs_base == 0 ? own : r->gs_base));
}

// An interrupt that came while our code runs outside of a handler. True if the kernel thread is to
// be told now, with the registers that are in the slot; otherwise who runs there will see the note.
STUB_INLINE bool InterruptsOurCode(SharedContext* c) {
  if (c->phase == Phase::kLeaving) return true;
  c->interrupted = 1;
  return false;
}

STUB_INLINE uint64_t At(void (*label)()) { return reinterpret_cast<uint64_t>(label); }
STUB_INLINE bool IsIn(uint64_t rip, void (*label)()) { return rip == At(label); }

// If a call that the stub answers by itself was as good as done: does the rest. The application is
// behind it then.
STUB_INLINE bool FinishAnswer(const SharedContext* c, MachineContext& m) {
  if (m.rip < At(sandboxd_stub_answer) || m.rip >= At(sandboxd_stub_answer_end)) return false;
  if (m.rip < At(sandboxd_stub_answered)) {
    m.rax = c->answers[m.rax % SANDBOXD_SLOT_ANSWER_COUNT] - 1;
  } else if (m.rip < At(sandboxd_stub_answer_taken)) {
    m.rax--;
  }
  m.rip = m.rcx;
  m.rsp = c->regs.rsp;
  m.eflags = m.r11 = c->regs.eflags;
  return true;
}

}  // namespace
}  // namespace sandboxd::platform::stub

using namespace sandboxd::platform::stub;

STUB_CODE void sandboxd_stub_thread_main(uint64_t slot) {
  SharedContext* c = ContextOfSlot(slot);
  const uint64_t stack[3] = {StackOfSlot(slot), 0, SANDBOXD_STUB_STACK_SIZE};
  Host(__NR_sigaltstack, reinterpret_cast<uint64_t>(stack), 0);
  SetUpSlot(c, StackOfSlot(slot) + SANDBOXD_STUB_STACK_SIZE, Phase::kApplication);
  // The handler waits for the first turn there, with a frame through which to enter the
  // application.
  sandboxd_stub_boot_trap();
  Host(__NR_exit_group, 1);
}

STUB_CODE void sandboxd_stub_handler(int signo, void* info_address, void* uc_address) {
  const auto* info = static_cast<const Siginfo*>(info_address);
  auto* uc = static_cast<UContext*>(uc_address);
  MachineContext& m = uc->machine;
  const uint64_t here = reinterpret_cast<uint64_t>(__builtin_frame_address(0));
  const uint64_t slot = (here - (Base() + SANDBOXD_STUB_STACKS)) / SANDBOXD_STUB_STACK_SIZE;
  SharedContext* c = ContextOfSlot(slot);

  if (signo == kSigsegv || signo == kSigbus) {
    if (FixUp(m.rip)) return;
    if (IsIn(m.rip, sandboxd_stub_xrstor_at)) {
      m.rip = reinterpret_cast<uint64_t>(&sandboxd_stub_failed);
      return;
    }
  }
  if (IsIn(m.rip, sandboxd_stub_boot_trap) && signo == kSigill) {
    Serve(c, uc);
  } else {
    // The application's registers are in the slot already if the processor refuses to go where they
    // point.
    bool saved = IsIn(m.rip, sandboxd_stub_direct_iret) || IsIn(m.rip, sandboxd_stub_direct_jump);
    if (signo == kSigusr1) {
      saved = m.rip - Base() < SANDBOXD_STUB_CODE_SIZE && !FinishAnswer(c, m);
      if (saved && !InterruptsOurCode(c)) return;
      c->event = Event::kInterrupt;
    } else if (info->code <= 0) {
      return;  // sent by somebody, not raised by the processor
    } else {
      c->event = Event::kFault;
    }
    if (!saved) SaveRegisters(m, c);
    if (signo == kSigsys) {
      c->event = info->arch == kArchX86_64 ? Event::kSyscall : Event::kForeignSyscall;
      // A number that looks like one of the host's restart codes has been acted upon; what the
      // filter saw is in siginfo.
      c->regs.orig_rax = static_cast<int32_t>(m.rax) == info->syscall
                             ? m.rax
                             : static_cast<uint64_t>(int64_t{info->syscall});
      c->regs.rip = info->address;
      c->regs.rax = static_cast<uint64_t>(-38);  // -ENOSYS
    }
    c->fault_signo = info->signo;
    c->fault_code = info->code;
    c->fault_address = info->address;
    c->fault_trapno = m.trapno;
    c->fault_error = m.err;
    Post(c);
    Serve(c, uc);
  }
  c->phase = Phase::kApplication;
  LoadRegisters(c, m);
  uc->sigmask = 0;
}

STUB_CODE uint64_t sandboxd_stub_direct_call(SharedContext* c) {
  // A mark from before is for nobody: the kernel thread learns of its interrupt when this call is
  // done.
  c->interrupted = 0;
  c->event = Event::kSyscall;
  for (;;) {
    Post(c);
    Serve(c, nullptr);
    // From here on the handler itself tells of interrupts; those that came before have left a mark.
    // Volatile order is enough: the handler runs on this very thread.
    c->phase = Phase::kLeaving;
    asm volatile("" : : : "memory");
    if (c->interrupted == 0) break;
    c->phase = Phase::kServing;
    asm volatile("" : : : "memory");
    c->interrupted = 0;
    c->event = Event::kInterrupt;
  }
  const sandboxd::arch::Registers& r = c->regs;
  const bool plain = r.rcx == r.rip && r.r11 == r.eflags && (r.eflags & kOddFlags) == 0;
  return plain ? 0 : 1;
}
