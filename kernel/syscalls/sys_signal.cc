// Signals: sigaction(2), sigprocmask(2), kill(2), sigaltstack(2) and relatives.
#include <signal.h>

#include "kernel/syscalls/deadlines.h"
#include "kernel/syscalls/families.h"
#include "kernel/task/session.h"

namespace sandboxd::syscalls {
namespace {

using signal::SigAction;
using signal::SigInfo;
using signal::SigSet;

bool IsValid(int32_t signo) { return signo >= 1 && signo <= signal::kSignalCount; }

Result<void> CheckSetSize(uint64_t size) {
  return size == sizeof(SigSet) ? Ok() : Result<void>(Errno::kEINVAL);
}

// --- actions and masks ---

Result<void> SysRtSigaction(Task& t, Signo signo, UserIn<SigAction> act, UserOut<SigAction> old,
                            uint64_t size) {
  TRY(CheckSetSize(size));
  SigAction action;
  if (!act.null()) action = TRY(act.Read(t));
  if (!IsValid(signo.value)) return Errno::kEINVAL;
  if (!act.null() && signal::kUnblockable.Has(signo.value)) return Errno::kEINVAL;
  SigAction before = TRY(t.SetSignalAction(signo.value, act.null() ? nullptr : &action));
  if (!old.null()) TRY(old.Write(t, before));
  return Ok();
}

Result<void> SysRtSigprocmask(Task& t, int32_t how, UserIn<SigSet> set, UserOut<SigSet> old,
                              uint64_t size) {
  TRY(CheckSetSize(size));
  SigSet before = t.signal_mask();
  if (!set.null()) {
    SigSet change = TRY(set.Read(t));
    switch (how) {
      case SIG_BLOCK:
        t.set_signal_mask(before | change);
        break;
      case SIG_UNBLOCK:
        t.set_signal_mask(before & ~change);
        break;
      case SIG_SETMASK:
        t.set_signal_mask(change);
        break;
      default:
        return Errno::kEINVAL;
    }
  }
  if (!old.null()) TRY(old.Write(t, before));
  return Ok();
}

Result<void> SysRtSigpending(Task& t, UserAddr set, uint64_t size) {
  if (size > sizeof(SigSet)) return Errno::kEINVAL;
  SigSet pending = (t.pending_signals() | t.group().pending_signals()) & t.signal_mask();
  return t.memory().CopyOut(set, AsBytes(pending).first(size));
}

Result<void> SysRtSigsuspend(Task& t, UserIn<SigSet> set, uint64_t size) {
  TRY(CheckSetSize(size));
  t.SetTemporarySignalMask(TRY(set.Read(t)) & ~signal::kUnblockable);
  // Only a signal ends it; Block returns OK for wake-ups that nobody meant for this call.
  while (t.Block(std::nullopt).ok()) continue;
  return Errno::kERESTARTNOHAND;
}

Result<void> SysPause(Task& t) {
  while (t.Block(std::nullopt).ok()) continue;
  return Errno::kERESTARTNOHAND;
}

Result<uint64_t> SysRtSigtimedwait(Task& t, UserIn<SigSet> set, UserOut<SigInfo> out,
                                   UserAddr timeout, uint64_t size) {
  TRY(CheckSetSize(size));
  SigSet wanted = TRY(set.Read(t));
  wait::Deadline deadline = TRY(ReadRelativeTimeout(t, timeout));
  SigInfo info = TRY(t.WaitForSignal(wanted, deadline));
  if (!out.null()) TRY(out.Write(t, info));
  return static_cast<uint64_t>(info.signo);
}

Result<uint64_t> SysRtSigreturn(Task& t) { return t.ReturnFromSignal(); }
Result<uint64_t> SysRestartSyscall(Task& t) { return t.RunRestart(); }

// --- sending ---

Result<void> SysKill(Task& t, int32_t pid, int32_t signo) { return task::Kill(t, pid, signo); }

// `tgid` 0: whatever process the thread is in.
Result<void> SendToThread(Task& t, int32_t tgid, int32_t tid, int32_t signo,
                          const SigInfo* given = nullptr) {
  Ref<Task> target = TRY(task::FindThread(t, Tid(tid)));
  if (tgid != 0 && target->group().TgidIn(*t.pid_ns()) != Tid(tgid)) return Errno::kESRCH;
  if (signo < 0 || signo > signal::kSignalCount) return Errno::kEINVAL;
  TRY(task::MaySignal(t, target->group(), signo));
  if (signo == 0) return Ok();
  return target->SendSignal(
      given != nullptr ? *given : task::SignalFrom(t, target->group(), signo, SI_TKILL));
}

Result<void> SysTkill(Task& t, int32_t tid, int32_t signo) {
  if (tid <= 0) return Errno::kEINVAL;
  return SendToThread(t, 0, tid, signo);
}

Result<void> SysTgkill(Task& t, int32_t tgid, int32_t tid, int32_t signo) {
  if (tgid <= 0 || tid <= 0) return Errno::kEINVAL;
  return SendToThread(t, tgid, tid, signo);
}

// sigqueue(3): a program can't pretend to be the kernel, or kill(2), except to itself.
Result<SigInfo> ReadQueueInfo(Task& t, UserIn<SigInfo> uinfo, int32_t pid, int32_t signo) {
  SigInfo info = TRY(uinfo.Read(t));
  if ((info.code >= 0 || info.code == SI_TKILL) && t.tgid() != Tid(pid)) return Errno::kEPERM;
  info.signo = signo;
  return info;
}

Result<void> SysRtSigqueueinfo(Task& t, int32_t pid, int32_t signo, UserIn<SigInfo> uinfo) {
  SigInfo info = TRY(ReadQueueInfo(t, uinfo, pid, signo));
  Ref<task::ThreadGroup> group = TRY(task::FindProcess(t, Tid(pid)));
  if (signo < 0 || signo > signal::kSignalCount) return Errno::kEINVAL;
  TRY(task::MaySignal(t, *group, signo));
  if (signo == 0) return Ok();
  return group->SendSignal(info);
}

Result<void> SysRtTgsigqueueinfo(Task& t, int32_t tgid, int32_t tid, int32_t signo,
                                 UserIn<SigInfo> uinfo) {
  if (tgid <= 0 || tid <= 0) return Errno::kEINVAL;
  SigInfo info = TRY(ReadQueueInfo(t, uinfo, tgid, signo));
  return SendToThread(t, tgid, tid, signo, &info);
}

// --- the alternate stack ---

constexpr uint32_t kAutodisarm = 1U << 31;  // SS_AUTODISARM
constexpr uint64_t kMinStack = 2048;        // MINSIGSTKSZ of the ABI

Result<void> SysSigaltstack(Task& t, UserIn<Task::AltStack> set, UserOut<Task::AltStack> old) {
  Task::AltStack wanted;
  if (!set.null()) wanted = TRY(set.Read(t));
  const bool on_it = t.OnAltStack(t.registers().sp());
  Task::AltStack before = t.altstack;
  if (on_it) before.flags |= SS_ONSTACK;
  if (!set.null()) {
    if (on_it) return Errno::kEPERM;
    const uint32_t mode = static_cast<uint32_t>(wanted.flags) & ~kAutodisarm;
    if (mode != SS_DISABLE && mode != SS_ONSTACK && mode != 0) return Errno::kEINVAL;
    if (mode == SS_DISABLE) {
      wanted.sp = wanted.size = 0;
    } else {
      if (wanted.size < kMinStack) return Errno::kENOMEM;
      wanted.flags = static_cast<int32_t>(static_cast<uint32_t>(wanted.flags) & kAutodisarm);
    }
    wanted.pad = 0;
    t.altstack = wanted;
  }
  if (!old.null()) TRY(old.Write(t, before));
  return Ok();
}

constexpr Row kRows[] = {
    Full<SysRtSigaction>(SYS_rt_sigaction, "rt_sigaction"),
    Full<SysRtSigprocmask>(SYS_rt_sigprocmask, "rt_sigprocmask"),
    Full<SysRtSigpending>(SYS_rt_sigpending, "rt_sigpending"),
    Full<SysRtSigsuspend>(SYS_rt_sigsuspend, "rt_sigsuspend"),
    Full<SysRtSigtimedwait>(SYS_rt_sigtimedwait, "rt_sigtimedwait"),
    Full<SysRtSigreturn>(SYS_rt_sigreturn, "rt_sigreturn"),
    Full<SysRestartSyscall>(SYS_restart_syscall, "restart_syscall"),
    Full<SysPause>(SYS_pause, "pause"),
    Full<SysKill>(SYS_kill, "kill"),
    Full<SysTkill>(SYS_tkill, "tkill"),
    Full<SysTgkill>(SYS_tgkill, "tgkill"),
    Full<SysRtSigqueueinfo>(SYS_rt_sigqueueinfo, "rt_sigqueueinfo"),
    Full<SysRtTgsigqueueinfo>(SYS_rt_tgsigqueueinfo, "rt_tgsigqueueinfo"),
    Full<SysSigaltstack>(SYS_sigaltstack, "sigaltstack"),
};

}  // namespace

std::span<const Row> SignalRows() { return kRows; }

}  // namespace sandboxd::syscalls
