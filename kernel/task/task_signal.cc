// What a task does with the signals it is sent: masks, stops, handlers, system call restarts.
#include <signal.h>
#include <sys/epoll.h>
#include <sys/syscall.h>

#include "kernel/task/process_timers.h"
#include "kernel/task/ptrace.h"
#include "kernel/task/task.h"
#include "platform/arch/signal_frame.h"
#include "platform/base/check.h"

namespace sandboxd::task {

namespace {

constexpr int32_t kSsAutodisarm = static_cast<int32_t>(1U << 31);  // linux/signal.h
constexpr uint64_t kSaRestorer = 0x04000000;

}  // namespace

using signal::DefaultAction;
using signal::SigAction;
using signal::SigInfo;
using signal::SigSet;

// --- state, under the signal mutex ---

bool Task::PokeIfWants(int signo) {
  if (exiting_ || kill_ || stopped_ || trace_.stopped || mask_.Has(signo)) return false;
  Poke();
  return true;
}

bool Task::WorkPendingLocked() const {
  if (kill_ || must_stop_ || trace_.trap_stop || group_->notify_code_ != 0) return true;
  return !((pending_.set() | group_->pending_.set()) & ~mask_).empty();
}

void Task::SetMaskLocked(SigSet mask) {
  mask = mask & ~signal::kUnblockable;
  SigSet newly_blocked = mask & ~mask_;
  mask_ = mask;
  real_mask_ = mask;
  // A signal of the process that chose this thread needs another one now.
  if (!newly_blocked.empty()) group_->RetargetLocked(newly_blocked, this);
  if (WorkPendingLocked()) word_.fetch_or(kInterrupted, std::memory_order_acq_rel);
}

SigSet Task::signal_mask() const {
  MutexLock lock(group_->signal_mutex_);
  return mask_;
}

void Task::set_signal_mask(SigSet mask) {
  MutexLock lock(group_->signal_mutex_);
  SetMaskLocked(mask);
}

void Task::SetTemporarySignalMask(SigSet mask) {
  MutexLock lock(group_->signal_mutex_);
  // Without a call in between that restored it, the oldest mask is the one to come back.
  if (!saved_mask_) saved_mask_ = mask_;
  SetMaskLocked(mask);
}

bool Task::SignalPending() const {
  MutexLock lock(group_->signal_mutex_);
  return kill_ || !((pending_.set() | group_->pending_.set()) & ~mask_).empty();
}

SigSet Task::pending_signals() const {
  MutexLock lock(group_->signal_mutex_);
  return pending_.set();
}

// --- sending to a thread ---

Result<void> Task::SendSignal(const SigInfo& info) {
  MutexLock lock(group_->signal_mutex_);
  if (exiting_) return Ok();
  return group_->SendLocked(info, this);
}

void Task::ForceSignal(const SigInfo& info) {
  MutexLock lock(group_->signal_mutex_);
  SigAction action = group_->handlers_->Get(info.signo);
  if (mask_.Has(info.signo) || action.is_ignore()) {
    group_->handlers_->Exchange(info.signo, SigAction{});
    mask_.Remove(info.signo);
    real_mask_.Remove(info.signo);
    action = {};
  }
  // Not even the init of a pid namespace survives a fault of its own without a handler.
  if (action.is_default()) forced_ = info.signo;
  // A standard signal that is pending already is replaced: this one must be seen.
  pending_.Discard(SigSet::Of(info.signo));
  pending_.Add(info, UINT64_MAX);
  word_.fetch_or(kInterrupted, std::memory_order_acq_rel);
}

void Task::SendSignalToSelf(int signo) { deferred_signals_.push_back(signo); }

void Task::FlushDeferredSignals() {
  for (int signo : deferred_signals_) {
    // Standard signals always have room.
    (void)SendSignal(
        SigInfo::User(signo, SI_USER, tgid().value, creds_->user_ns->FromKUid(creds_->ruid)));
  }
  deferred_signals_.clear();
}

Result<SigInfo> Task::WaitForSignal(SigSet wanted, wait::Deadline deadline) {
  wanted = wanted & ~signal::kUnblockable;
  auto take = [&]() REQUIRES(group_->signal_mutex_) {
    auto info = pending_.TakeOneOf(wanted);
    return info ? info : group_->pending_.TakeOneOf(wanted);
  };
  auto finish = [this](SigInfo info) {
    if (info.code == SI_TIMER) info.timer.overrun = group_->timers().TakeOverrun(info);
    return info;
  };
  SigSet mask;
  {
    MutexLock lock(group_->signal_mutex_);
    if (auto info = take()) return finish(*info);
    // While it sleeps the wanted signals are unblocked, so that one chooses this thread.
    mask = mask_;
    real_mask_ = mask_;
    mask_ = mask_ & ~wanted;
  }
  Result<void> slept = Ok();
  // Nobody wakes it but a signal.
  while (slept.ok()) slept = Block(deadline);
  MutexLock lock(group_->signal_mutex_);
  SetMaskLocked(mask);
  if (auto info = take()) return finish(*info);
  return slept.Is(Errno::kETIMEDOUT) ? Errno::kEAGAIN : Errno::kEINTR;
}

Result<SigAction> Task::SetSignalAction(int signo, const SigAction* action) {
  SigAction old = group_->handlers()->Get(signo);
  if (action == nullptr) return old;
  MutexLock lock(group_->signal_mutex_);
  SigAction cleaned = *action;
  cleaned.mask = cleaned.mask & ~signal::kUnblockable;
  old = group_->handlers_->Exchange(signo, cleaned);
  // POSIX: what becomes ignored is not pending any more.
  bool ignored = cleaned.is_ignore() ||
                 (cleaned.is_default() && signal::DefaultActionOf(signo) == DefaultAction::kIgnore);
  if (ignored) group_->DiscardLocked(SigSet::Of(signo));
  return old;
}

// --- receiving ---

// What HandleSignals does next; taken under the signal mutex, acted on without it.
struct Task::NextStep {
  enum class Kind : uint8_t { kEnd, kTellParent, kStop, kTrap, kTracedSignal, kSignal, kContinue };
  Kind kind = Kind::kContinue;
  int code = 0, status = 0;  // kTellParent
  SigInfo info;              // kSignal, kTracedSignal
  SigAction action;
};

Task::NextStep Task::TakeNextStep() {
  using Kind = NextStep::Kind;
  MutexLock lock(group_->signal_mutex_);
  word_.fetch_and(~kInterrupted, std::memory_order_acq_rel);
  if (kill_) return {.kind = Kind::kEnd};
  if (group_->notify_code_ != 0) {
    int code = group_->notify_code_;
    group_->notify_code_ = 0;
    return {.kind = Kind::kTellParent, .code = code, .status = group_->notify_status_};
  }
  if (must_stop_) return {.kind = Kind::kStop};
  if (trace_.trap_stop) return {.kind = Kind::kTrap};
  auto info = pending_.Take(mask_);
  if (!info) info = group_->pending_.Take(mask_);
  if (info && trace_.tracer != nullptr && info->signo != SIGKILL) {
    return {.kind = Kind::kTracedSignal, .info = *info};
  }
  if (info) {
    SigAction action = group_->handlers_->TakeForDelivery(info->signo);
    return {.kind = Kind::kSignal, .info = *info, .action = action};
  }
  // Nothing interrupts the call for good.
  RestartSyscall(nullptr);
  if (saved_mask_) {
    // It may unblock a signal: then kInterrupted is set and the loop comes back here.
    SetMaskLocked(*std::exchange(saved_mask_, std::nullopt));
  }
  return {};
}

bool Task::HandleSignals() {
  for (;;) {
    NextStep step = TakeNextStep();
    switch (step.kind) {
      case NextStep::Kind::kEnd:
        return false;
      case NextStep::Kind::kContinue:
        return true;
      case NextStep::Kind::kTellParent:
        group_->NotifyParentOfStop(step.code, step.status);
        break;
      case NextStep::Kind::kStop:
        StopHere();
        break;
      case NextStep::Kind::kTrap:
        PtraceTrapStop(*this);
        break;
      case NextStep::Kind::kTracedSignal:
        if (!HandleTracedSignal(step.info)) return false;
        break;
      case NextStep::Kind::kSignal:
        if (!HandleSignal(step.info, step.action)) return false;
        break;
    }
  }
}

bool Task::HandleTracedSignal(const SigInfo& info) {
  std::optional<SigInfo> chosen = PtraceSignalStop(*this, info);
  if (!chosen) {
    if (forced_ == info.signo) forced_ = 0;
    return true;
  }
  SigAction action;
  {
    MutexLock lock(group_->signal_mutex_);
    if (mask_.Has(chosen->signo)) {
      // The tracer has chosen one that has to wait.
      (void)pending_.Add(*chosen, UINT64_MAX);
      return true;
    }
    action = group_->handlers_->TakeForDelivery(chosen->signo);
  }
  return HandleSignal(*chosen, action);
}

bool Task::HandleSignal(SigInfo info, const SigAction& action) {
  if (info.code == SI_TIMER) info.timer.overrun = group_->timers().TakeOverrun(info);
  if (action.is_ignore()) return true;
  if (action.is_default()) return DoDefaultAction(info);
  RestartSyscall(&action);
  if (DeliverSignal(info, action)) {
    if (step_) PtraceSteppedIntoHandler(*this);
    return true;
  }
  if (info.signo == SIGSEGV) {
    // The handler's stack is bad, so there is nowhere to say that.
    group_->Kill({.signo = SIGSEGV});
    return false;
  }
  ForceSignal(SigInfo::Kernel(SIGSEGV));
  return true;
}

bool Task::DoDefaultAction(const SigInfo& info) {
  DefaultAction action = signal::DefaultActionOf(info.signo);
  if (action == DefaultAction::kIgnore || action == DefaultAction::kContinue) return true;
  // signal(7) and pid_namespaces(7): init gets only what it has handlers for, and what IsIgnored
  // let through from outside.
  bool forced = std::exchange(forced_, 0) == info.signo;
  if (group_->is_init_ && !forced && info.signo != SIGSTOP) return true;
  if (action == DefaultAction::kStop) {
    if (info.signo != SIGSTOP) {
      // A group that nobody could continue doesn't stop.
      MutexLock lock(kernel_.tree_mutex());
      if (group_->process_group_->IsOrphaned()) return true;
    }
    MutexLock lock(group_->signal_mutex_);
    // A SIGCONT or SIGKILL that came since then has the last word.
    if (kill_) return true;
    // A tracer had let it run on in a group-stop: it stops again.
    if (trace_.tracer != nullptr && group_->stop_state_ == ThreadGroup::StopState::kStopped) {
      group_->stop_state_ = ThreadGroup::StopState::kRunning;
    }
    group_->BeginStopLocked(info.signo);
    return true;
  }
  group_->Kill({.signo = info.signo});
  return false;
}

void Task::StopHere() {
  int status = 0;
  bool traced = false;
  {
    MutexLock lock(group_->signal_mutex_);
    if (!must_stop_ || kill_) return;
    must_stop_ = false;
    traced = trace_.tracer != nullptr;
    stopped_ = !traced;
    if (group_->CountStoppedLocked()) status = group_->stop_report_;
  }
  if (status != 0) group_->NotifyParentOfStop(CLD_STOPPED, status);
  if (traced) {
    PtraceTrapStop(*this);
    return;
  }
  for (;;) {
    word_.fetch_and(~(kInterrupted | kWoken), std::memory_order_acq_rel);
    {
      MutexLock lock(group_->signal_mutex_);
      if (!stopped_ || kill_) break;
    }
    SleepOnWord(kInterrupted, std::nullopt);
  }
  // What else came meanwhile.
  word_.fetch_or(kInterrupted, std::memory_order_acq_rel);
}

void Task::RestartSyscall(const SigAction* handler) {
  if (!restart_code_) return;
  Errno code = *std::exchange(restart_code_, std::nullopt);
  bool again = false;
  switch (code) {
    case Errno::kERESTARTNOINTR:
      again = true;
      break;
    case Errno::kERESTARTSYS:
      again = handler == nullptr || (handler->flags & SA_RESTART) != 0;
      break;
    case Errno::kERESTART_RESTARTBLOCK:
      if (handler == nullptr) {
        registers_.RewindSyscall();
        registers_.set_return_value(SYS_restart_syscall);
        return;
      }
      break;
    default:  // ERESTARTNOHAND
      again = handler == nullptr;
      break;
  }
  if (again) {
    registers_.RewindSyscall();
  } else {
    registers_.set_return_value(-static_cast<uint64_t>(Errno::kEINTR));
  }
}

Result<uint64_t> Task::RunRestart() {
  if (!restart_) return Errno::kEINTR;
  RestartFunction f = std::exchange(restart_, nullptr);
  return f(*this);
}

// --- handlers ---

bool Task::OnAltStack(uint64_t sp) const {
  // sigaltstack(2): with SS_AUTODISARM nobody is ever on it.
  if ((altstack.flags & (SS_DISABLE | kSsAutodisarm)) != 0) return false;
  return sp > altstack.sp && sp - altstack.sp <= altstack.size;
}

bool Task::DeliverSignal(const SigInfo& info, const SigAction& action) {
  if ((action.flags & kSaRestorer) == 0) return false;  // x86-64 has no other way back
  auto xstate = context_->GetFpState();
  if (!xstate.ok()) return false;

  SigSet old_mask;
  {
    MutexLock lock(group_->signal_mutex_);
    old_mask = saved_mask_.value_or(mask_);
  }
  const bool on_stack = OnAltStack(registers_.sp());
  arch::SignalFrameRequest request{
      .regs = registers_,
      .xstate = *xstate,
      .signo = info.signo,
      .info = std::span<const std::byte, 128>(reinterpret_cast<const std::byte*>(&info), 128),
      .handler = action.handler,
      .restorer = action.restorer,
      .sigmask = old_mask.bits,
      .stack = {altstack.sp, altstack.flags, 0, altstack.size},
      .top = registers_.sp() - arch::kRedZone};
  const bool enters =
      (action.flags & SA_ONSTACK) != 0 && !on_stack && (altstack.flags & SS_DISABLE) == 0;
  if (enters) request.top = altstack.sp + altstack.size;
  if (info.code > 0 && info.signo == last_fault_.signo) {
    request.trapno = last_fault_.trapno;
    request.error_code = last_fault_.error_code;
    request.fault_addr = last_fault_.addr.value;
  }
  arch::BuiltSignalFrame frame = arch::BuildSignalFrame(request);
  // A frame that would run over the end of the alternate stack is an overflow of it.
  if ((on_stack || enters) && frame.address < altstack.sp) return false;
  if (!memory().CopyOut(UserAddr(frame.address), frame.bytes).ok()) return false;

  registers_ = frame.regs;
  if ((altstack.flags & kSsAutodisarm) != 0) altstack = {};
  saved_mask_.reset();
  MutexLock lock(group_->signal_mutex_);
  SigSet mask = mask_ | action.mask;
  if ((action.flags & SA_NODEFER) == 0) mask.Add(info.signo);
  SetMaskLocked(mask);
  return true;
}

Result<uint64_t> Task::ReturnFromSignal() {
  auto restored = RestoreFrame();
  if (!restored.ok()) ForceSignal(SigInfo::Kernel(SIGSEGV));
  restart_code_.reset();
  restart_ = nullptr;
  return registers_.return_value();
}

Result<void> Task::RestoreFrame() {
  auto uc = TRY(memory().Read<arch::UContext>(UserAddr(arch::UContextAddress(registers_))));
  registers_ = arch::RestoreRegisters(uc, registers_);
  set_signal_mask(SigSet{uc.sigmask});
  UserAddr fp(uc.mcontext.fpstate);
  if (fp.null()) {
    TRY(context_->ResetFpState());
  } else {
    std::array<std::byte, 512> legacy;
    TRY(memory().CopyIn(fp, legacy));
    size_t ours = TRY(context_->GetFpState()).size();
    size_t size = arch::XstateSizeInFrame(legacy, ours);
    std::vector<std::byte> bytes(size > legacy.size() ? size + sizeof(uint32_t) : size);
    TRY(memory().CopyIn(fp, bytes));
    TRY(context_->SetFpState(arch::XstateFromFrame(bytes)));
  }
  // As sigaltstack(2) would set it; what is not valid is left alone.
  if (!OnAltStack(registers_.sp())) {
    altstack.sp = uc.stack.sp;
    altstack.flags = uc.stack.flags;
    altstack.size = uc.stack.size;
  }
  return Ok();
}

}  // namespace sandboxd::task
