// pipe(2).
#include <fcntl.h>

#include "kernel/fs/pipe/pipe.h"
#include "kernel/syscalls/families.h"

namespace sandboxd::syscalls {
namespace {

Result<void> SysPipe2(Task& t, UserAddr out, int32_t flags) {
  if ((flags & ~(O_CLOEXEC | O_NONBLOCK | O_DIRECT)) != 0) return Errno::kEINVAL;
  pipe::PipePair ends = TRY(pipe::CreatePipe(t.kernel().vfs(), t, flags));
  auto fds = TRY(t.files().InstallMany({std::move(ends.read), std::move(ends.write)},
                                       (flags & O_CLOEXEC) != 0, t.fd_limit()));
  int32_t numbers[2] = {fds[0].value, fds[1].value};
  Result<void> told = t.memory().CopyOut(out, std::as_bytes(std::span(numbers)));
  if (!told.ok()) {
    // The program never learns the numbers.
    for (FdNum fd : fds) (void)t.files().Close(t, fd);
  }
  return told;
}
Result<void> SysPipe(Task& t, UserAddr out) { return SysPipe2(t, out, 0); }

constexpr Row kRows[] = {
    Full<SysPipe>(SYS_pipe, "pipe"),
    Full<SysPipe2>(SYS_pipe2, "pipe2"),
};

}  // namespace

std::span<const Row> PipeRows() { return kRows; }

}  // namespace sandboxd::syscalls
