// Making processes and threads: clone(2), and the first process of a container.
#pragma once

#include <string>
#include <vector>

#include "kernel/task/task.h"

namespace sandboxd::task {

// The arguments of clone3(2), decoded; clone, fork and vfork fill the same.
struct CloneArgs {
  uint64_t flags = 0;  // CLONE_* without the exit signal
  UserAddr pidfd, child_tid, parent_tid;
  int exit_signal = 0;
  UserAddr stack;  // lowest address for clone3; clone passes sp with stack_size 0
  uint64_t stack_size = 0;
  uint64_t tls = 0;
  std::vector<Tid> set_tid;
  int cgroup = -1;
};
// The child's tid in the caller's namespace. Waits for the child to exec or exit with CLONE_VFORK.
Result<Tid> Clone(Task& parent, const CloneArgs& args);

// execve(2) and execveat(2). Does not return to the old program on success: the task's registers,
// mm and context are the new program's.
struct ExecArgs {
  vfs::Path start;  // where a relative `filename` starts; empty: cwd
  std::string filename;
  int flags = 0;  // AT_EMPTY_PATH, AT_SYMLINK_NOFOLLOW
  std::vector<std::string> argv, envp;
  // What AT_EXECFN and a script's interpreter are told if it isn't `filename` ("/dev/fd/N").
  std::string exec_name;
};
Result<void> Exec(Task& task, const ExecArgs& args);

// A process that the control channel starts: a container's init (its parent is nobody) or one that
// joins a container (exec).
struct ProcessRequest {
  std::string container_id, process_id;
  std::string filename;  // resolved in the container by PATH if it has no slash
  std::vector<std::string> argv, envp;
  std::string cwd;
  creds::CredRef credentials;
  uint32_t umask = 0022;
  Ref<vfs::FdTable> files;
  Ref<vfs::MountNamespace> mounts;
  vfs::Path root;
  Ref<UtsNamespace> uts;
  Ref<PidNamespace> pid_ns;  // joins it; it has no init yet for the first process
  std::vector<std::pair<int, rlimit64>> rlimits;
  bool no_new_privs = false;
  Ref<seccomp::Filter> seccomp;  // that it starts with; null: none
  int oom_score_adj = 0;
  // A new session whose controlling terminal is this pts::Terminal (opaque here); null: a new
  // session without one.
  Ref<RefCounted> terminal;
};
// What went wrong, in words for a person, beside the errno.
struct StartError {
  Errno error = Errno::kEIO;
  std::string message;  // "no such program in the root file system: /bin/foo"
};
// Loads the program on a new task's own thread and reports how that went; the process runs only
// after `Run`. Two-phase, so that Create can check and Start can run.
class StartedProcess {
 public:
  virtual ~StartedProcess() = default;  // if not run: the process is undone
  virtual ThreadGroup& group() = 0;
  virtual void Run() = 0;
};
std::unique_ptr<StartedProcess> CreateProcess(Kernel& kernel, ProcessRequest request,
                                              StartError* error);

}  // namespace sandboxd::task
