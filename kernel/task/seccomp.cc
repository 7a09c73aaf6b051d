#include "kernel/task/seccomp.h"

#include <fcntl.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/syscall.h>

#include <algorithm>

#include "kernel/task/ptrace.h"
#include "kernel/task/seccomp_notify.h"
#include "platform/base/log.h"

namespace sandboxd::task {
namespace {

static_assert(seccomp::kArchitecture == AUDIT_ARCH_X86_64);

constexpr uint16_t kMaxErrno = 4095;
constexpr int kSysSeccomp = 1;  // si_code of SIGSYS

seccomp_data DataOf(const arch::Registers& regs) {
  seccomp_data data{};
  data.nr = static_cast<int>(regs.syscall_number());
  data.arch = seccomp::kArchitecture;
  data.instruction_pointer = regs.ip();
  for (int i = 0; i < 6; i++) data.args[i] = regs.syscall_arg(i);
  return data;
}

bool StrictAllows(uint64_t number) {
  return number == SYS_read || number == SYS_write || number == SYS_exit ||
         number == SYS_rt_sigreturn;
}

signal::SigInfo TrapInfo(const seccomp_data& data, uint16_t reason) {
  signal::SigInfo info;
  info.signo = SIGSYS;
  info.code = kSysSeccomp;
  info.error = reason;
  info.sys.call_addr = data.instruction_pointer;
  info.sys.syscall = data.nr;
  info.sys.arch = data.arch;
  return info;
}

}  // namespace

struct SeccompOps {
  static void SetFilter(Task& task, Ref<seccomp::Filter> filter) {
    {
      MutexLock lock(task.task_mutex_);
      std::swap(task.seccomp_filter_, filter);
    }
    // Release: whoever sees the mode sees the filter.
    task.seccomp_mode_.store(SECCOMP_MODE_FILTER, std::memory_order_release);
    task.syscall_work_.fetch_or(Task::kWorkSeccomp, std::memory_order_release);
  }

  // The first thread that can't take over the caller's filters, or null. Signal mutex held.
  static Task* Unsynchronisable(Task& task, const seccomp::Filter* own) {
    for (const Ref<Task>& other : task.group_->tasks_) {
      if (other.get() == &task || other->exiting_) continue;
      int mode = other->seccomp_mode();
      if (mode == SECCOMP_MODE_DISABLED) continue;
      Ref<seccomp::Filter> theirs = other->seccomp_filter();
      if (mode == SECCOMP_MODE_FILTER && (theirs == nullptr || theirs->IsAncestorOfOrSame(own))) {
        continue;
      }
      return other.get();
    }
    return nullptr;
  }

  static void Synchronise(Task& task, const Ref<seccomp::Filter>& filter) {
    for (const Ref<Task>& other : task.group_->tasks_) {
      if (other.get() == &task || other->exiting_) continue;
      filter->AddUser();
      Ref<seccomp::Filter> old = other->seccomp_filter();
      SetFilter(*other, filter);
      if (old != nullptr) old->RemoveUser();
      other->Poke();  // out of application code, where a platform may answer calls by itself
      if (task.no_new_privs.load()) other->no_new_privs = true;
    }
  }

  // Null: done. Else the thread that is in the way.
  static Ref<Task> Attach(Task& task, const Ref<seccomp::Filter>& filter, bool sync) {
    ThreadGroup& group = *task.group_;
    MutexLock lock(group.signal_mutex_);
    if (sync) {
      if (Task* other = Unsynchronisable(task, filter->previous().get())) return Ref<Task>(other);
    }
    filter->AddUser();
    SetFilter(task, filter);
    if (sync) Synchronise(task, filter);
    return Ref<Task>();
  }

  static void Strict(Task& task) {
    task.seccomp_mode_.store(SECCOMP_MODE_STRICT, std::memory_order_release);
    task.syscall_work_.fetch_or(Task::kWorkSeccomp, std::memory_order_release);
  }

  // Ends this thread as a fatal signal of its own would; the process, if it is the only one.
  static SeccompOutcome KillThread(Task& task, int signo) {
    if (task.group_->thread_count() == 1) {
      task.group_->Kill({.signo = signo});
    } else {
      task.thread_status_ = {.signo = signo};
      task.exit_called_ = true;
    }
    return SeccompOutcome::kKeep;
  }

  static SeccompOutcome Obey(Task& task, const seccomp_data& data,
                             const seccomp::Filter::Verdict& verdict, bool after_trace,
                             Result<uint64_t>* result) {
    switch (verdict.action()) {
      case SECCOMP_RET_ALLOW:
        return SeccompOutcome::kRun;
      case SECCOMP_RET_LOG:
        LOG_INFO("seccomp: %s (%d): call %d is logged by its filter", task.comm().c_str(),
                 task.tid().value, data.nr);
        return SeccompOutcome::kRun;
      case SECCOMP_RET_ERRNO: {
        uint16_t error = std::min(verdict.data(), kMaxErrno);
        // Any number: not one of ours that asks for a restart.
        task.registers_.set_return_value(-uint64_t{error});
        return SeccompOutcome::kKeep;
      }
      case SECCOMP_RET_TRAP:
        task.registers_.set_return_value(task.registers_.syscall_number());
        task.ForceSignal(TrapInfo(data, verdict.data()));
        return SeccompOutcome::kKeep;
      case SECCOMP_RET_TRACE:
        if (after_trace) return SeccompOutcome::kRun;
        return Trace(task, verdict.data(), result);
      case SECCOMP_RET_USER_NOTIF:
        return NotifySupervisor(task, *verdict.filter, data, result);
      case SECCOMP_RET_KILL_THREAD:
        return KillThread(task, SIGSYS);
      default:  // SECCOMP_RET_KILL_PROCESS, and what nobody knows
        task.group_->Kill({.signo = SIGSYS});
        return SeccompOutcome::kKeep;
    }
  }

  static SeccompOutcome Trace(Task& task, uint16_t message, Result<uint64_t>* result) {
    if (!PtraceSeccompEvent(task, message)) {
      *result = Errno::kENOSYS;
      return SeccompOutcome::kSkip;
    }
    if (task.MustEnd()) return SeccompOutcome::kKeep;
    // The tracer may have made it another call, or none.
    if (static_cast<int64_t>(task.registers_.syscall_number()) < 0) return SeccompOutcome::kKeep;
    return Check(task, /*after_trace=*/true, result);
  }

  static SeccompOutcome Check(Task& task, bool after_trace, Result<uint64_t>* result) {
    uint64_t number = task.registers_.syscall_number();
    if (task.seccomp_mode() == SECCOMP_MODE_STRICT) {
      if (StrictAllows(number)) return SeccompOutcome::kRun;
      return KillThread(task, SIGKILL);
    }
    Ref<seccomp::Filter> filter = task.seccomp_filter();
    if (filter == nullptr || filter->AlwaysAllows(number)) return SeccompOutcome::kRun;
    seccomp_data data = DataOf(task.registers_);
    return Obey(task, data, filter->Ask(data), after_trace, result);
  }
};

Result<void> SetSeccompStrict(Task& task) {
  if (task.seccomp_mode() == SECCOMP_MODE_FILTER) return Errno::kEINVAL;
  SeccompOps::Strict(task);
  return Ok();
}

Result<void> CheckMayFilter(Task& task) {
  if (task.no_new_privs.load() || task.credentials()->CapableOwn(CAP_SYS_ADMIN)) return Ok();
  return Errno::kEACCES;
}

Result<uint64_t> AddSeccompFilter(Task& task, std::vector<sock_filter> code, uint64_t flags) {
  auto program = TRY(seccomp::Program::Create(std::move(code)));
  if (task.seccomp_mode() == SECCOMP_MODE_STRICT) return Errno::kEINVAL;
  const bool sync = (flags & SECCOMP_FILTER_FLAG_TSYNC) != 0;
  const bool listen = (flags & SECCOMP_FILTER_FLAG_NEW_LISTENER) != 0;
  Ref<seccomp::Filter> previous = task.seccomp_filter();
  if (listen && previous != nullptr && previous->chain_has_listener()) return Errno::kEBUSY;
  auto filter = TRY(seccomp::Filter::Create(
      std::move(program), (flags & SECCOMP_FILTER_FLAG_LOG) != 0, std::move(previous)));
  FdNum fd(-1);
  if (listen) {
    Ref<SeccompListener> listener =
        MakeSeccompListener(task.kernel(), (flags & kSeccompWaitKillable) != 0);
    filter->set_listener(listener);
    fd = TRY(task.files().Install(listener->NewFile(), /*cloexec=*/true, task.fd_limit()));
  }
  Ref<Task> other = SeccompOps::Attach(task, filter, sync);
  if (other == nullptr) return fd.value >= 0 ? static_cast<uint64_t>(fd.value) : uint64_t{0};
  if (fd.value >= 0) (void)task.files().Close(task, fd);
  if ((flags & SECCOMP_FILTER_FLAG_TSYNC_ESRCH) != 0) return Errno::kESRCH;
  return static_cast<uint64_t>(other->TidIn(*task.pid_ns()).value);
}

void StartWithSeccompFilter(Task& task, const Ref<seccomp::Filter>& filter) {
  SeccompOps::Attach(task, filter, /*sync=*/false);
}

SeccompOutcome CheckSeccomp(Task& task, Result<uint64_t>* result) {
  return SeccompOps::Check(task, /*after_trace=*/false, result);
}

}  // namespace sandboxd::task
