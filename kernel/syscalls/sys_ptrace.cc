// ptrace(2): requests are decoded here; what they do is in kernel/task/ptrace.h.
#include <asm/ptrace-abi.h>
#include <elf.h>
#include <linux/audit.h>
#include <linux/ptrace.h>
#include <sys/user.h>

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "kernel/mm/memory_manager.h"
#include "kernel/mm/user_memory.h"
#include "kernel/syscalls/families.h"
#include "kernel/task/access/ptrace_access.h"
#include "kernel/task/ptrace.h"
#include "kernel/task/session.h"
#include "platform/arch/xstate.h"

namespace sandboxd::syscalls {
namespace {

using arch::Registers;
using Resume = task::TraceState::Resume;
using Phase = task::TraceState::Phase;

constexpr uint64_t kPtraceTraceme = 0, kPeekText = 1, kPeekData = 2, kPeekUser = 3;
constexpr uint64_t kPokeText = 4, kPokeData = 5, kPokeUser = 6, kCont = 7, kKill = 8;
constexpr uint64_t kSingleStep = 9, kGetFpRegs = 14, kSetFpRegs = 15;
constexpr uint64_t kAttach = 16, kDetach = 17, kSyscall = 24, kArchPrctl = 30;
constexpr uint64_t kArchSetGs = 0x1001, kArchSetFs = 0x1002, kArchGetFs = 0x1003,
                   kArchGetGs = 0x1004;
constexpr uint64_t kGetSigMask = 0x420a, kSetSigMask = 0x420b;

constexpr uint64_t kUserSize = sizeof(user);
constexpr uint64_t kDebugRegisters = offsetof(user, u_debugreg);
static_assert(kUserSize == 912);

Result<uint64_t> Zero(Result<void> r) {
  TRY(std::move(r));
  return uint64_t{0};
}

// --- memory ---

Result<uint64_t> Peek(Task& t, Task& tracee, uint64_t addr, uint64_t data) {
  TRY(task::PtraceCheckStopped(t, tracee));
  Ref<mm::MemoryManager> mm = tracee.mm();
  uint64_t word = 0;
  if (mm == nullptr ||
      task::PtraceReadMemory(t, *mm, UserAddr(addr), AsWritableBytes(word)) != sizeof(word)) {
    return Errno::kEIO;
  }
  return Zero(t.memory().Write(UserAddr(data), word));
}

Result<uint64_t> Poke(Task& t, Task& tracee, uint64_t addr, uint64_t word) {
  TRY(task::PtraceCheckStopped(t, tracee));
  Ref<mm::MemoryManager> mm = tracee.mm();
  if (mm == nullptr ||
      task::PtraceWriteMemory(t, *mm, UserAddr(addr), AsBytes(word)) != sizeof(word)) {
    return Errno::kEIO;
  }
  return uint64_t{0};
}

// --- registers ---

bool IsUserWordOffset(uint64_t addr) { return addr % sizeof(uint64_t) == 0 && addr < kUserSize; }

Result<uint64_t> PeekUser(Task& t, Task& tracee, uint64_t addr, uint64_t data) {
  Registers regs = TRY(task::PtraceGetRegisters(t, tracee));
  if (!IsUserWordOffset(addr)) return Errno::kEIO;
  uint64_t word = 0;  // debug registers, and what Linux leaves empty
  if (addr < sizeof(regs)) {
    std::memcpy(&word, reinterpret_cast<const char*>(&regs) + addr, sizeof(word));
  }
  return Zero(t.memory().Write(UserAddr(data), word));
}

Result<uint64_t> PokeUser(Task& t, Task& tracee, uint64_t addr, uint64_t word) {
  Registers regs = TRY(task::PtraceGetRegisters(t, tracee));
  if (!IsUserWordOffset(addr)) return Errno::kEIO;
  if (addr < sizeof(regs)) {
    std::memcpy(reinterpret_cast<char*>(&regs) + addr, &word, sizeof(word));
    return Zero(task::PtraceSetRegisters(t, tracee, regs));
  }
  // There are no debug registers: they can only be cleared.
  if (addr < kDebugRegisters || word != 0) return Errno::kEIO;
  return uint64_t{0};
}

Result<uint64_t> SetRegisters(Task& t, Task& tracee, uint64_t data) {
  TRY(task::PtraceCheckStopped(t, tracee));
  Registers regs = TRY(t.memory().Read<Registers>(UserAddr(data)));
  return Zero(task::PtraceSetRegisters(t, tracee, regs));
}

Result<uint64_t> GetFpRegisters(Task& t, Task& tracee, uint64_t data) {
  auto state = TRY(task::PtraceGetXstate(t, tracee));
  return Zero(t.memory().CopyOut(UserAddr(data), ConstBytes(state).first(arch::kFxsaveSize)));
}

Result<void> SetLegacyState(Task& t, Task& tracee, ConstBytes legacy) {
  auto state = TRY(task::PtraceGetXstate(t, tracee));
  std::copy(legacy.begin(), legacy.end(), state.begin());
  // It says what x87 and SSE are now.
  uint64_t present;
  std::memcpy(&present, state.data() + arch::kXstateBvOffset, sizeof(present));
  present |= arch::kXfeatureX87 | arch::kXfeatureSse;
  std::memcpy(state.data() + arch::kXstateBvOffset, &present, sizeof(present));
  return task::PtraceSetXstate(t, tracee, std::move(state));
}

Result<uint64_t> SetFpRegisters(Task& t, Task& tracee, uint64_t data) {
  TRY(task::PtraceCheckStopped(t, tracee));
  auto legacy = TRY(t.memory().ReadArray<std::byte>(UserAddr(data), arch::kFxsaveSize));
  return Zero(SetLegacyState(t, tracee, legacy));
}

Result<std::vector<std::byte>> GetSet(Task& t, Task& tracee, uint64_t type) {
  switch (type) {
    case NT_PRSTATUS: {
      Registers regs = TRY(task::PtraceGetRegisters(t, tracee));
      ConstBytes bytes = AsBytes(regs);
      return std::vector<std::byte>(bytes.begin(), bytes.end());
    }
    case NT_PRFPREG: {
      auto state = TRY(task::PtraceGetXstate(t, tracee));
      state.resize(arch::kFxsaveSize);
      return state;
    }
    case NT_X86_XSTATE:
      return task::PtraceGetXstate(t, tracee);
    default:
      TRY(task::PtraceCheckStopped(t, tracee));
      return Errno::kEINVAL;
  }
}

Result<void> SetSet(Task& t, Task& tracee, uint64_t type, ConstBytes bytes) {
  switch (type) {
    case NT_PRSTATUS: {
      Registers regs = TRY(task::PtraceGetRegisters(t, tracee));
      Bytes all = AsWritableBytes(regs);
      size_t n = std::min(bytes.size(), all.size());
      std::copy_n(bytes.begin(), n, all.begin());
      return task::PtraceSetRegisters(t, tracee, regs);
    }
    case NT_PRFPREG:
      if (bytes.size() != arch::kFxsaveSize) return Errno::kEINVAL;
      return SetLegacyState(t, tracee, bytes);
    case NT_X86_XSTATE: {
      auto state = TRY(task::PtraceGetXstate(t, tracee));
      if (bytes.size() != state.size()) return Errno::kEFAULT;
      return task::PtraceSetXstate(t, tracee, {bytes.begin(), bytes.end()});
    }
    default:
      return Errno::kEINVAL;
  }
}

// PTRACE_GETREGSET and SETREGSET.
Result<uint64_t> RegisterSet(Task& t, Task& tracee, bool set, uint64_t type, uint64_t data) {
  TRY(task::PtraceCheckStopped(t, tracee));
  auto iov = TRY(t.memory().Read<mm::IoVec>(UserAddr(data)));
  auto current = TRY(GetSet(t, tracee, type));
  if (iov.len % sizeof(uint64_t) != 0) return Errno::kEINVAL;
  iov.len = std::min<uint64_t>(iov.len, current.size());
  if (set) {
    auto bytes = TRY(t.memory().ReadArray<std::byte>(UserAddr(iov.base), iov.len));
    TRY(SetSet(t, tracee, type, bytes));
  } else {
    TRY(t.memory().CopyOut(UserAddr(iov.base), ConstBytes(current).first(iov.len)));
  }
  return Zero(t.memory().Write(UserAddr(data), iov));
}

Result<uint64_t> ArchPrctl(Task& t, Task& tracee, uint64_t addr, uint64_t code) {
  Registers regs = TRY(task::PtraceGetRegisters(t, tracee));
  switch (code) {
    case kArchGetFs:
      return Zero(t.memory().Write(UserAddr(addr), regs.fs_base));
    case kArchGetGs:
      return Zero(t.memory().Write(UserAddr(addr), regs.gs_base));
    case kArchSetFs:
      regs.fs_base = addr;
      break;
    case kArchSetGs:
      regs.gs_base = addr;
      break;
    default:
      return Errno::kEINVAL;
  }
  if (addr >= mm::kTaskSize.value) return Errno::kEPERM;
  return Zero(task::PtraceSetRegisters(t, tracee, regs));
}

// --- the stop ---

Result<uint64_t> SetSigInfo(Task& t, Task& tracee, uint64_t data) {
  TRY(task::PtraceCheckStopped(t, tracee));
  auto info = TRY(t.memory().Read<signal::SigInfo>(UserAddr(data)));
  return Zero(task::PtraceSetSigInfo(t, tracee, info));
}

Result<uint64_t> SigMask(Task& t, Task& tracee, bool set, uint64_t size, uint64_t data) {
  TRY(task::PtraceCheckStopped(t, tracee));
  if (size != sizeof(signal::SigSet)) return Errno::kEINVAL;
  if (set) {
    auto mask = TRY(t.memory().Read<signal::SigSet>(UserAddr(data)));
    return Zero(task::PtraceSetSigMask(t, tracee, mask));
  }
  auto mask = TRY(task::PtraceGetSigMask(t, tracee));
  return Zero(t.memory().Write(UserAddr(data), mask));
}

// PTRACE_GET_SYSCALL_INFO: the size of what there is, however much of it was asked for.
Result<uint64_t> SyscallInfo(Task& t, Task& tracee, uint64_t room, uint64_t data) {
  task::PtraceCall call = TRY(task::PtraceGetCall(t, tracee));
  ptrace_syscall_info info;
  std::memset(&info, 0, sizeof(info));
  info.arch = AUDIT_ARCH_X86_64;
  info.instruction_pointer = call.regs.ip();
  info.stack_pointer = call.regs.sp();
  size_t size = offsetof(ptrace_syscall_info, entry);
  switch (call.phase) {
    case Phase::kNone:
      info.op = PTRACE_SYSCALL_INFO_NONE;
      break;
    case Phase::kEntry:
      info.op = PTRACE_SYSCALL_INFO_ENTRY;
      info.entry.nr = call.regs.syscall_number();
      for (int i = 0; i < 6; i++) info.entry.args[i] = call.regs.syscall_arg(i);
      size = offsetof(ptrace_syscall_info, entry.args) + sizeof(info.entry.args);
      break;
    case Phase::kExit: {
      info.op = PTRACE_SYSCALL_INFO_EXIT;
      const int64_t value = static_cast<int64_t>(call.regs.return_value());
      info.exit.rval = value;
      info.exit.is_error = value < 0 && value >= -4095;
      size = offsetof(ptrace_syscall_info, exit.is_error) + sizeof(info.exit.is_error);
      break;
    }
    case Phase::kSeccomp:
      info.op = PTRACE_SYSCALL_INFO_SECCOMP;
      info.seccomp.nr = call.regs.syscall_number();
      for (int i = 0; i < 6; i++) info.seccomp.args[i] = call.regs.syscall_arg(i);
      info.seccomp.ret_data = static_cast<uint32_t>(call.message);
      size = offsetof(ptrace_syscall_info, seccomp.ret_data) + sizeof(info.seccomp.ret_data);
      break;
  }
  TRY(t.memory().CopyOut(UserAddr(data), AsBytes(info).first(std::min<uint64_t>(room, size))));
  return uint64_t{size};
}

// --- requests ---

Result<uint64_t> Attach(Task& t, Task& target, bool seize, uint64_t addr, uint64_t data) {
  if (seize && addr != 0) return Errno::kEIO;
  if (&target.group() == &t.group()) return Errno::kEPERM;
  TRY(task::CheckPtraceAccess(t, target, task::PtraceMode::kAttachReal));
  return Zero(task::PtraceAttach(t, target, seize, seize ? data : 0));
}

Result<uint64_t> OnTracee(Task& t, Task& tracee, uint64_t request, uint64_t addr, uint64_t data) {
  switch (request) {
    case kPeekText:
    case kPeekData:
      return Peek(t, tracee, addr, data);
    case kPokeText:
    case kPokeData:
      return Poke(t, tracee, addr, data);
    case kPeekUser:
      return PeekUser(t, tracee, addr, data);
    case kPokeUser:
      return PokeUser(t, tracee, addr, data);
    case kCont:
      return Zero(task::PtraceResume(t, tracee, Resume::kContinue, data));
    case kSyscall:
      return Zero(task::PtraceResume(t, tracee, Resume::kSyscall, data));
    case kSingleStep:
      return Zero(task::PtraceResume(t, tracee, Resume::kStep, data));
    case PTRACE_SYSEMU:
      return Zero(task::PtraceResume(t, tracee, Resume::kSysemu, data));
    case PTRACE_SYSEMU_SINGLESTEP:
      return Zero(task::PtraceResume(t, tracee, Resume::kSysemuStep, data));
    case kKill:
      return Zero(task::PtraceKill(t, tracee));
    case kDetach:
      return Zero(task::PtraceDetach(t, tracee, data));
    case PTRACE_INTERRUPT:
      return Zero(task::PtraceInterrupt(t, tracee));
    case PTRACE_LISTEN:
      return Zero(task::PtraceListen(t, tracee));
    case PTRACE_SETOPTIONS:
      return Zero(task::PtraceSetOptions(t, tracee, data));
    case PTRACE_GETEVENTMSG:
      return Zero(t.memory().Write(UserAddr(data), TRY(task::PtraceGetMessage(t, tracee))));
    case PTRACE_GETSIGINFO:
      return Zero(t.memory().Write(UserAddr(data), TRY(task::PtraceGetSigInfo(t, tracee))));
    case PTRACE_SETSIGINFO:
      return SetSigInfo(t, tracee, data);
    case kGetSigMask:
      return SigMask(t, tracee, false, addr, data);
    case kSetSigMask:
      return SigMask(t, tracee, true, addr, data);
    case PTRACE_GETREGS:
      return Zero(t.memory().Write(UserAddr(data), TRY(task::PtraceGetRegisters(t, tracee))));
    case PTRACE_SETREGS:
      return SetRegisters(t, tracee, data);
    case kGetFpRegs:
      return GetFpRegisters(t, tracee, data);
    case kSetFpRegs:
      return SetFpRegisters(t, tracee, data);
    case PTRACE_GETREGSET:
      return RegisterSet(t, tracee, false, addr, data);
    case PTRACE_SETREGSET:
      return RegisterSet(t, tracee, true, addr, data);
    case PTRACE_GET_SYSCALL_INFO:
      return SyscallInfo(t, tracee, addr, data);
    case kArchPrctl:
      return ArchPrctl(t, tracee, addr, data);
    default:
      TRY(task::PtraceCheckStopped(t, tracee));
      return Errno::kEIO;
  }
}

Result<uint64_t> SysPtrace(Task& t, uint64_t request, Tid pid, uint64_t addr, uint64_t data) {
  if (request == kPtraceTraceme) return Zero(task::PtraceTraceme(t));
  Ref<Task> target = TRY(task::FindThread(t, pid));
  if (request == kAttach) return Attach(t, *target, false, addr, data);
  if (request == PTRACE_SEIZE) return Attach(t, *target, true, addr, data);
  return OnTracee(t, *target, request, addr, data);
}

constexpr Row kRows[] = {
    Partial<SysPtrace>(SYS_ptrace, "ptrace",
                       "no debug registers, PEEKSIGINFO, SECCOMP_GET_FILTER, SINGLEBLOCK or "
                       "O_SUSPEND_SECCOMP"),
};

}  // namespace

std::span<const Row> PtraceRows() { return kRows; }

}  // namespace sandboxd::syscalls
