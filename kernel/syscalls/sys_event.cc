// eventfd(2), timerfd_create(2), signalfd(2).
#include <fcntl.h>
#include <linux/capability.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>

#include "kernel/ipc/eventfd.h"
#include "kernel/ipc/signalfd.h"
#include "kernel/ipc/timerfd.h"
#include "kernel/syscalls/families.h"

namespace sandboxd::syscalls {
namespace {

using ipc::EventFd;
using ipc::SignalFd;
using ipc::TimerFd;

// `flags`: O_CLOEXEC decides for the descriptor.
Result<uint64_t> InstallNew(Task& t, Ref<vfs::File> file, int flags) {
  FdNum fd = TRY(t.files().Install(std::move(file), (flags & O_CLOEXEC) != 0, t.fd_limit()));
  return static_cast<uint64_t>(fd.value);
}

Result<uint64_t> SysEventfd2(Task& t, uint32_t initial, int32_t flags) {
  if ((flags & ~(EFD_SEMAPHORE | EFD_CLOEXEC | EFD_NONBLOCK)) != 0) return Errno::kEINVAL;
  auto mode = (flags & EFD_SEMAPHORE) != 0 ? EventFd::Mode::kSemaphore : EventFd::Mode::kCounter;
  auto file = MakeRef<EventFd>(t.kernel().vfs().AnonymousPath("[eventfd]", 0600),
                               O_RDWR | (flags & O_NONBLOCK), initial, mode);
  return InstallNew(t, std::move(file), flags);
}

Result<uint64_t> SysEventfd(Task& t, uint32_t initial) { return SysEventfd2(t, initial, 0); }

Result<uint64_t> SysTimerfdCreate(Task& t, int32_t clock, int32_t flags) {
  if ((flags & ~(TFD_CLOEXEC | TFD_NONBLOCK)) != 0) return Errno::kEINVAL;
  if (clock != CLOCK_REALTIME && clock != CLOCK_MONOTONIC && clock != CLOCK_BOOTTIME &&
      clock != CLOCK_REALTIME_ALARM && clock != CLOCK_BOOTTIME_ALARM) {
    return Errno::kEINVAL;
  }
  bool alarm = clock == CLOCK_REALTIME_ALARM || clock == CLOCK_BOOTTIME_ALARM;
  if (alarm && !t.credentials()->CapableInit(CAP_WAKE_ALARM)) return Errno::kEPERM;
  auto file = MakeRef<TimerFd>(t.kernel().vfs().AnonymousPath("[timerfd]", 0600),
                               O_RDWR | (flags & O_NONBLOCK), t.kernel().timers(), clock);
  return InstallNew(t, std::move(file), flags);
}

// EBADF, EINVAL for another kind of file.
Result<Ref<TimerFd>> GetTimer(Task& t, FdNum fd) {
  Ref<vfs::File> file = TRY(t.files().GetForIo(fd));
  TimerFd* timer = vfs::FileAs<TimerFd>(*file);
  if (timer == nullptr) return Errno::kEINVAL;
  return Ref<TimerFd>(timer);
}

Result<void> SysTimerfdSettime(Task& t, FdNum fd, int32_t flags, UserIn<time::Itimerspec> value,
                               UserOut<time::Itimerspec> old) {
  auto spec = TRY(value.Read(t));
  if ((flags & ~(TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET)) != 0 || !spec.value.valid() ||
      !spec.interval.valid()) {
    return Errno::kEINVAL;
  }
  Ref<TimerFd> timer = TRY(GetTimer(t, fd));
  time::Itimerspec before = timer->Set(flags, spec);
  return old.null() ? Ok() : old.Write(t, before);
}

Result<void> SysTimerfdGettime(Task& t, FdNum fd, UserOut<time::Itimerspec> out) {
  Ref<TimerFd> timer = TRY(GetTimer(t, fd));
  return out.Write(t, timer->Get());
}

// The signals of the process that makes a signalfd.
class ProcessSignals final : public ipc::SignalSource {
 public:
  explicit ProcessSignals(Ref<task::ThreadGroup> group) : group_(std::move(group)) {}

  std::optional<signal::SigInfo> Take(vfs::Caller& c, signal::SigSet wanted) override {
    // Who reads through a system call is a task (vfs::Caller).
    Task& t = *static_cast<Task*>(c.task());
    if (((t.pending_signals() | t.group().pending_signals()) & wanted).empty()) {
      return std::nullopt;
    }
    auto info = t.WaitForSignal(wanted, Nanos(0));
    if (!info.ok()) return std::nullopt;  // another thread was faster
    return *info;
  }
  signal::SigSet Pending() override {
    signal::SigSet all = group_->pending_signals();
    for (const Ref<Task>& t : group_->Tasks()) all = all | t->pending_signals();
    return all;
  }
  void AddWaiter(wait::WaitEntry& entry, wait::EventMask mask, bool exclusive) override {
    group_->signal_queue().Add(entry, mask, exclusive);
  }

 private:
  const Ref<task::ThreadGroup> group_;
};

Result<uint64_t> SysSignalfd4(Task& t, int32_t fd, UserAddr mask_addr, uint64_t mask_size,
                              int32_t flags) {
  if ((flags & ~(SFD_CLOEXEC | SFD_NONBLOCK)) != 0) return Errno::kEINVAL;
  if (mask_size != sizeof(signal::SigSet)) return Errno::kEINVAL;
  auto mask = TRY(t.memory().Read<signal::SigSet>(mask_addr));
  if (fd != -1) {
    Ref<vfs::File> file = TRY(t.files().GetForIo(FdNum(fd)));
    SignalFd* signals = vfs::FileAs<SignalFd>(*file);
    if (signals == nullptr) return Errno::kEINVAL;
    signals->set_mask(mask);
    return static_cast<uint64_t>(fd);
  }
  auto file = MakeRef<SignalFd>(t.kernel().vfs().AnonymousPath("[signalfd]", 0600),
                                O_RDWR | (flags & O_NONBLOCK),
                                MakeRef<ProcessSignals>(t.group_ref()), mask);
  return InstallNew(t, std::move(file), flags);
}

Result<uint64_t> SysSignalfd(Task& t, int32_t fd, UserAddr mask, uint64_t mask_size) {
  return SysSignalfd4(t, fd, mask, mask_size, 0);
}

constexpr Row kRows[] = {
    Full<SysEventfd>(SYS_eventfd, "eventfd"),
    Full<SysEventfd2>(SYS_eventfd2, "eventfd2"),
    Partial<SysTimerfdCreate>(SYS_timerfd_create, "timerfd_create",
                              "alarm clocks don't wake the host from suspend"),
    Partial<SysTimerfdSettime>(SYS_timerfd_settime, "timerfd_settime",
                               "changes of the host's clock neither move nor cancel a timer"),
    Full<SysTimerfdGettime>(SYS_timerfd_gettime, "timerfd_gettime"),
    Partial<SysSignalfd>(SYS_signalfd, "signalfd",
                         "after a fork the child can read but not wait for its own signals"),
    Partial<SysSignalfd4>(SYS_signalfd4, "signalfd4",
                          "after a fork the child can read but not wait for its own signals"),
};

}  // namespace

std::span<const Row> EventRows() { return kRows; }

}  // namespace sandboxd::syscalls
