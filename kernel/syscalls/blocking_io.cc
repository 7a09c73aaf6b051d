#include "kernel/syscalls/blocking_io.h"

#include <signal.h>
#include <sys/epoll.h>

namespace sandboxd::syscalls {

Result<uint64_t> ReadFile(Task& t, vfs::File& file, mm::IoSink& dst, const Transfer& how) {
  size_t n = TRY(Blocking(t, file, EPOLLIN | EPOLLRDNORM | EPOLLRDHUP, how.nonblocking,
                          how.deadline, [&]() -> Result<size_t> {
                            return how.at ? file.ReadAt(t, dst, *how.at) : file.Read(t, dst);
                          }));
  return uint64_t{n};
}

namespace {

// One attempt, in full or in part.
Result<size_t> WriteSome(Task& t, vfs::File& file, mm::IoSource& src, const Transfer& how) {
  return Blocking(t, file, EPOLLOUT | EPOLLWRNORM, how.nonblocking, how.deadline,
                  [&]() -> Result<size_t> {
                    return how.at ? file.WriteAt(t, src, *how.at, how.options)
                                  : file.Write(t, src, how.options);
                  });
}

}  // namespace

Result<uint64_t> WriteFile(Task& t, vfs::File& file, mm::IoSource& src, const Transfer& how) {
  uint64_t total = 0;
  for (;;) {
    Result<size_t> n = WriteSome(t, file, src, how);
    if (n.Is(Errno::kEPIPE)) t.SendSignalToSelf(SIGPIPE);
    if (!n.ok()) return total > 0 ? Result<uint64_t>(total) : Result<uint64_t>(n.error());
    total += *n;
    bool more = src.remaining() > 0 && *n > 0 && !how.nonblocking && file.continues_writes();
    if (!more) return total;
  }
}

}  // namespace sandboxd::syscalls
