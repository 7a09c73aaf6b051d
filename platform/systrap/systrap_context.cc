#include "platform/systrap/systrap_context.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstring>
#include <iterator>
#include <type_traits>
#include <utility>

#include "platform/arch/fault.h"
#include "platform/arch/xstate.h"
#include "platform/stub/host_result.h"

namespace sandboxd::platform::systrap {
namespace {

using stub::Command;
using stub::Event;
using stub::SharedContext;

constexpr int kInterruptSignal = SIGUSR1;
constexpr uint64_t kTrapFlag = 0x100;
constexpr uint64_t kUserCs = 0x33;
constexpr uint64_t kNoWord = ~uint64_t{0};

// Calls by which a thread learns who it is. It is the only one to be fooled if its slot says
// something else, and the only one who can change the answer, by a call of its own.
constexpr uint64_t kIdentity[] = {SYS_getpid,  SYS_gettid, SYS_getuid,
                                  SYS_geteuid, SYS_getgid, SYS_getegid};
static_assert(std::all_of(std::begin(kIdentity), std::end(kIdentity), [](uint64_t number) {
  return number < std::extent_v<decltype(SharedContext::answers)>;
}));
constexpr uint64_t kOverflowId = 65534;
bool IsIdentity(uint64_t number) {
  return std::find(std::begin(kIdentity), std::end(kIdentity), number) != std::end(kIdentity);
}

// Everything that sets ids or enters another namespace; exec is made in a new context.
bool ChangesIdentity(uint64_t number) {
  switch (number) {
    case SYS_setuid:
    case SYS_setgid:
    case SYS_setreuid:
    case SYS_setregid:
    case SYS_setresuid:
    case SYS_setresgid:
    case SYS_setfsuid:
    case SYS_setfsgid:
    case SYS_unshare:
    case SYS_setns:
      return true;
    default:
      return false;
  }
}

bool IsUserWord(UserAddr addr) {
  return addr.value % sizeof(uint32_t) == 0 && addr < kApplicationEnd;
}

size_t ClampToApplication(UserAddr addr, size_t size) {
  if (addr >= kApplicationEnd) return 0;
  return std::min<uint64_t>(size, kApplicationEnd - addr);
}

}  // namespace

SystrapContext::SystrapContext(Ref<SystrapAddressSpace> as, SharedContext& shared, pid_t tid,
                               uint64_t slot)
    : Context(as), turns_(shared, tid, as->killed()), slot_(slot) {
  SpinBudget::Busy();
}

SystrapContext::~SystrapContext() {
  SpinBudget::Idle();
  turns_.Unpin();
  Space().ReleaseThread(turns_.tid(), slot_, turns_.dead());
}

SystrapAddressSpace& SystrapContext::Space() {
  return static_cast<SystrapAddressSpace&>(address_space());
}

Result<void> SystrapContext::Start(ConstBytes vector_state) {
  TRY(turns_.AwaitReady());
  if (vector_state.empty()) return Ok();
  return SetFpState(vector_state);
}

void SystrapContext::Interrupt() {
  wanted_.store(true, std::memory_order_seq_cst);
  if (running_.load(std::memory_order_seq_cst)) {
    syscall(SYS_tgkill, turns_.tid(), turns_.tid(), kInterruptSignal);
  }
}

void SystrapContext::InterruptToEnd() {
  turns_.Doom();
  Interrupt();
}

void SystrapContext::StoreRegisters(const arch::Registers& regs, StepMode step) {
  arch::Registers& to = turns_.shared().regs;
  to = regs;
  if (step == StepMode::kSingleStep) to.eflags |= kTrapFlag;
}

void SystrapContext::LoadRegisters(arch::Registers& regs, StepMode step) {
  regs = turns_.shared().regs;
  if (step == StepMode::kSingleStep) {
    regs.eflags &= ~kTrapFlag;
    // What the `syscall` instruction saves has the flag too.
    if (regs.rcx == regs.rip) regs.r11 &= ~kTrapFlag;
  }
}

arch::Fault SystrapContext::LoadFault() {
  const SharedContext& s = turns_.shared();
  arch::Fault fault;
  fault.signo = s.fault_signo;
  fault.code = s.fault_code;
  fault.addr = UserAddr(s.fault_address);
  fault.trapno = s.fault_trapno;
  fault.error_code = s.fault_error;
  // The application may have written these itself: it gets a fault of its choice, but a fault.
  if (!arch::IsFaultSignal(fault.signo) || fault.code <= 0) fault = arch::GeneralProtection();
  if (fault.code == SI_KERNEL) fault.addr = UserAddr(0);
  return fault;
}

SystrapContext::Running::Running(SystrapContext& context) : context_(context) {
  context_.running_.store(true, std::memory_order_seq_cst);
  interrupted_ = context_.TakeInterrupt();
}

SystrapContext::Running::~Running() { context_.running_.store(false, std::memory_order_seq_cst); }

Stop SystrapContext::Switch(arch::Registers& regs, StepMode step) {
  if (turns_.dead()) return {Stop::Kind::kDead, {}};
  const Running running(*this);
  if (running.interrupted()) return {Stop::Kind::kInterrupt, {}};

  Patcher* patcher = Space().patcher();
  if (step == StepMode::kSingleStep && patcher != nullptr) patcher->Disable(*this, Space().alone());
  if (patcher != nullptr) NoteAnswer(regs);
  StoreRegisters(regs, step);
  for (;;) {
    if (!turns_.Take(Command::kRun)) return {Stop::Kind::kDead, {}};
    const Event event = turns_.shared().event;
    if (patcher != nullptr && IsOurAffair(*patcher, event)) continue;
    if (event == Event::kInterrupt && !TakeInterrupt()) {
      continue;  // late, or not ours: the registers are where they belong
    }
    LoadRegisters(regs, step);
    switch (event) {
      case Event::kSyscall:
        if (patcher != nullptr) NoteCall(regs);
        if (regs.cs == kUserCs) return {Stop::Kind::kSyscall, {}};
        return {Stop::Kind::kFault, arch::UndoForeignCall(regs)};
      case Event::kForeignSyscall:
        return {Stop::Kind::kFault, arch::UndoForeignCall(regs)};
      case Event::kInterrupt:
        return {Stop::Kind::kInterrupt, {}};
      case Event::kFault:
      case Event::kHostFault:
      case Event::kBroken:
        break;
    }
    return {Stop::Kind::kFault, LoadFault()};
  }
}

void SystrapContext::NoteCall(const arch::Registers& regs) {
  const uint64_t number = regs.syscall_number();
  if (ChangesIdentity(number)) {
    for (uint64_t call : kIdentity) turns_.shared().answers[call] = 0;
  }
  answerable_.reset();
  if (IsIdentity(number)) answerable_ = number;
  answerable_ip_ = regs.rip;
}

void SystrapContext::ShowEveryCall(bool on) {
  every_call_ = on;
  if (!on) return;
  for (uint64_t call : kIdentity) turns_.shared().answers[call] = 0;
}

void SystrapContext::NoteAnswer(const arch::Registers& regs) {
  if (!answerable_) return;
  const uint64_t number = *std::exchange(answerable_, std::nullopt);
  if (every_call_) return;
  const uint64_t result = regs.return_value();
  if (regs.rip != answerable_ip_ || result > UINT32_MAX) return;  // it did not return
  // An id without a name in the user namespace: it may still get one (/proc/PID/uid_map).
  if (result == kOverflowId) return;
  turns_.shared().answers[number] = result + 1;
}

bool SystrapContext::IsOurAffair(Patcher& patcher, Event event) {
  SharedContext& s = turns_.shared();
  switch (event) {
    case Event::kSyscall:
      if (s.phase != stub::Phase::kServing) {
        patcher.Trapped(*this, UserAddr(s.regs.rip - kSyscallSize), s.regs.orig_rax,
                        Space().room_keeper(), Space().alone());
      }
      return false;
    case Event::kInterrupt:
      // On its way to a system call, which stops it.
      return patcher.PlaceInTrampoline(UserAddr(s.regs.rip)).has_value();
    case Event::kFault:
      return IsOurFault(patcher);
    default:
      return false;
  }
}

bool SystrapContext::IsOurFault(Patcher& patcher) {
  SharedContext& s = turns_.shared();
  const UserAddr ip(s.regs.rip);
  if (auto place = patcher.PlaceInTrampoline(ip)) {
    s.regs.rip = place->ip.value;
    if (s.fault_signo == SIGTRAP) {
      // The application steps itself, by the trap flag.
      patcher.Disable(*this, Space().alone());
      return true;
    }
    // At the start it is the displaced instruction that the processor refuses. Further on the gs
    // base has led nowhere, and the call goes the long way.
    return !place->at_start;
  }
  if (s.fault_signo != SIGTRAP || s.fault_code != SI_KERNEL) return false;
  if (!patcher.IsOurBreakpoint(*this, ip - 1)) return false;
  s.regs.rip = ip.value - 1;
  return true;
}

Result<uint64_t> SystrapContext::Op(Command command, std::array<uint64_t, 6> args) {
  SharedContext& s = turns_.shared();
  if (command == Command::kFork || command == Command::kThread) turns_.Unpin();
  std::copy(args.begin(), args.end(), s.args);
  if (!turns_.Take(command)) return Errno::kESRCH;
  return s.result;
}

Result<uint64_t> SystrapContext::RunHostCall(long number, const std::array<uint64_t, 6>& args) {
  turns_.shared().number = static_cast<uint64_t>(number);
  const uint64_t raw = TRY(Op(Command::kHostCall, args));
  return stub::HostResult(raw);
}

Result<uint64_t> SystrapContext::HostCall(long number, const uint64_t (&args)[6]) {
  return RunHostCall(number, std::to_array(args));
}

bool SystrapContext::ReadStub(uint64_t address, Bytes to) {
  SharedContext& s = turns_.shared();
  if (to.size() > sizeof(s.buffer)) return false;
  auto left = Op(Command::kCopyFromGuest, {address, to.size()});
  if (!left.ok() || *left != 0) return false;
  std::memcpy(to.data(), s.buffer, to.size());
  return true;
}

bool SystrapContext::WriteStub(uint64_t address, ConstBytes from) {
  SharedContext& s = turns_.shared();
  if (from.size() > sizeof(s.buffer)) return false;
  std::memcpy(s.buffer, from.data(), from.size());
  auto left = Op(Command::kCopyToGuest, {address, from.size()});
  return left.ok() && *left == 0;
}

// The stub thread copies faster than the host does between processes, if it is awake.
bool SystrapContext::UseOp(size_t size) {
  return size <= sizeof(SharedContext::buffer) && !turns_.Asleep();
}

size_t SystrapContext::CopyIn(UserAddr src, Bytes dst) {
  if (!UseOp(dst.size())) return address_space().CopyIn(src, dst);
  const size_t size = ClampToApplication(src, dst.size());
  if (size == 0) return 0;
  auto left = Op(Command::kCopyFromGuest, {src.value, size});
  if (!left.ok() || *left > size) return 0;
  const size_t done = size - *left;
  std::memcpy(dst.data(), turns_.shared().buffer, done);
  if (const Patcher* patcher = Space().patcher()) patcher->Repair(src, dst.first(done));
  return done;
}

size_t SystrapContext::CopyOut(UserAddr dst, ConstBytes src) {
  if (!UseOp(src.size())) return address_space().CopyOut(dst, src);
  const size_t size = ClampToApplication(dst, src.size());
  if (size == 0) return 0;
  std::memcpy(turns_.shared().buffer, src.data(), size);
  auto left = Op(Command::kCopyToGuest, {dst.value, size});
  if (!left.ok() || *left > size) return 0;
  return size - *left;
}

Result<uint32_t> SystrapContext::Load32(UserAddr addr) {
  if (!IsUserWord(addr)) return Errno::kEFAULT;
  const uint64_t word = TRY(Op(Command::kLoad, {addr.value}));
  if (word == kNoWord) return Errno::kEFAULT;
  return static_cast<uint32_t>(word);
}

Result<uint32_t> SystrapContext::CompareExchange32(UserAddr addr, uint32_t expected,
                                                   uint32_t desired) {
  if (!IsUserWord(addr)) return Errno::kEFAULT;
  const uint64_t word = TRY(Op(Command::kCompareExchange, {addr.value, expected, desired}));
  if (word == kNoWord) return Errno::kEFAULT;
  return static_cast<uint32_t>(word);
}

Result<std::vector<std::byte>> SystrapContext::GetFpState() {
  const arch::XstateLayout& host = arch::HostXstate();
  const uint64_t size = TRY(Op(Command::kGetVectorState, {host.size, host.features}));
  SharedContext& s = turns_.shared();
  if (size < arch::kMinXstateSize || size > sizeof(s.buffer)) return Errno::kEIO;
  return std::vector<std::byte>(s.buffer, s.buffer + size);
}

Result<void> SystrapContext::SetFpState(ConstBytes xstate) {
  std::vector<std::byte> full = TRY(GetFpState());
  if (xstate.size() < arch::kMinXstateSize || xstate.size() > full.size()) return Errno::kEINVAL;
  TRY(arch::CheckXstate(xstate));
  std::copy(xstate.begin(), xstate.end(), full.begin());
  std::memcpy(turns_.shared().buffer, full.data(), full.size());
  if (TRY(Op(Command::kSetVectorState, {full.size(), arch::HostXstate().features})) != 0)
    return Errno::kEIO;
  return Ok();
}

Result<void> SystrapContext::ResetFpState() { return SetFpState(arch::InitialXstate()); }

}  // namespace sandboxd::platform::systrap
