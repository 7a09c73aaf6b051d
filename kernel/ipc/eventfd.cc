#include "kernel/ipc/eventfd.h"

#include <sys/epoll.h>

#include "platform/base/format.h"

namespace sandboxd::ipc {

EventFd::EventFd(vfs::Path path, int flags, uint32_t initial, Mode mode)
    : File(std::move(path), flags), mode_(mode), count_(initial) {}

Result<size_t> EventFd::Read(vfs::Caller&, mm::IoSink& dst) {
  uint64_t value;
  if (dst.remaining() < sizeof(value)) return Errno::kEINVAL;
  {
    MutexLock lock(mutex_);
    if (count_ == 0) return Errno::kEAGAIN;
    value = mode_ == Mode::kSemaphore ? 1 : count_;
    count_ -= value;
  }
  queue_.Notify(EPOLLOUT);
  if (TRY(dst.Put(AsBytes(value))) != sizeof(value)) return Errno::kEFAULT;
  return sizeof(value);
}

Result<size_t> EventFd::Write(vfs::Caller&, mm::IoSource& src, const vfs::ReadWriteOptions&) {
  uint64_t value;
  if (src.remaining() < sizeof(value)) return Errno::kEINVAL;
  if (TRY(src.Get(AsWritableBytes(value))) != sizeof(value)) return Errno::kEFAULT;
  if (value == UINT64_MAX) return Errno::kEINVAL;
  bool fits;
  {
    MutexLock lock(mutex_);
    fits = kMax - count_ >= value;
    if (fits) count_ += value;
  }
  if (!fits) {
    src.Unget(sizeof(value));
    return Errno::kEAGAIN;
  }
  queue_.Notify(EPOLLIN);
  return sizeof(value);
}

wait::EventMask EventFd::Poll(wait::EventMask interest) {
  MutexLock lock(mutex_);
  wait::EventMask ready = 0;
  if (count_ > 0) ready |= EPOLLIN;
  if (count_ < kMax) ready |= EPOLLOUT;
  return ready & interest;
}

void EventFd::AddWaiter(wait::WaitEntry& entry, wait::EventMask mask, bool exclusive) {
  queue_.Add(entry, mask, exclusive);
}

std::string EventFd::FdInfo() const {
  MutexLock lock(mutex_);
  return StrFormat("eventfd-count: %16llx\n", static_cast<unsigned long long>(count_));
}

}  // namespace sandboxd::ipc
