// SignalFd: pending signals as records to read (signalfd(2)).
//
// A read takes signals of the task that reads, as on Linux. Readiness is that of the process that
// made the descriptor (Linux: of whoever asks), since a poll does not say who asks: a signalfd that
// a forked child inherited reads right there but does not become ready for it.
#pragma once

#include <optional>
#include <string>

#include "kernel/signal/signal.h"
#include "kernel/vfs/file.h"
#include "kernel/wait/wait_queue.h"
#include "platform/base/mutex.h"

namespace sandboxd::ipc {

// The pending signals of a process; kernel/syscalls gives one that knows tasks.
class SignalSource : public RefCounted {
 public:
  // Takes a pending signal of `wanted` from the calling task or its process.
  virtual std::optional<signal::SigInfo> Take(vfs::Caller& c, signal::SigSet wanted) = 0;
  // What is pending for the process that this source was made for.
  virtual signal::SigSet Pending() = 0;
  // Joins the queue that is told (EPOLLIN) when a signal becomes pending there.
  virtual void AddWaiter(wait::WaitEntry& entry, wait::EventMask mask, bool exclusive) = 0;
};

class SignalFd final : public vfs::File {
 public:
  static constexpr char kTypeTag = 0;

  SignalFd(vfs::Path path, int flags, Ref<SignalSource> source, signal::SigSet mask);
  // SIGKILL and SIGSTOP are taken out silently.
  void set_mask(signal::SigSet mask);

  Result<size_t> Read(vfs::Caller& c, mm::IoSink& dst) override;
  // lseek(2) does nothing and succeeds, as on Linux.
  Result<int64_t> Seek(vfs::Caller&, int64_t, int) override { return int64_t{0}; }
  wait::EventMask Poll(wait::EventMask interest) override;
  bool pollable() const override { return true; }
  void AddWaiter(wait::WaitEntry& entry, wait::EventMask mask, bool exclusive) override;
  std::string Describe() const override { return "anon_inode:[signalfd]"; }
  std::string FdInfo() const override;
  const void* type_tag() const override { return &kTypeTag; }

 private:
  signal::SigSet mask() const;
  const Ref<SignalSource> source_;
  mutable Mutex mutex_{LockRank::kLeaf};
  signal::SigSet mask_ GUARDED_BY(mutex_);
};

}  // namespace sandboxd::ipc
