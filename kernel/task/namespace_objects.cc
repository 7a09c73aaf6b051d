#include "kernel/task/namespace_objects.h"

#include <sched.h>
#include <time.h>

#include "kernel/ipc/sysv.h"
#include "kernel/net/network.h"

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x00000080
#endif

namespace sandboxd::task {

IpcNamespace::IpcNamespace(Ref<creds::UserNamespace> owner)
    : OwnedNamespace(CLONE_NEWIPC, std::move(owner)), sysv_(std::make_unique<ipc::SysvIpc>()) {}
IpcNamespace::~IpcNamespace() = default;

NetNamespace::NetNamespace(net::Network& first, Ref<creds::UserNamespace> owner)
    : OwnedNamespace(CLONE_NEWNET, std::move(owner)), network_(first) {}
NetNamespace::NetNamespace(vfs::Vfs& vfs, net::Network& first, Ref<creds::UserNamespace> owner)
    : OwnedNamespace(CLONE_NEWNET, std::move(owner)),
      own_(std::make_unique<net::Network>(vfs)),
      network_(*own_) {
  network_.ShareUnixDomain(first, number());
}
NetNamespace::~NetNamespace() = default;

CgroupNamespace::CgroupNamespace(Ref<creds::UserNamespace> owner)
    : OwnedNamespace(CLONE_NEWCGROUP, std::move(owner)) {}

TimeNamespace::TimeNamespace(Ref<creds::UserNamespace> owner, Nanos monotonic, Nanos boottime)
    : OwnedNamespace(CLONE_NEWTIME, std::move(owner)), monotonic_(monotonic), boottime_(boottime) {}

Nanos TimeNamespace::monotonic_offset() const {
  MutexLock lock(mutex_);
  return monotonic_;
}
Nanos TimeNamespace::boottime_offset() const {
  MutexLock lock(mutex_);
  return boottime_;
}
Result<void> TimeNamespace::SetOffset(clockid_t clock, Nanos offset) {
  MutexLock lock(mutex_);
  if (frozen_) return Errno::kEACCES;
  (clock == CLOCK_MONOTONIC ? monotonic_ : boottime_) = offset;
  return Ok();
}
void TimeNamespace::Freeze() {
  MutexLock lock(mutex_);
  frozen_ = true;
}
Ref<TimeNamespace> TimeNamespace::Clone(Ref<creds::UserNamespace> owner) const {
  MutexLock lock(mutex_);
  return MakeRef<TimeNamespace>(std::move(owner), monotonic_, boottime_);
}

}  // namespace sandboxd::task
