// A host process that is ours to supervise: by pidfd, so that a number that is used again is never
// taken for it, and by its start time, so that a restarted daemon can find it again.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "platform/base/unique_fd.h"

namespace sandboxd::daemon {

// What identifies a process over a restart of the daemon (not of the host: see boot_id).
struct ProcessIdentity {
  pid_t pid = 0;
  uint64_t start_ticks = 0;  // field 22 of /proc/PID/stat: clock ticks after boot
};

// /proc/sys/kernel/random/boot_id; empty if it can't be read.
std::string BootId();
std::optional<uint64_t> StartTicks(pid_t pid);

class ProcessHandle {
 public:
  ProcessHandle() = default;
  // A child of ours.
  ProcessHandle(ProcessIdentity identity, UniqueFd pidfd)
      : identity_(identity), pidfd_(std::move(pidfd)) {}
  // A process that an earlier daemon started; nothing if it is gone.
  static std::optional<ProcessHandle> Adopt(ProcessIdentity identity);

  bool valid() const { return pidfd_.valid(); }
  const ProcessIdentity& identity() const { return identity_; }
  // Readable when the process has ended; for an event loop.
  int pidfd() const { return pidfd_.get(); }

  // Does nothing if it has ended.
  void Signal(int signo) const;
  bool Ended() const;
  // Waits for the end at most so long.
  bool WaitEnded(std::chrono::milliseconds timeout) const;
  // After the end: reaps it if it is our child. "exited with status 1", "was killed by signal 9",
  // or "ended" where nothing more is known. Once.
  std::string Reap();

  // SIGKILL, wait, reap: for a process that must not outlive the caller's failure.
  void KillAndReap();

 private:
  ProcessIdentity identity_;
  UniqueFd pidfd_;
};

}  // namespace sandboxd::daemon
