#include "kernel/task/pidfd.h"

#include <fcntl.h>
#include <sys/epoll.h>

#include "platform/base/format.h"

namespace sandboxd::task {

PidFd::PidFd(vfs::Path path, int flags, Ref<ThreadGroup> group)
    : File(std::move(path), flags), group_(std::move(group)) {}

wait::EventMask PidFd::Poll(wait::EventMask interest) {
  return group_->exit_status().has_value() ? (EPOLLIN | EPOLLRDNORM) & interest : 0;
}

void PidFd::AddWaiter(wait::WaitEntry& entry, wait::EventMask mask, bool exclusive) {
  group_->exit_queue().Add(entry, mask, exclusive);
}

Result<size_t> PidFd::Read(vfs::Caller&, mm::IoSink&) { return Errno::kEINVAL; }

std::string PidFd::FdInfo() const {
  int pid = group_->exit_status().has_value() ? -1 : group_->tgid().value;
  return StrFormat("Pid:\t%d\nNSpid:\t%d\n", pid, pid);
}

Ref<PidFd> MakePidFd(Kernel& kernel, Ref<ThreadGroup> group, int flags) {
  return MakeRef<PidFd>(kernel.vfs().AnonymousPath("[pidfd]", 0600), O_RDWR | flags,
                        std::move(group));
}

}  // namespace sandboxd::task
