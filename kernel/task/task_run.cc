// The life of a task's host thread: switch to the application, run its system calls, sleep.
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <climits>

#include "kernel/task/ptrace.h"
#include "kernel/task/seccomp.h"
#include "kernel/task/task.h"
#include "kernel/time/clock.h"
#include "platform/base/check.h"
#include "platform/base/log.h"

namespace sandboxd::task {
namespace {

// Deep enough for the deepest path walk; most of it is never touched.
constexpr size_t kThreadStack = 256 * 1024;

// What orig_rax says outside of system calls.
constexpr uint64_t kNoSyscall = ~uint64_t{0};

int FutexWait(std::atomic<uint32_t>& word, uint32_t expected, wait::Deadline deadline) {
  timespec until{};
  if (deadline) {
    time::Timespec t = time::Timespec::From(std::max(*deadline, Nanos::zero()));
    until = {t.sec, t.nsec};
  }
  long r = syscall(SYS_futex, &word, FUTEX_WAIT_BITSET_PRIVATE, expected,
                   deadline ? &until : nullptr, nullptr, FUTEX_BITSET_MATCH_ANY);
  return r == 0 ? 0 : errno;
}

void FutexWakeOne(std::atomic<uint32_t>& word) {
  syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
}

}  // namespace

Result<void> Task::Start() {
  return StartThread([](Task& t) { return t.BindContext(); });
}

Result<void> Task::StartThread(Prologue prologue) {
  struct Arguments {
    Ref<Task> task;
    Prologue prologue;
  };
  auto arguments = std::make_unique<Arguments>(Arguments{Ref<Task>(this), std::move(prologue)});
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, kThreadStack);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  auto entry = [](void* p) -> void* {
    std::unique_ptr<Arguments> a(static_cast<Arguments*>(p));
    Ref<Kernel::HostThreads> threads = a->task->kernel_.host_threads_;
    a->task->ThreadMain(a->prologue);
    a.reset();
    threads->Add(-1);
    return nullptr;
  };
  kernel_.host_threads_->Add(1);
  pthread_t thread;
  int error = pthread_create(&thread, &attributes, entry, arguments.get());
  pthread_attr_destroy(&attributes);
  if (error != 0) {
    kernel_.host_threads_->Add(-1);
    LOG_WARNING("no host thread for a task: %s", ErrnoName(FromHostErrno(error)));
    return Errno::kEAGAIN;
  }
  arguments.release();  // the thread owns it
  return Ok();
}

void Task::ThreadMain(const Prologue& prologue) {
  host_tid_.store(gettid(), std::memory_order_relaxed);
  char name[16];
  snprintf(name, sizeof(name), "task-%d", TidIn(*kernel_.init_pid_ns()).value);
  pthread_setname_np(pthread_self(), name);
  kernel_.runnable_count.fetch_add(1, std::memory_order_relaxed);
  if (prologue(*this)) Run();
  Exit();
  kernel_.runnable_count.fetch_sub(1, std::memory_order_relaxed);
}

bool Task::BindContext() {
  auto context = mm_->address_space().NewContext();
  if (!context.ok()) {
    LOG_WARNING("task %d: no stub thread: %s", tid().value, ErrnoName(context.error()));
    group_->Kill({.signo = SIGKILL});
    return false;
  }
  context_ = std::move(*context);
  MutexLock lock(task_mutex_);
  interruptible_ = context_.get();
  return true;
}

void Task::Run() {
  while (!exit_called_) {
    // Acquire: pairs with the release in Poke(), so that we see the state it was poked for.
    if ((word_.load(std::memory_order_acquire) & kInterrupted) != 0 || restart_code_ ||
        saved_mask_) {
      if (!HandleSignals()) return;
    }
    if (kernel_.frozen()) {
      // A kill is the only thing that ends it early; the loop finds it.
      (void)BlockKillable([this] { return !kernel_.frozen(); });
      continue;
    }
    Nanos entered = time::MonotonicNow();
    entered_application_.store(entered.count(), std::memory_order_relaxed);
    uint32_t before = word_.fetch_or(kInApplication, std::memory_order_acq_rel);
    if ((before & kInterrupted) != 0) {
      word_.fetch_and(~kInApplication, std::memory_order_relaxed);
      entered_application_.store(0, std::memory_order_relaxed);
      continue;
    }
    const bool work = syscall_work_.load(std::memory_order_relaxed) != 0;
    if (__builtin_expect(work != shows_calls_, 0)) {
      shows_calls_ = work;
      context_->ShowEveryCall(work);
    }
    platform::Stop stop = context_->Switch(
        registers_, step_ ? platform::StepMode::kSingleStep : platform::StepMode::kRun);
    word_.fetch_and(~kInApplication, std::memory_order_seq_cst);  // pairs with AnyTaskInApplication
    if (kernel_.frozen()) kernel_.NoteLeftApplication();
    entered_application_.store(0, std::memory_order_relaxed);
    application_ns_.fetch_add((time::MonotonicNow() - entered).count(), std::memory_order_relaxed);

    switch (stop.kind) {
      case platform::Stop::Kind::kSyscall:
        RunSyscall();
        break;
      case platform::Stop::Kind::kFault:
        registers_.orig_rax = kNoSyscall;
        HandleFault(stop.fault);
        break;
      case platform::Stop::Kind::kInterrupt:
        registers_.orig_rax = kNoSyscall;
        break;
      case platform::Stop::Kind::kDead:
        // The host took the stub away (out of memory): to the program that is a SIGKILL.
        group_->Kill({.signo = SIGKILL});
        return;
    }
  }
}

void Task::RunSyscall() {
  current_syscall_.store(static_cast<int64_t>(registers_.syscall_number()),
                         std::memory_order_relaxed);
  Result<uint64_t> result = Errno::kENOSYS;
  bool keep = false;
  const bool work = syscall_work_.load(std::memory_order_relaxed) != 0;
  if (__builtin_expect(!work, 1) || EnterSyscall(&result, &keep)) {
    std::array<uint64_t, 6> args;
    for (int i = 0; i < 6; i++) args[static_cast<size_t>(i)] = registers_.syscall_arg(i);
    result = kernel_.syscalls().Dispatch(*this, registers_.syscall_number(), args);
  }
  if (keep) {
    // A tracer or a filter has said what they are.
  } else if (result.ok()) {
    registers_.set_return_value(*result);
  } else {
    registers_.set_return_value(-static_cast<uint64_t>(result.error()));
    if (IsRestart(result.error())) restart_code_ = result.error();
  }
  // A temporary mask stays for the handler of the signal that interrupted the call, and only then.
  if (saved_mask_ && !restart_code_ && !result.Is(Errno::kEINTR)) {
    set_signal_mask(*std::exchange(saved_mask_, std::nullopt));
  }
  if (!deferred_signals_.empty()) FlushDeferredSignals();
  current_syscall_.store(-1, std::memory_order_relaxed);
  const bool traced = (syscall_work_.load(std::memory_order_relaxed) & kWorkTrace) != 0;
  if (__builtin_expect(traced || step_, 0) && !exit_called_) LeaveSyscall();
}

bool Task::EnterSyscall(Result<uint64_t>* result, bool* keep) {
  const uint32_t work = syscall_work_.load(std::memory_order_acquire);
  if ((work & (kWorkTrace | kWorkEmulate)) != 0) {
    PtraceSyscallEntry(*this);
    // The tracer may have made it another call, or none.
    const bool none = static_cast<int64_t>(registers_.syscall_number()) < 0;
    if (none || (work & kWorkEmulate) != 0 || MustEnd()) {
      *keep = true;
      return false;
    }
  }
  if ((syscall_work_.load(std::memory_order_acquire) & kWorkSeccomp) == 0) return true;
  SeccompOutcome outcome = CheckSeccomp(*this, result);
  *keep = outcome == SeccompOutcome::kKeep;
  return outcome == SeccompOutcome::kRun;
}

void Task::LeaveSyscall() {
  if (step_) {
    if (!PtraceStillSteps(*this)) return;
    ForceSignal(signal::SigInfo::Fault(SIGTRAP, TRAP_BRKPT, UserAddr(registers_.ip())));
    return;
  }
  PtraceSyscallExit(*this);
}

void Task::HandleFault(const platform::Stop::Fault& fault) {
  signal::SigInfo info = signal::SigInfo::Fault(fault.signo, fault.code, fault.addr);
  if (fault.signo == SIGSEGV && (fault.code == SEGV_MAPERR || fault.code == SEGV_ACCERR)) {
    // The host's map has our stub in it; what the program is told comes from its own map.
    info.code = mm_->FaultCode(fault.addr);
  }
  if (step_ && fault.signo == SIGTRAP && !PtraceStillSteps(*this)) return;
  last_fault_ = fault;
  ForceSignal(info);
}

void Task::Interrupt() { Poke(); }

void Task::PokeBy(void (platform::Context::*interrupt)()) {
  // Release: what we were told to look at was written before. The single modification order of
  // word_ decides who goes first: either the task sees kInterrupted before it sleeps or switches,
  // or we see that it does.
  uint32_t before = word_.fetch_or(kInterrupted, std::memory_order_acq_rel);
  if ((before & kSleeping) != 0) FutexWakeOne(word_);
  if ((before & kInApplication) != 0) {
    MutexLock lock(task_mutex_);
    if (interruptible_ != nullptr) (interruptible_->*interrupt)();
  }
}

void Task::Wake() {
  uint32_t before = word_.fetch_or(kWoken, std::memory_order_acq_rel);
  if ((before & (kSleeping | kWoken)) == kSleeping) FutexWakeOne(word_);
}

bool Task::SleepOnWord(uint32_t wake_bits, wait::Deadline deadline) {
  uint32_t value = word_.fetch_or(kSleeping, std::memory_order_acq_rel) | kSleeping;
  bool in_time = true;
  if ((value & wake_bits) == 0) {
    kernel_.runnable_count.fetch_sub(1, std::memory_order_relaxed);
    kernel_.context_switches.fetch_add(1, std::memory_order_relaxed);
    switches_.fetch_add(1, std::memory_order_relaxed);
    if (context_ != nullptr) context_->Rest();
    while ((value & wake_bits) == 0 && in_time) {
      in_time = FutexWait(word_, value, deadline) != ETIMEDOUT;
      value = word_.load(std::memory_order_acquire);
    }
    if (context_ != nullptr) context_->Wake();
    kernel_.runnable_count.fetch_add(1, std::memory_order_relaxed);
  }
  word_.fetch_and(~kSleeping, std::memory_order_acq_rel);
  return in_time;
}

Result<void> Task::Block(wait::Deadline deadline) {
  AssertNoLocksHeld();
  bool in_time = true;
  for (;;) {
    uint32_t value = word_.load(std::memory_order_acquire);
    if ((value & kWoken) != 0) {
      word_.fetch_and(~kWoken, std::memory_order_acq_rel);
      return Ok();
    }
    if ((value & kInterrupted) != 0) {
      MutexLock lock(group_->signal_mutex_);
      // What it was poked for may have gone: another thread took the signal.
      if (WorkPendingLocked()) return Errno::kERESTARTSYS;
      word_.fetch_and(~kInterrupted, std::memory_order_acq_rel);
      continue;
    }
    if (!in_time) return Errno::kETIMEDOUT;
    in_time = SleepOnWord(kWoken | kInterrupted, deadline);
  }
}

bool Task::MustEnd() const {
  MutexLock lock(group_->signal_mutex_);
  return kill_ || group_->group_exit_;
}

Result<void> Task::BlockKillable(const std::function<bool()>& done) {
  AssertNoLocksHeld();
  bool interrupted = false;
  Result<void> result;
  for (;;) {
    uint32_t before = word_.fetch_and(~(kInterrupted | kWoken), std::memory_order_acq_rel);
    interrupted |= (before & kInterrupted) != 0;
    if (done()) break;
    if (MustEnd()) {
      result = Errno::kEINTR;
      break;
    }
    SleepOnWord(kWoken | kInterrupted, std::nullopt);
  }
  // Signals that came meanwhile wait for the loop.
  if (interrupted) word_.fetch_or(kInterrupted, std::memory_order_acq_rel);
  return result;
}

}  // namespace sandboxd::task
