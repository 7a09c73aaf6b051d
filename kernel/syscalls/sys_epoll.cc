// epoll_create(2), epoll_ctl(2), epoll_wait(2) and their variants.
#include <fcntl.h>
#include <sys/epoll.h>

#include <climits>

#include "kernel/ipc/epoll.h"
#include "kernel/syscalls/deadlines.h"
#include "kernel/syscalls/families.h"
#include "kernel/syscalls/signal_mask.h"

namespace sandboxd::syscalls {
namespace {

using ipc::Epoll;
using ipc::EpollEvent;

Result<uint64_t> SysEpollCreate1(Task& t, int32_t flags) {
  if ((flags & ~EPOLL_CLOEXEC) != 0) return Errno::kEINVAL;
  auto set = MakeRef<Epoll>(t.kernel().vfs().AnonymousPath("[eventpoll]", 0600));
  FdNum fd = TRY(t.files().Install(std::move(set), (flags & EPOLL_CLOEXEC) != 0, t.fd_limit()));
  return static_cast<uint64_t>(fd.value);
}

Result<uint64_t> SysEpollCreate(Task& t, int32_t size) {
  if (size <= 0) return Errno::kEINVAL;
  return SysEpollCreate1(t, 0);
}

Result<void> SysEpollCtl(Task& t, FdNum epfd, int32_t op, FdNum fd, UserIn<EpollEvent> event) {
  EpollEvent e;
  if (op != EPOLL_CTL_DEL) e = TRY(event.Read(t));
  Ref<vfs::File> set_file = TRY(t.files().GetForIo(epfd));
  Ref<vfs::File> target = TRY(t.files().GetForIo(fd));
  if (!target->pollable()) return Errno::kEPERM;
  Epoll* set = vfs::FileAs<Epoll>(*set_file);
  if (set == nullptr) return Errno::kEINVAL;
  switch (op) {
    case EPOLL_CTL_ADD:
      return set->Add(target, fd, e);
    case EPOLL_CTL_MOD:
      return set->Modify(target, fd, e);
    case EPOLL_CTL_DEL:
      return set->Remove(target, fd);
    default:
      return Errno::kEINVAL;
  }
}

Result<std::vector<EpollEvent>> WaitFor(wait::Blocker& blocker, Epoll& set, size_t max,
                                        wait::Deadline deadline) {
  for (;;) {
    std::vector<EpollEvent> events = set.Collect(max);
    if (!events.empty()) return events;
    if (deadline.has_value() && *deadline <= time::MonotonicNow()) return events;
    Result<void> r = Ok();
    {
      // In the queue only while asleep: what this set tells its waiters is for others while we
      // collect.
      wait::BlockerEntry entry(blocker);
      set.AddWaiter(entry, EPOLLIN, /*exclusive=*/true);
      if (!set.MaybeReady()) r = blocker.Block(deadline);
    }
    if (r.ok()) continue;
    // The event that we were woken for must not be lost on a caller that was leaving anyway.
    events = set.Collect(max);
    if (!events.empty() || r.Is(Errno::kETIMEDOUT)) return events;
    return r.error();
  }
}

Result<uint64_t> EpollWait(Task& t, FdNum epfd, UserAddr out, int32_t max,
                           wait::Deadline deadline) {
  if (max <= 0 || max > INT_MAX / static_cast<int32_t>(sizeof(EpollEvent))) return Errno::kEINVAL;
  Ref<vfs::File> file = TRY(t.files().GetForIo(epfd));
  Epoll* set = vfs::FileAs<Epoll>(*file);
  if (set == nullptr) return Errno::kEINVAL;
  auto events = WaitFor(t, *set, static_cast<size_t>(max), deadline);
  // signal(7): epoll_wait is never restarted.
  if (events.Is(Errno::kERESTARTSYS)) return Errno::kEINTR;
  if (!events.ok()) return events.error();
  TRY(t.memory().CopyOut(out, std::as_bytes(std::span(*events))));
  return static_cast<uint64_t>(events->size());
}

Result<uint64_t> SysEpollWait(Task& t, FdNum epfd, UserAddr out, int32_t max, int32_t timeout_ms) {
  return EpollWait(t, epfd, out, max, DeadlineInMs(timeout_ms));
}

Result<uint64_t> SysEpollPwait(Task& t, FdNum epfd, UserAddr out, int32_t max, int32_t timeout_ms,
                               UserAddr mask, uint64_t mask_size) {
  TRY(UseSignalMask(t, mask, mask_size));
  return EpollWait(t, epfd, out, max, DeadlineInMs(timeout_ms));
}

Result<uint64_t> SysEpollPwait2(Task& t, FdNum epfd, UserAddr out, int32_t max, UserAddr timeout,
                                UserAddr mask, uint64_t mask_size) {
  wait::Deadline deadline = TRY(ReadRelativeTimeout(t, timeout));
  TRY(UseSignalMask(t, mask, mask_size));
  return EpollWait(t, epfd, out, max, deadline);
}

constexpr Row kRows[] = {
    Full<SysEpollCreate>(SYS_epoll_create, "epoll_create"),
    Full<SysEpollCreate1>(SYS_epoll_create1, "epoll_create1"),
    Full<SysEpollCtl>(SYS_epoll_ctl, "epoll_ctl"),
    Full<SysEpollWait>(SYS_epoll_wait, "epoll_wait"),
    Full<SysEpollPwait>(SYS_epoll_pwait, "epoll_pwait"),
    Full<SysEpollPwait2>(SYS_epoll_pwait2, "epoll_pwait2"),
};

}  // namespace

std::span<const Row> EpollRows() { return kRows; }

}  // namespace sandboxd::syscalls
