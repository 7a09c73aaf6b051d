// See machine_main_stub.h. SAFETY: as for free_main_stub.cc: this code runs in a stub, copied to
// another address than it was linked for; one section, no data, no library, no vector registers.
//
// Unlike free stubs, these are out of the application's reach: it runs in the machine, whose memory
// doesn't contain them.
#include "platform/stub/machine_main_stub.h"

#include <asm/unistd_64.h>

#include "platform/stub/free_parts_stub.h"
#include "platform/stub/machine.h"
#include "platform/stub/region_stub.h"
#include "platform/stub/shared_context.h"

namespace sandboxd::platform::stub {
namespace {

constexpr int kSigbus = 7, kSigusr1 = 10, kSigsegv = 11;
constexpr long kEintr = -4, kEagain = -11, kEfault = -14;

// Control registers and flags (Intel SDM volume 3, 2.5; volume 1, 3.4.3).
constexpr uint64_t kCr0 = 0x8005'0033;        // PG AM WP NE ET MP PE
constexpr uint64_t kCr4 = 0x0005'06a0;        // OSXSAVE FSGSBASE OSXMMEXCPT OSFXSR PGE PAE
constexpr uint64_t kEfer = 0xd01;             // NXE LMA LME SCE
constexpr uint64_t kUserFlags = 0x0025'4dd5;  // ID AC RF NT OF DF TF SF ZF AF PF CF
constexpr uint64_t kFixedFlags = 0x202;       // IF and the bit that is always one
constexpr uint64_t kCallMask = 0x0025'7fd5 & ~uint64_t{2};
constexpr uint32_t kMsrStar = 0xc000'0081, kMsrLstar = 0xc000'0082, kMsrSfmask = 0xc000'0084;

// Steps of making a machine, for MachineState::failed_step.
enum Step : int32_t {
  kCreateVm = 1,
  kMemorySlot,
  kCreateVcpu,
  kMapRun,
  kSetCpuid,
  kSetXcr,
  kSetMsrs,
  kSetSregs,
  kRunning,
};

STUB_INLINE MachineState* State() {
  return reinterpret_cast<MachineState*>(Base() + SANDBOXD_STUB_VM);
}
STUB_INLINE kvm_run* RunOf(uint64_t slot) {
  return reinterpret_cast<kvm_run*>(Base() + SANDBOXD_STUB_RUNS + slot * SANDBOXD_STUB_RUN_SIZE);
}
STUB_INLINE long Ioctl(long fd, unsigned long request, const volatile void* argument) {
  return Host(__NR_ioctl, static_cast<uint64_t>(fd), request, reinterpret_cast<uint64_t>(argument));
}

STUB_INLINE bool Failed(Step step, long result) {
  if (result >= 0) return false;
  State()->failed_step = step;
  State()->error = static_cast<int32_t>(result);
  return true;
}

enum class SegmentKind : uint8_t { kUserCode, kUserData, kTss };

// In whole words: written field by field, the compiler would keep parts of it as data.
STUB_INLINE void SetSegment(kvm_segment* s, SegmentKind kind, uint64_t selector, uint64_t base) {
  static_assert(sizeof(kvm_segment) == 24 && offsetof(kvm_segment, dpl) == 16);
  const bool tss = kind == SegmentKind::kTss;
  const uint64_t code = kind == SegmentKind::kUserCode ? 1 : 0;
  const uint64_t limit = tss ? kTssSize - 1 : 0xffff'ffff;
  const uint64_t type = kind == SegmentKind::kUserData ? 0x3 : 0xb;
  auto* words = reinterpret_cast<uint64_t*>(s);
  words[0] = base;
  words[1] = limit | selector << 32 | type << 48 | uint64_t{1} << 56;  // present
  // dpl, db, s, l, g, avl, unusable: a byte each.
  words[2] = tss ? 0 : 3 | (1 - code) << 8 | 1 << 16 | code << 24 | uint64_t{1} << 32;
}

STUB_INLINE void SetUserSegments(kvm_sregs* s, uint64_t fs_base, uint64_t gs_base) {
  SetSegment(&s->cs, SegmentKind::kUserCode, kGuestCs, 0);
  SetSegment(&s->ss, SegmentKind::kUserData, kGuestDs, 0);
  SetSegment(&s->ds, SegmentKind::kUserData, 0, 0);
  SetSegment(&s->es, SegmentKind::kUserData, 0, 0);
  SetSegment(&s->fs, SegmentKind::kUserData, 0, fs_base);
  SetSegment(&s->gs, SegmentKind::kUserData, 0, gs_base);
}

// The processor as the application meets it, but for its general registers.
STUB_INLINE long InitialSregs(long vcpu, uint64_t slot, kvm_sregs* s) {
  const long got = Ioctl(vcpu, KVM_GET_SREGS, s);
  if (got < 0) return got;
  s->cr0 = kCr0;
  s->cr3 = kRootOffset;
  s->cr4 = kCr4;
  s->efer = kEfer;
  SetUserSegments(s, 0, 0);
  s->gdt.base = kSystemBase + kGdtOffset;
  s->gdt.limit = kGdtLimit;
  s->idt.base = kSystemBase + kIdtOffset;
  s->idt.limit = 0xfff;
  SetSegment(&s->tr, SegmentKind::kTss, kTssSelector, kSystemBase + ThreadPage(slot));
  return Ioctl(vcpu, KVM_SET_SREGS, s);
}

STUB_INLINE uint64_t CallEntry() {
  if (State()->calls_fault) return Base() + SANDBOXD_STUB_HOLE;
  return kSystemBase + kEntryOffset + kCallOffset;
}

STUB_CODE __attribute__((noinline)) long SetMsrs(long vcpu) {
  struct {  // struct kvm_msrs
    uint32_t count, padding;
    kvm_msr_entry entries[3];
  } msrs;
  msrs.count = 3;
  msrs.padding = 0;
  kvm_msr_entry* e = msrs.entries;
  e[0].index = kMsrStar;
  e[0].data = uint64_t{kSystemCs} << 32 | (uint64_t{kGuestCs} - 16) << 48;
  e[1].index = kMsrLstar;
  e[1].data = CallEntry();
  e[2].index = kMsrSfmask;
  e[2].data = kCallMask;
  e[0].reserved = e[1].reserved = e[2].reserved = 0;
  return Ioctl(vcpu, kSetMsrsRequest, &msrs);
}

// A virtual processor for a slot that has none. False: see failed_step.
STUB_CODE __attribute__((noinline)) bool MakeVcpu(uint64_t slot) {
  MachineState* state = State();
  long vcpu = Host(__NR_ioctl, SANDBOXD_STUB_MACHINE, KVM_CREATE_VCPU, slot);
  if (vcpu == SANDBOXD_STUB_SOCKET) {
    // That number is for the channel, which isn't there yet.
    vcpu = Host(__NR_fcntl, SANDBOXD_STUB_SOCKET, 1030 /* F_DUPFD_CLOEXEC */,
                SANDBOXD_STUB_MACHINE + 1);
    Host(__NR_close, SANDBOXD_STUB_SOCKET);
  }
  if (Failed(kCreateVcpu, vcpu)) return false;
  kvm_run* run = RunOf(slot);
  const long mapped = Host(__NR_mmap, reinterpret_cast<uint64_t>(run), state->run_size, 3,
                           0x11 /* MAP_SHARED | MAP_FIXED */, static_cast<uint64_t>(vcpu));
  if (Failed(kMapRun, mapped < 0 && mapped > -4096 ? mapped : 0)) return false;
  if (Failed(kSetCpuid, Ioctl(vcpu, kSetCpuid2Request, &state->cpuid))) return false;
  kvm_xcrs xcrs;
  __builtin_memset(&xcrs, 0, sizeof(xcrs));
  xcrs.nr_xcrs = 1;
  xcrs.xcrs[0].value = state->xcr0;
  if (Failed(kSetXcr, Ioctl(vcpu, KVM_SET_XCRS, &xcrs))) return false;
  if (Failed(kSetMsrs, SetMsrs(vcpu))) return false;
  if (state->tsc_offset) {
    uint64_t none = 0;
    kvm_device_attr attr;
    attr.flags = 0;
    attr.group = KVM_VCPU_TSC_CTRL;
    attr.attr = KVM_VCPU_TSC_OFFSET;
    attr.addr = reinterpret_cast<uint64_t>(&none);
    Ioctl(vcpu, KVM_SET_DEVICE_ATTR, &attr);
  }
  if (Failed(kSetSregs, InitialSregs(vcpu, slot, &run->s.regs.sregs))) return false;
  run->kvm_valid_regs = KVM_SYNC_X86_REGS | KVM_SYNC_X86_SREGS;
  state->clear_events[slot] = false;
  // A signal's handler may look at any time: last.
  __atomic_store_n(&state->vcpus[slot], static_cast<int32_t>(vcpu), __ATOMIC_RELEASE);
  return true;
}

// The machine of this process, with one processor. What was inherited of another's is given up.
STUB_CODE __attribute__((noinline)) void MakeMachine(uint64_t slot) {
  MachineState* state = State();
  state->failed_step = 0;
  for (uint64_t i = 0; i < kMaxSlots; i++) state->vcpus[i] = 0;
  // One mapping with nothing in it in the place of all of theirs.
  Host(__NR_mmap, Base() + SANDBOXD_STUB_RUNS, SANDBOXD_STUB_RUNS_SIZE, 0,
       0x4032 /* MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE */, ~uint64_t{0});
  Host(__NR_close_range, SANDBOXD_STUB_MACHINE, 0xffff'ffff);
  // The socket still has the lowest number, so that this is the next.
  const long machine = Host(__NR_ioctl, SANDBOXD_STUB_KVM, KVM_CREATE_VM, 0);
  if (Failed(kCreateVm, machine)) return;
  const auto* list =
      reinterpret_cast<const SlotList*>(Base() + SANDBOXD_STUB_TABLES + kSlotListOffset);
  for (uint32_t i = 0; i < list->count; i++) {
    if (Failed(kMemorySlot, Ioctl(machine, KVM_SET_USER_MEMORY_REGION, &list->slots[i]))) return;
  }
  MakeVcpu(slot);
}

STUB_INLINE void RegsToMachine(const arch::Registers* from, kvm_regs* to) {
  to->rax = from->rax, to->rbx = from->rbx, to->rcx = from->rcx, to->rdx = from->rdx;
  to->rsi = from->rsi, to->rdi = from->rdi, to->rsp = from->rsp, to->rbp = from->rbp;
  to->r8 = from->r8, to->r9 = from->r9, to->r10 = from->r10, to->r11 = from->r11;
  to->r12 = from->r12, to->r13 = from->r13, to->r14 = from->r14, to->r15 = from->r15;
  to->rip = from->rip;
  to->rflags = (from->eflags & kUserFlags) | kFixedFlags;
}

STUB_INLINE void RegsFromMachine(const kvm_regs* from, const kvm_sregs* s, arch::Registers* to) {
  to->rax = from->rax, to->rbx = from->rbx, to->rcx = from->rcx, to->rdx = from->rdx;
  to->rsi = from->rsi, to->rdi = from->rdi, to->rsp = from->rsp, to->rbp = from->rbp;
  to->r8 = from->r8, to->r9 = from->r9, to->r10 = from->r10, to->r11 = from->r11;
  to->r12 = from->r12, to->r13 = from->r13, to->r14 = from->r14, to->r15 = from->r15;
  to->rip = from->rip, to->eflags = from->rflags;
  to->cs = kGuestCs, to->ss = kGuestDs;
  to->fs_base = s->fs.base, to->gs_base = s->gs.base;
  to->orig_rax = ~uint64_t{0};
}

STUB_INLINE void TakeCall(SharedContext* c) {
  arch::Registers& r = c->regs;
  r.rip = r.rcx;
  r.eflags = r.r11;
  r.orig_rax = r.rax;
  r.rax = static_cast<uint64_t>(-38);  // -ENOSYS
  c->event = Event::kSyscall;
}

// Whether the exception has a code that the processor pushes: 8, 10 to 14, 17, 21, 29, 30.
STUB_INLINE bool HasErrorCode(uint64_t vector) { return (0x6022'7d00 >> vector & 1) != 0; }

// The machine has left at one of the entries: what the application did.
STUB_INLINE bool TakeEntry(SharedContext* c, uint64_t slot, const kvm_run* run) {
  constexpr uint64_t kEntries = kSystemBase + kEntryOffset;
  const uint64_t at = run->s.regs.regs.rip - 1 - kEntries;
  if (at == kCallOffset) {
    TakeCall(c);
    return true;
  }
  if (at >= kCallOffset || at % kVectorStride != 0) return false;
  const uint64_t vector = at / kVectorStride;
  const uint64_t page = kSystemBase + ThreadPage(slot);
  const uint64_t sp = run->s.regs.regs.rsp - page;
  const bool has_error = vector < 32 && HasErrorCode(vector);
  if (sp > 4096 - (has_error ? 48 : 40)) return false;
  const auto* frame =
      reinterpret_cast<const uint64_t*>(Base() + SANDBOXD_STUB_TABLES + ThreadPage(slot) + sp);
  c->fault_error = has_error ? *frame++ : 0;
  arch::Registers& r = c->regs;
  r.rip = frame[0];
  r.eflags = frame[2];
  r.rsp = frame[3];
  if (vector == 14 && r.rip == kEntries + kCallOffset) {
    // A machine whose `syscall` doesn't change the privilege level: it could not fetch the entry.
    TakeCall(c);
    MachineState* state = State();
    state->calls_fault = true;
    SetMsrs(state->vcpus[slot]);
    return true;
  }
  r.cs = frame[1];
  r.ss = frame[4];
  c->fault_trapno = vector;
  c->fault_address = run->s.regs.sregs.cr2;
  c->event = Event::kFault;
  return true;
}

STUB_INLINE void Break(SharedContext* c, uint64_t step, long result) {
  c->number = step;
  c->result = static_cast<uint64_t>(result);
  c->event = Event::kBroken;
}

// Runs the application until something happens that the kernel thread must see to.
STUB_CODE __attribute__((noinline)) void RunMachine(SharedContext* c, uint64_t slot) {
  MachineState* state = State();
  const long vcpu = state->vcpus[slot];
  if (vcpu == 0) return Break(c, static_cast<uint64_t>(state->failed_step), state->error);
  kvm_run* run = RunOf(slot);
  RegsToMachine(&c->regs, &run->s.regs.regs);
  run->kvm_dirty_regs = KVM_SYNC_X86_REGS;
  const kvm_sregs* left = &run->s.regs.sregs;
  if (left->cs.dpl != 3 || left->fs.base != c->regs.fs_base || left->gs.base != c->regs.gs_base) {
    SetUserSegments(&run->s.regs.sregs, c->regs.fs_base, c->regs.gs_base);
    run->kvm_dirty_regs |= KVM_SYNC_X86_SREGS;
  }
  if (state->clear_events[slot]) {
    state->clear_events[slot] = false;
    __builtin_memset(&run->s.regs.events, 0, sizeof(run->s.regs.events));
    run->kvm_dirty_regs |= KVM_SYNC_X86_EVENTS;
  }
  for (;;) {
    const long result = Ioctl(vcpu, KVM_RUN, nullptr);
    c->exits++;
    run->kvm_dirty_regs = 0;
    if (result == kEintr) {
      // Volatile: the handler writes it.
      *const_cast<volatile uint8_t*>(&run->immediate_exit) = 0;
      // On its way to an entry it is at no address of the application's: it gets there first, and
      // the interrupt is found at the next turn.
      const uint64_t rip = run->s.regs.regs.rip;
      if (rip >= kSystemBase || rip == Base() + SANDBOXD_STUB_HOLE) continue;
    }
    RegsFromMachine(&run->s.regs.regs, &run->s.regs.sregs, &c->regs);
    if (result == kEintr) {
      state->clear_events[slot] = true;
      c->event = Event::kInterrupt;
      return;
    }
    if (result == kEfault) {
      if (c->regs.rip == Base() + SANDBOXD_STUB_HOLE) return TakeCall(c);
      c->event = Event::kHostFault;
      return;
    }
    if (result < 0) return Break(c, kRunning, result);
    if (run->exit_reason == KVM_EXIT_HLT && TakeEntry(c, slot, run)) return;
    return Break(c, run->exit_reason, 0);
  }
}

STUB_INLINE uint64_t GetVectorState(SharedContext* c, uint64_t slot) {
  const long got = Ioctl(State()->vcpus[slot], kGetXsaveRequest, c->buffer);
  return got < 0 ? 0 : State()->xstate_size;
}

STUB_INLINE uint64_t SetVectorState(SharedContext* c, uint64_t slot) {
  static_assert(sizeof(c->buffer) >= kXsaveSize);
  if (c->args[0] > kXsaveSize) return ~uint64_t{0};
  __builtin_memset(c->buffer + c->args[0], 0, kXsaveSize - c->args[0]);
  return Ioctl(State()->vcpus[slot], kSetXsaveRequest, c->buffer) < 0 ? ~uint64_t{0} : 0;
}

// As in free_main_stub.cc, with a machine of its own for the child.
STUB_CODE __attribute__((noinline)) bool ForkMachine(SharedContext* c, uint64_t slot) {
  const long fd = ReceiveFd();
  if (fd < 0) {
    c->result = static_cast<uint64_t>(fd);
    return false;
  }
  std::byte vector_state[kXsaveSize];
  const bool has_state = Ioctl(State()->vcpus[slot], kGetXsaveRequest, &vector_state) == 0;
  const long pid = Host(__NR_clone, SANDBOXD_STUB_FORK_FLAGS);
  if (pid != 0) {
    Host(__NR_close, static_cast<uint64_t>(fd));
    c->result = static_cast<uint64_t>(pid);
    return false;
  }
  // Nothing of the parent's shared memory may be touched before this.
  State()->vcpus[slot] = 0;
  if (Host(__NR_mmap, Base() + SANDBOXD_STUB_SLOTS, SANDBOXD_STUB_SLOTS_SIZE, 3, 0x11,
           static_cast<uint64_t>(fd)) < 0 ||
      Host(__NR_mmap, Base() + SANDBOXD_STUB_TABLES, SANDBOXD_STUB_TABLES_SIZE, 3, 0x11,
           static_cast<uint64_t>(fd), SANDBOXD_STUB_SLOTS_SIZE) < 0) {
    Host(__NR_exit_group, 1);
  }
  MakeMachine(slot);
  if (has_state && State()->vcpus[slot] != 0) {
    Ioctl(State()->vcpus[slot], kSetXsaveRequest, &vector_state);
  }
  Host(__NR_close, SANDBOXD_STUB_SOCKET);
  RegisterThread(c);
  return true;
}

STUB_INLINE long StartThread(uint64_t slot) {
  if (State()->vcpus[slot] == 0 && !MakeVcpu(slot)) return kEagain;
  return sandboxd_stub_start_machine_thread(SANDBOXD_STUB_THREAD_FLAGS,
                                            StackOfSlot(slot) + SANDBOXD_STUB_STACK_SIZE, slot);
}

// Carries out what the kernel thread asks for, for ever.
STUB_CODE __attribute__((noinline)) void ServeMachine(SharedContext* c, uint64_t slot) {
  for (;;) {
    Await(c);
    const uint64_t* a = c->args;
    switch (c->command) {
      case Command::kRun:
        RunMachine(c, slot);
        break;
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
        c->result = GetVectorState(c, slot);
        break;
      case Command::kSetVectorState:
        c->result = SetVectorState(c, slot);
        break;
      case Command::kMapFd:
        c->result = MapFd(a);
        break;
      case Command::kFork:
        if (ForkMachine(c, slot)) continue;  // the child waits for its first turn
        break;
      case Command::kThread:
        c->result = static_cast<uint64_t>(StartThread(a[0]));
        break;
    }
    Post(c);
  }
}

}  // namespace
}  // namespace sandboxd::platform::stub

using namespace sandboxd::platform::stub;

STUB_CODE void sandboxd_stub_machine_thread_main(uint64_t slot) {
  SharedContext* c = ContextOfSlot(slot);
  RegisterThread(c);
  ServeMachine(c, slot);
}

STUB_CODE void sandboxd_stub_machine_template_main(uint64_t start, uint64_t end,
                                                   uint64_t user_end) {
  const uint64_t scratch = start + SANDBOXD_STUB_SCRATCH;
  auto* reply = reinterpret_cast<volatile int32_t*>(scratch + SANDBOXD_STUB_REPLY);
  if (Host(__NR_munmap, 0, start) != 0 || Host(__NR_munmap, end, user_end - end) != 0) {
    Host(__NR_exit_group, 1);
  }
  *reply = 0;
  for (;;) {
    if (Host(__NR_sendto, SANDBOXD_STUB_SOCKET, reinterpret_cast<uint64_t>(reply), 4,
             0x4000 /* MSG_NOSIGNAL */) != 4) {
      Host(__NR_exit_group, 1);
    }
    const long fd = ReceiveFd();
    if (fd < 0) Host(__NR_exit_group, 1);  // the kernel process is gone
    const long pid = Host(__NR_clone, SANDBOXD_STUB_FORK_FLAGS);
    if (pid == 0) {
      if (Host(__NR_mmap, start + SANDBOXD_STUB_SLOTS, SANDBOXD_STUB_SLOTS_SIZE, 3, 0x11,
               static_cast<uint64_t>(fd)) < 0 ||
          Host(__NR_mmap, start + SANDBOXD_STUB_TABLES, SANDBOXD_STUB_TABLES_SIZE, 3, 0x11,
               static_cast<uint64_t>(fd), SANDBOXD_STUB_SLOTS_SIZE) < 0) {
        Host(__NR_exit_group, 1);
      }
      MakeMachine(0);
      Host(__NR_close, SANDBOXD_STUB_SOCKET);
      sandboxd_stub_machine_thread_main(0);
    }
    Host(__NR_close, static_cast<uint64_t>(fd));
    *reply = static_cast<int32_t>(pid);
  }
}

// SIGSEGV and SIGBUS of copies; SIGUSR1 makes the machine stop.
STUB_CODE void sandboxd_stub_machine_handler(int signo, void* info, void* uc_address) {
  struct UContext {
    uint64_t flags, link, stack[3];
    uint64_t registers[16];  // r8 to r15, rdi rsi rbp rbx rdx rax rcx rsp
    uint64_t rip;
  };
  if (signo == kSigusr1) {
    const uint64_t here = reinterpret_cast<uint64_t>(__builtin_frame_address(0));
    const uint64_t slot = (here - (Base() + SANDBOXD_STUB_STACKS)) / SANDBOXD_STUB_STACK_SIZE;
    if (__atomic_load_n(&State()->vcpus[slot], __ATOMIC_ACQUIRE) == 0) return;
    *const_cast<volatile uint8_t*>(&RunOf(slot)->immediate_exit) = 1;
    return;
  }
  const int32_t code = static_cast<const int32_t*>(info)[2];
  if (FixUp(static_cast<UContext*>(uc_address)->rip) || code <= 0) return;
  if (signo == kSigsegv || signo == kSigbus) Host(__NR_exit_group, 1);
}
