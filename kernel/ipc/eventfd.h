// EventFd: a counter that can be waited for (eventfd(2)).
#pragma once

#include <string>

#include "kernel/vfs/file.h"
#include "kernel/wait/wait_queue.h"
#include "platform/base/mutex.h"

namespace sandboxd::ipc {

class EventFd final : public vfs::File {
 public:
  enum class Mode : uint8_t { kCounter, kSemaphore };  // EFD_SEMAPHORE
  // `path` is an anonymous place of the vfs, `flags` O_RDWR and perhaps O_NONBLOCK.
  EventFd(vfs::Path path, int flags, uint32_t initial, Mode mode);

  Result<size_t> Read(vfs::Caller& c, mm::IoSink& dst) override;
  Result<size_t> Write(vfs::Caller& c, mm::IoSource& src,
                       const vfs::ReadWriteOptions& options) override;
  // lseek(2) does nothing and succeeds, as on Linux.
  Result<int64_t> Seek(vfs::Caller&, int64_t, int) override { return int64_t{0}; }
  wait::EventMask Poll(wait::EventMask interest) override;
  bool pollable() const override { return true; }
  void AddWaiter(wait::WaitEntry& entry, wait::EventMask mask, bool exclusive) override;
  std::string Describe() const override { return "anon_inode:[eventfd]"; }
  std::string FdInfo() const override;

 private:
  static constexpr uint64_t kMax = UINT64_MAX - 1;
  const Mode mode_;
  wait::WaitQueue queue_;
  mutable Mutex mutex_{LockRank::kLeaf};
  uint64_t count_ GUARDED_BY(mutex_);
};

}  // namespace sandboxd::ipc
