// TimerFd: a timer whose expirations are read (timerfd_create(2)).
//
// A timer on CLOCK_REALTIME is turned into a point of CLOCK_MONOTONIC when it is set. Programs here
// can't set the clock, so TFD_TIMER_CANCEL_ON_SET is accepted and never cancels.
#pragma once

#include <string>

#include "kernel/time/clock.h"
#include "kernel/time/timer.h"
#include "kernel/vfs/file.h"
#include "kernel/wait/wait_queue.h"
#include "platform/base/mutex.h"

namespace sandboxd::ipc {

class TimerFd final : public vfs::File {
 public:
  static constexpr char kTypeTag = 0;

  // `clock` is one that timerfd_create accepts; its _ALARM variants count as the plain ones.
  TimerFd(vfs::Path path, int flags, time::TimerService& timers, clockid_t clock);

  // timerfd_settime(2): the setting before. `flags` are TFD_TIMER_*, checked by the caller, as are
  // the values.
  time::Itimerspec Set(int flags, const time::Itimerspec& spec);
  time::Itimerspec Get() const;

  Result<size_t> Read(vfs::Caller& c, mm::IoSink& dst) override;
  // lseek(2) does nothing and succeeds, as on Linux.
  Result<int64_t> Seek(vfs::Caller&, int64_t, int) override { return int64_t{0}; }
  wait::EventMask Poll(wait::EventMask interest) override;
  bool pollable() const override { return true; }
  void AddWaiter(wait::WaitEntry& entry, wait::EventMask mask, bool exclusive) override;
  std::string Describe() const override { return "anon_inode:[timerfd]"; }
  std::string FdInfo() const override;
  const void* type_tag() const override { return &kTypeTag; }

 private:
  ~TimerFd() override;
  void OnExpired(uint64_t expirations);

  const clockid_t clock_;
  wait::WaitQueue queue_;
  // One setting at a time; held over Timer::Stop, which may wait for OnExpired.
  Mutex set_mutex_{LockRank::kIpcObject};
  mutable Mutex mutex_{LockRank::kLeaf};
  uint64_t expirations_ GUARDED_BY(mutex_) = 0;
  int settime_flags_ GUARDED_BY(mutex_) = 0;
  time::Timer timer_;  // thread-safe; last, so that it stops before what its callback uses goes
};

}  // namespace sandboxd::ipc
