// The one loop of calls that wait for a file: operations on files never block, they give EAGAIN
// (kernel/vfs/file.h); here a task waits until it is worth trying again.
#pragma once

#include <optional>

#include "kernel/syscalls/args.h"
#include "kernel/vfs/file.h"
#include "kernel/wait/wait_queue.h"

namespace sandboxd::syscalls {

// Runs `attempt` (a Result<T>()) until it gives something else than EAGAIN, waiting on `file` for
// `events` between attempts. EAGAIN if `nonblocking`, or when the deadline passes (SO_RCVTIMEO);
// ERESTARTSYS when a signal comes.
template <typename Attempt>
auto Blocking(Task& t, vfs::File& file, wait::EventMask events, bool nonblocking,
              wait::Deadline deadline, Attempt&& attempt) -> decltype(attempt()) {
  auto first = attempt();
  if (nonblocking || !first.Is(Errno::kEAGAIN)) return first;
  wait::BlockerEntry entry(t);
  file.AddWaiter(entry, events);
  for (;;) {
    auto result = attempt();
    if (!result.Is(Errno::kEAGAIN)) return result;
    Result<void> woken = t.Block(deadline);
    if (woken.Is(Errno::kETIMEDOUT)) return Errno::kEAGAIN;
    TRY(woken);
  }
}

// read(2) and write(2) and their relatives, once the file, the memory and the flags are known.
// `at`: nullopt for the file position. A transfer that moved anything gives its count; a blocking
// write to a stream goes on until all is written or something stops it. EPIPE also sends SIGPIPE.
struct Transfer {
  std::optional<int64_t> at;
  vfs::ReadWriteOptions options;
  bool nonblocking = false;
  wait::Deadline deadline;
};
Result<uint64_t> ReadFile(Task& t, vfs::File& file, mm::IoSink& dst, const Transfer& how);
Result<uint64_t> WriteFile(Task& t, vfs::File& file, mm::IoSource& src, const Transfer& how);

}  // namespace sandboxd::syscalls
