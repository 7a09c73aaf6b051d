#include "kernel/syscalls/blocking_io.h"

#include <signal.h>

namespace sandboxd::syscalls {

Result<uint64_t> BlockingRead(Task& t, vfs::File& file, mm::IoSink& sink, bool nonblocking) {
  size_t n = TRY(Blocking(t, file, EPOLLIN | EPOLLRDHUP, nonblocking, std::nullopt,
                          [&] { return file.Read(t, sink); }));
  return uint64_t{n};
}

Result<uint64_t> BlockingWrite(Task& t, vfs::File& file, mm::IoSource& source,
                               const vfs::ReadWriteOptions& options, bool nonblocking) {
  uint64_t total = 0;
  for (;;) {
    auto n = Blocking(t, file, EPOLLOUT, nonblocking, std::nullopt,
                      [&] { return file.Write(t, source, options); });
    if (n.ok()) {
      total += *n;
      if (source.remaining() > 0 && *n > 0) continue;
      return total;
    }
    // pipe(7): "write(2) to a pipe whose read ends are all closed raises SIGPIPE", also after a
    // part was written.
    if (n.Is(Errno::kEPIPE)) t.SendSignalToSelf(SIGPIPE);
    if (total > 0) return total;
    return n.error();
  }
}

}  // namespace sandboxd::syscalls
