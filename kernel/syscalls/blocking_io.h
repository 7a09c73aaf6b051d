// The waiting half of read(2), write(2) and their relatives: operations of files never block, this
// does.
#pragma once

#include <sys/epoll.h>

#include <type_traits>

#include "kernel/mm/io.h"
#include "kernel/syscalls/args.h"
#include "kernel/vfs/file.h"
#include "kernel/wait/wait_queue.h"

namespace sandboxd::syscalls {

// Calls `attempt` until it gives something else than EAGAIN, sleeping in between until `file`
// reports one of `events`. EAGAIN at once if `nonblocking`, and when the deadline passes
// (SO_RCVTIMEO); ERESTARTSYS when a signal comes.
template <typename Attempt>
auto Blocking(Task& t, vfs::File& file, wait::EventMask events, bool nonblocking,
              wait::Deadline deadline, Attempt&& attempt) -> std::invoke_result_t<Attempt> {
  auto first = attempt();
  if (!first.Is(Errno::kEAGAIN) || nonblocking) return first;
  wait::BlockerEntry entry(t);
  file.AddWaiter(entry, events);
  for (;;) {
    auto result = attempt();
    if (!result.Is(Errno::kEAGAIN)) return result;
    Result<void> woken = t.Block(deadline);
    if (woken.Is(Errno::kETIMEDOUT)) return Errno::kEAGAIN;
    if (!woken.ok()) return woken.error();
  }
}

// Reads what is there, waiting for the first byte.
Result<uint64_t> BlockingRead(Task& t, vfs::File& file, mm::IoSink& sink, bool nonblocking);
// Writes all, or as much as could be written before an error or a signal; SIGPIPE if the other end
// is gone.
Result<uint64_t> BlockingWrite(Task& t, vfs::File& file, mm::IoSource& source,
                               const vfs::ReadWriteOptions& options, bool nonblocking);

}  // namespace sandboxd::syscalls
