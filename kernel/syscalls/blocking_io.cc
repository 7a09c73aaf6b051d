#include "kernel/syscalls/blocking_io.h"

#include <signal.h>
#include <sys/epoll.h>
#include <sys/inotify.h>

#include "kernel/net/socket.h"

namespace sandboxd::syscalls {

namespace {

// A transfer with a time limit is not started again after a handler (signal(7)).
Errno AfterSignal(Errno e, const Transfer& how) {
  return e == Errno::kERESTARTSYS && how.deadline.has_value() ? Errno::kEINTR : e;
}

// Sockets without a stream give EPIPE quietly.
bool RaisesSigpipe(vfs::File& file) {
  auto* socket = vfs::FileAs<net::Socket>(file);
  return socket == nullptr || socket->is_stream();
}

}  // namespace

Result<uint64_t> ReadFile(Task& t, vfs::File& file, mm::IoSink& dst, const Transfer& how) {
  Result<size_t> n = Blocking(t, file, EPOLLIN | EPOLLRDNORM | EPOLLRDHUP, how.nonblocking,
                              how.deadline, [&]() -> Result<size_t> {
                                return how.at ? file.ReadAt(t, dst, *how.at) : file.Read(t, dst);
                              });
  if (!n.ok()) return AfterSignal(n.error(), how);
  if (*n > 0) vfs::Notify(file.path(), IN_ACCESS);
  return uint64_t{*n};
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

// As WriteFile.
Result<uint64_t> WriteAll(Task& t, vfs::File& file, mm::IoSource& src, const Transfer& how) {
  uint64_t total = 0;
  for (;;) {
    Result<size_t> n = WriteSome(t, file, src, how);
    if (n.Is(Errno::kEPIPE) && RaisesSigpipe(file)) t.SendSignalToSelf(SIGPIPE);
    if (!n.ok()) return total > 0 ? Result<uint64_t>(total) : AfterSignal(n.error(), how);
    total += *n;
    bool more = src.remaining() > 0 && *n > 0 && !how.nonblocking && file.continues_writes();
    if (!more) return total;
  }
}

}  // namespace

Result<uint64_t> WriteFile(Task& t, vfs::File& file, mm::IoSource& src, const Transfer& how) {
  auto result = WriteAll(t, file, src, how);
  if (result.ok() && *result > 0) vfs::Notify(file.path(), IN_MODIFY);
  return result;
}

}  // namespace sandboxd::syscalls
