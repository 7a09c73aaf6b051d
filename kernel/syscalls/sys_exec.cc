// execve(2) and execveat(2).
#include <fcntl.h>

#include "kernel/loader/loader.h"
#include "kernel/syscalls/families.h"
#include "kernel/task/clone.h"

namespace sandboxd::syscalls {
namespace {

Result<uint64_t> ExecWith(Task& t, task::ExecArgs args, UserAddr argv, UserAddr envp) {
  uint64_t budget = loader::ArgumentLimit(t.memory_limits());
  args.argv = TRY(loader::ReadStringArray(t.memory(), argv, budget));
  args.envp = TRY(loader::ReadStringArray(t.memory(), envp, budget));
  // execve(2): since Linux 5.18 a program finds an argv[0] even if it was given none.
  if (args.argv.empty()) args.argv.emplace_back();
  TRY(task::Exec(t, args));
  return t.registers().return_value();
}

Result<uint64_t> SysExecve(Task& t, UserPath path, UserAddr argv, UserAddr envp) {
  task::ExecArgs args;
  args.filename = TRY(t.memory().ReadPath(path));
  if (args.filename.empty()) return Errno::kENOENT;
  return ExecWith(t, std::move(args), argv, envp);
}

Result<uint64_t> SysExecveat(Task& t, FdNum dirfd, UserPath path, UserAddr argv, UserAddr envp,
                             int32_t flags) {
  task::ExecArgs args;
  args.filename = TRY(t.memory().ReadPath(path));
  if (args.filename.empty() && (flags & AT_EMPTY_PATH) == 0) return Errno::kENOENT;
  if ((flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH)) != 0) return Errno::kEINVAL;
  args.flags = flags;
  if (dirfd.value != AT_FDCWD && !args.filename.starts_with('/')) {
    args.start = TRY(t.files().Get(dirfd))->path();
    // execveat(2): how the program (or a script's interpreter) finds it again.
    args.exec_name = "/dev/fd/" + std::to_string(dirfd.value);
    if (!args.filename.empty()) args.exec_name += "/" + args.filename;
  }
  return ExecWith(t, std::move(args), argv, envp);
}

constexpr Row kRows[] = {
    Partial<SysExecve>(SYS_execve, "execve", "file capabilities are not applied"),
    Partial<SysExecveat>(SYS_execveat, "execveat", "file capabilities are not applied"),
};

}  // namespace

std::span<const Row> ExecRows() { return kRows; }

}  // namespace sandboxd::syscalls
