#include "kernel/ipc/signalfd.h"

#include <linux/signalfd.h>
#include <signal.h>
#include <sys/epoll.h>

#include "platform/base/format.h"

namespace sandboxd::ipc {
namespace {

signalfd_siginfo ToRecord(const signal::SigInfo& info) {
  signalfd_siginfo r = {};
  r.ssi_signo = static_cast<uint32_t>(info.signo);
  r.ssi_errno = info.error;
  r.ssi_code = info.code;
  if (info.code == SI_TIMER) {
    r.ssi_tid = static_cast<uint32_t>(info.timer.timer_id);
    r.ssi_overrun = static_cast<uint32_t>(info.timer.overrun);
    r.ssi_ptr = info.timer.value;
    r.ssi_int = static_cast<int32_t>(info.timer.value);
  } else if (info.signo == SIGCHLD && info.code > 0 && info.code != SI_KERNEL) {
    r.ssi_pid = static_cast<uint32_t>(info.child.pid);
    r.ssi_uid = info.child.uid;
    r.ssi_status = info.child.status;
    r.ssi_utime = static_cast<uint64_t>(info.child.utime);
    r.ssi_stime = static_cast<uint64_t>(info.child.stime);
  } else if (info.signo == SIGPOLL && info.code > 0 && info.code != SI_KERNEL) {
    r.ssi_band = static_cast<uint32_t>(info.poll.band);
    r.ssi_fd = info.poll.fd;
  } else if ((info.signo == SIGSEGV || info.signo == SIGBUS || info.signo == SIGILL ||
              info.signo == SIGFPE || info.signo == SIGTRAP) &&
             info.code > 0 && info.code != SI_KERNEL) {
    r.ssi_addr = info.fault.addr;
  } else {
    r.ssi_pid = static_cast<uint32_t>(info.kill.pid);
    r.ssi_uid = info.kill.uid;
    if (info.code < 0 && info.code != SI_TKILL) {  // sigqueue: a value came along
      r.ssi_ptr = info.kill.value;
      r.ssi_int = static_cast<int32_t>(info.kill.value);
    }
  }
  return r;
}

}  // namespace

SignalFd::SignalFd(vfs::Path path, int flags, Ref<SignalSource> source, signal::SigSet mask)
    : File(std::move(path), flags), source_(std::move(source)) {
  set_mask(mask);
}

void SignalFd::set_mask(signal::SigSet mask) {
  MutexLock lock(mutex_);
  mask_ = mask & ~signal::kUnblockable;
}

signal::SigSet SignalFd::mask() const {
  MutexLock lock(mutex_);
  return mask_;
}

Result<size_t> SignalFd::Read(vfs::Caller& c, mm::IoSink& dst) {
  static_assert(sizeof(signalfd_siginfo) == 128);
  if (dst.remaining() < sizeof(signalfd_siginfo)) return Errno::kEINVAL;
  size_t done = 0;
  while (dst.remaining() >= sizeof(signalfd_siginfo)) {
    std::optional<signal::SigInfo> info = source_->Take(c, mask());
    if (!info.has_value()) break;
    signalfd_siginfo record = ToRecord(*info);
    Result<size_t> put = dst.Put(AsBytes(record));
    if (!put.ok() || *put != sizeof(record)) {
      if (done == 0) return Errno::kEFAULT;
      break;
    }
    done += sizeof(record);
  }
  if (done == 0) return Errno::kEAGAIN;
  return done;
}

wait::EventMask SignalFd::Poll(wait::EventMask interest) {
  return (source_->Pending() & mask()).empty() ? 0u : EPOLLIN & interest;
}

void SignalFd::AddWaiter(wait::WaitEntry& entry, wait::EventMask mask, bool exclusive) {
  source_->AddWaiter(entry, mask, exclusive);
}

std::string SignalFd::FdInfo() const {
  return StrFormat("sigmask:\t%016llx\n", static_cast<unsigned long long>(mask().bits));
}

}  // namespace sandboxd::ipc
