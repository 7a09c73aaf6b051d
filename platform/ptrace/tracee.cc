#include "platform/ptrace/tracee.h"

#include <elf.h>
#include <linux/audit.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>

#include "platform/arch/fault.h"
#include "platform/base/log.h"
#include "platform/stub/host_result.h"
#include "platform/stub/snippets_stub.h"

namespace sandboxd::platform::ptrace {
namespace {

static_assert(sizeof(arch::Registers) == sizeof(user_regs_struct));
static_assert(offsetof(arch::Registers, orig_rax) == offsetof(user_regs_struct, orig_rax));
static_assert(offsetof(arch::Registers, gs) == offsetof(user_regs_struct, gs));

// Makes a running stub thread stop. Any other that comes from outside is dropped, and so is this
// one if it comes late.
constexpr int kInterruptSignal = SIGUSR1;

// orig_rax of a thread that is not in a system call: the host then restarts nothing.
constexpr uint64_t kNoSyscall = ~uint64_t{0};

constexpr uint64_t kUserCs = 0x33;
constexpr uint64_t kTrapFlag = 0x100;
constexpr uint64_t kResumeFlag = 0x10000;

template <typename A, typename D>
long Ptrace(int request, pid_t tid, A address, D data) {
  return syscall(SYS_ptrace, request, tid, address, data);
}

}  // namespace

Result<void> Tracee::Attach(bool drop_socket) {
  if (Ptrace(PTRACE_SEIZE, tid_, 0, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL) != 0) {
    return FromHostErrno(errno);
  }
  if (Ptrace(PTRACE_INTERRUPT, tid_, 0, 0) != 0) return FromHostErrno(errno);
  HostStop stop = Wait();
  // A stray signal may come first; the stop that we asked for is then still to come.
  while (!stop.dead && stop.signal != 0 && Resume(PTRACE_CONT)) stop = Wait();
  if (stop.dead || dead_) return Errno::kESRCH;
  arch::Registers regs;
  if (!drop_socket) return Ok();
  if (!Fetch(regs)) return Errno::kESRCH;
  const uint64_t ip = regs.rip - layout_.code();
  if (ip >= stub::OffsetOf(sandboxd_stub_isolated) && ip < stub::OffsetOf(sandboxd_stub_park_end)) {
    return Ok();
  }
  // EBADF if it had none: nothing to drop then.
  if (auto closed = HostCall(SYS_close, {SANDBOXD_STUB_SOCKET, 0, 0, 0, 0, 0});
      closed.Is(Errno::kESRCH)) {
    return Errno::kESRCH;
  }
  return Ok();
}

void Tracee::Park() {
  if (dead_) return;
  arch::Registers regs =
      arch::InitialRegisters(layout_.code() + stub::OffsetOf(sandboxd_stub_park), 0);
  if (Load(regs)) Ptrace(PTRACE_DETACH, tid_, 0, 0);
}

Tracee::HostStop Tracee::Wait() {
  siginfo_t info;
  for (;;) {
    // WNOWAIT: a dead stub stays a zombie, and its number is not given to another, until its owner
    // reaps it. A stop needs no consuming: resuming ends it.
    info.si_pid = 0;
    if (waitid(P_PID, static_cast<id_t>(tid_), &info, WEXITED | WSTOPPED | WNOWAIT | __WALL) == 0) {
      break;
    }
    if (errno != EINTR) {
      LOG_ERROR("ptrace: waiting for stub %d failed with error %d", tid_, errno);
      info.si_code = CLD_KILLED;
      break;
    }
  }
  HostStop stop;
  if (info.si_code != CLD_TRAPPED) {
    dead_ = true;
    stop.dead = true;
  } else if (info.si_status == (SIGTRAP | 0x80)) {
    stop.syscall = true;
  } else if ((info.si_status >> 8) == 0) {
    stop.signal = info.si_status;
  }
  return stop;
}

// The three steps fail only if the stub has been killed meanwhile.
bool Tracee::Load(const arch::Registers& regs) {
  if (loaded_valid_ && std::memcmp(&regs, &loaded_, sizeof(regs)) == 0) return true;
  loaded_valid_ = Ptrace(PTRACE_SETREGS, tid_, 0, &regs) == 0;
  if (loaded_valid_) loaded_ = regs;
  return loaded_valid_;
}

bool Tracee::Fetch(arch::Registers& regs) {
  loaded_valid_ = Ptrace(PTRACE_GETREGS, tid_, 0, &regs) == 0;
  if (loaded_valid_) loaded_ = regs;
  return loaded_valid_;
}

bool Tracee::Resume(int request) {
  loaded_valid_ = false;
  return Ptrace(request, tid_, 0, 0) == 0;
}

void Tracee::Interrupt() {
  wanted_.store(true, std::memory_order_seq_cst);
  if (running_.load(std::memory_order_seq_cst)) syscall(SYS_tgkill, tid_, tid_, kInterruptSignal);
}

// `int $0x80`, `sysenter` and any call from a 32-bit segment arrive like the `syscall` instruction,
// which is known by what it leaves in rcx and r11. A program that imitates that fools only itself:
// its call is then taken for one of the 64-bit table.
bool Tracee::IsForeignCall(const arch::Registers& regs) const {
  if (regs.cs != kUserCs) return true;
  constexpr uint64_t kIgnored = kTrapFlag | kResumeFlag;
  if (regs.rcx == regs.rip && (regs.r11 & ~kIgnored) == (regs.eflags & ~kIgnored)) return false;
  __ptrace_syscall_info info{};
  if (Ptrace(PTRACE_GET_SYSCALL_INFO, tid_, sizeof(info), &info) <= 0) return false;
  return info.arch != AUDIT_ARCH_X86_64;
}

Stop Tracee::Run(arch::Registers& regs, StepMode step) {
  constexpr Stop kDead{Stop::Kind::kDead, {}};
  constexpr Stop kInterrupted{Stop::Kind::kInterrupt, {}};
  if (dead_) return kDead;
  running_.store(true, std::memory_order_seq_cst);
  struct NotRunning {
    std::atomic<bool>& flag;
    ~NotRunning() { flag.store(false, std::memory_order_seq_cst); }
  } not_running{running_};
  if (wanted_.exchange(false, std::memory_order_seq_cst)) return kInterrupted;

  arch::Registers start = regs;
  start.orig_rax = kNoSyscall;
  if (!Load(start)) {
    if (errno == ESRCH) return Wait(), kDead;
    // The host refuses registers that no user thread can have.
    return {Stop::Kind::kFault, arch::GeneralProtection()};
  }
  const int request = step == StepMode::kRun ? PTRACE_SYSEMU : PTRACE_SYSEMU_SINGLESTEP;
  for (;;) {
    HostStop stop;
    if (!Resume(request) || (stop = Wait()).dead) {
      if (!stop.dead) Wait();
      return kDead;
    }
    if (stop.syscall) {
      if (!Fetch(regs)) return Wait(), kDead;
      if (!IsForeignCall(regs)) return {Stop::Kind::kSyscall, {}};
      return {Stop::Kind::kFault, arch::UndoForeignCall(regs)};
    }
    if (stop.signal == kInterruptSignal) {
      if (!wanted_.exchange(false, std::memory_order_seq_cst)) continue;
      if (!Fetch(regs)) return Wait(), kDead;
      regs.orig_rax = kNoSyscall;
      return kInterrupted;
    }
    if (!arch::IsFaultSignal(stop.signal)) continue;
    siginfo_t info;
    if (Ptrace(PTRACE_GETSIGINFO, tid_, 0, &info) != 0) return Wait(), kDead;
    if (info.si_code <= 0) continue;  // sent by somebody, not raised by the processor
    if (!Fetch(regs)) return Wait(), kDead;
    return {Stop::Kind::kFault, arch::FaultFromSiginfo(info, regs)};
  }
}

Result<void> Tracee::RunSnippet(const char* snippet, arch::Registers& regs) {
  if (dead_) return Errno::kESRCH;
  const uint64_t start = layout_.code() + stub::OffsetOf(snippet);
  arch::Registers run = arch::InitialRegisters(start, 0);
  regs.rip = run.rip;
  regs.cs = run.cs;
  regs.ss = run.ss;
  regs.eflags = run.eflags;
  regs.orig_rax = kNoSyscall;
  if (!Load(regs)) return Wait(), Errno::kESRCH;
  for (;;) {
    if (!Resume(PTRACE_CONT)) return Wait(), Errno::kESRCH;
    HostStop stop = Wait();
    if (stop.dead) return Errno::kESRCH;
    if (stop.signal == SIGTRAP) break;
    if (stop.signal == SIGSEGV || stop.signal == SIGBUS) {
      // Sent from outside, it means nothing; raised here, the snippet has met memory that isn't
      // there.
      siginfo_t info;
      if (Ptrace(PTRACE_GETSIGINFO, tid_, 0, &info) != 0) return Wait(), Errno::kESRCH;
      if (info.si_code > 0) return Errno::kEFAULT;
    }
  }
  if (!Fetch(regs)) return Wait(), Errno::kESRCH;
  return Ok();
}

Result<uint64_t> Tracee::HostCall(long number, const uint64_t (&args)[6]) {
  arch::Registers regs;
  regs.rax = static_cast<uint64_t>(number);
  regs.rdi = args[0];
  regs.rsi = args[1];
  regs.rdx = args[2];
  regs.r10 = args[3];
  regs.r8 = args[4];
  regs.r9 = args[5];
  TRY(RunSnippet(sandboxd_stub_syscall, regs));
  return stub::HostResult(regs.rax);
}

Result<std::vector<std::byte>> Tracee::GetXstate() const {
  std::vector<std::byte> state(size_t{16} << 10);
  iovec iov{state.data(), state.size()};
  if (Ptrace(PTRACE_GETREGSET, tid_, NT_X86_XSTATE, &iov) != 0) return FromHostErrno(errno);
  state.resize(iov.iov_len);
  return state;
}

Result<void> Tracee::SetXstate(ConstBytes xstate) {
  iovec iov{const_cast<std::byte*>(xstate.data()), xstate.size()};
  if (Ptrace(PTRACE_SETREGSET, tid_, NT_X86_XSTATE, &iov) != 0) return FromHostErrno(errno);
  return Ok();
}

}  // namespace sandboxd::platform::ptrace
