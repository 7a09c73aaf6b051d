#include "daemon/spawn/spawn.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/close_range.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstring>

#include "daemon/error/fault_point.h"

namespace sandboxd::daemon {
namespace {

enum class Step : int { kWait, kIds, kFds, kExec };

const char* StepName(Step step) {
  switch (step) {
    case Step::kWait:
      return "wait for its parent";
    case Step::kIds:
      return "change its ids";
    case Step::kFds:
      return "arrange its descriptors";
    case Step::kExec:
      return "execute its program";
  }
  return "?";
}

constexpr int kOwnFds = 3;

struct ChildFailure {
  Step step;
  int error;
};

// Everything that the child needs, made before the fork: the child of a process with threads may
// not allocate, lock or call anything that does.
struct ChildPlan {
  int binary_fd;
  char* const* argv;
  char* const* env;
  int go_fd;       // a byte: go on; end of file: the parent is gone
  int failure_fd;  // a ChildFailure, or end of file when exec has succeeded
  bool new_user_namespace;
  bool drop_groups;
  const std::pair<int, int>* fds;
  size_t fd_count;
  int last_fd;
};

[[noreturn]] void Fail(const ChildPlan& plan, Step step) {
  const ChildFailure failure{step, errno};
  [[maybe_unused]] ssize_t n = ::write(plan.failure_fd, &failure, sizeof failure);
  ::_exit(127);
}

// Afterwards the targets are in place, our own three follow right behind them, and nothing else is
// open. Every source is above all of these (kOwnFds), so no dup3 overwrites one still needed.
bool ArrangeFds(ChildPlan& plan) {
  for (size_t i = 0; i < plan.fd_count; ++i) {
    if (::dup3(plan.fds[i].first, plan.fds[i].second, 0) < 0) return false;
  }
  int* own[kOwnFds] = {&plan.failure_fd, &plan.go_fd, &plan.binary_fd};
  int next = plan.last_fd;
  for (int* fd : own) {
    if (::dup3(*fd, ++next, O_CLOEXEC) < 0) return false;
    *fd = next;
  }
  return ::syscall(SYS_close_range, next + 1, ~0U, 0) == 0;
}

// SAFETY: runs after a fork of a process with threads; only raw, async-signal-safe calls. The C
// library's setresuid would signal threads that do not exist here.
[[noreturn]] void RunChild(ChildPlan plan) {
  // First of all drop every descriptor that is not ours: among them are the write ends of the pipes
  // on which other children wait for their parent.
  if (!ArrangeFds(plan)) Fail(plan, Step::kFds);
  char go = 0;
  ssize_t n;
  do {
    n = ::read(plan.go_fd, &go, 1);
  } while (n < 0 && errno == EINTR);
  if (n == 0) ::_exit(127);
  if (n != 1) Fail(plan, Step::kWait);

  if (plan.new_user_namespace) {
    if (plan.drop_groups && ::syscall(SYS_setgroups, 0, nullptr) != 0) Fail(plan, Step::kIds);
    if (::syscall(SYS_setresgid, 0, 0, 0) != 0) Fail(plan, Step::kIds);
    if (::syscall(SYS_setresuid, 0, 0, 0) != 0) Fail(plan, Step::kIds);
  }
  ::setsid();
  for (int signo = 1; signo <= 64; ++signo) {
    struct {
      void* handler;
      unsigned long flags;
      void* restorer;
      uint64_t mask;
    } action = {};
    ::syscall(SYS_rt_sigaction, signo, &action, nullptr, sizeof action.mask);
  }
  const uint64_t no_signals = 0;
  ::syscall(SYS_rt_sigprocmask, SIG_SETMASK, &no_signals, nullptr, sizeof no_signals);

  ::syscall(SYS_execveat, plan.binary_fd, "", plan.argv, plan.env, AT_EMPTY_PATH);
  Fail(plan, Step::kExec);
}

std::vector<char*> Pointers(const std::vector<std::string>& strings) {
  std::vector<char*> out;
  for (const std::string& s : strings) out.push_back(const_cast<char*>(s.c_str()));
  out.push_back(nullptr);
  return out;
}

Error SystemError(const std::string& what, int error) {
  return Error::Internal(ErrnoText(what, error));
}

Outcome<UniqueFd> DupAbove(int fd, int floor) {
  UniqueFd copy(::fcntl(fd, F_DUPFD_CLOEXEC, floor));
  if (!copy.valid()) return SystemError("cannot duplicate a descriptor", errno);
  return copy;
}

Outcome<void> WriteProcFile(pid_t pid, const char* name, const std::string& text) {
  const std::string path = "/proc/" + std::to_string(pid) + "/" + name;
  if (int e = FaultPoint("spawn.map")) return SystemError("cannot write " + path, e);
  UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!fd.valid() || ::write(fd.get(), text.data(), text.size()) < 0) {
    return SystemError("cannot write " + path, errno);
  }
  return {};
}

Outcome<void> WriteMaps(pid_t pid, const HostId& map) {
  // setgroups(2) must be denied before an unprivileged process may write a gid map
  // (user_namespaces(7)).
  if (::geteuid() != 0) TRY(WriteProcFile(pid, "setgroups", "deny"));
  TRY(WriteProcFile(pid, "gid_map", "0 " + std::to_string(map.gid) + " 1"));
  return WriteProcFile(pid, "uid_map", "0 " + std::to_string(map.uid) + " 1");
}

Outcome<void> ReadChildFailure(int fd, const std::string& program) {
  ChildFailure failure{};
  ssize_t n;
  do {
    n = ::read(fd, &failure, sizeof failure);
  } while (n < 0 && errno == EINTR);
  if (n == 0) return {};
  if (n != sizeof failure) return Error::Internal(program + " ended before it ran");
  return SystemError(program + " could not " + StepName(failure.step), failure.error);
}

struct Pipe {
  UniqueFd read;
  UniqueFd write;
};
Outcome<Pipe> MakePipe() {
  int fds[2];
  if (::pipe2(fds, O_CLOEXEC) != 0) return SystemError("cannot make a pipe", errno);
  return Pipe{UniqueFd(fds[0]), UniqueFd(fds[1])};
}

}  // namespace

Outcome<ProcessHandle> Spawn(const SpawnRequest& request) {
  const std::string program = request.argv.empty() ? "?" : request.argv[0];
  UniqueFd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  if (!null.valid()) return SystemError("cannot open /dev/null", errno);

  std::vector<std::pair<int, int>> wanted = {{null.get(), 0}, {null.get(), 1}};
  wanted.emplace_back(request.log_fd >= 0 ? request.log_fd : null.get(), 2);
  wanted.insert(wanted.end(), request.fds.begin(), request.fds.end());
  int last_fd = 2;
  for (const auto& [from, to] : wanted) last_fd = std::max(last_fd, to);

  const int floor = last_fd + kOwnFds + 1;
  std::vector<UniqueFd> keep;
  std::vector<std::pair<int, int>> moved;
  for (const auto& [from, to] : wanted) {
    keep.push_back(TRY(DupAbove(from, floor)));
    moved.emplace_back(keep.back().get(), to);
  }
  Pipe go = TRY(MakePipe());
  Pipe failure = TRY(MakePipe());
  UniqueFd binary = TRY(DupAbove(request.binary_fd, floor));
  UniqueFd go_read = TRY(DupAbove(go.read.get(), floor));
  UniqueFd failure_write = TRY(DupAbove(failure.write.get(), floor));
  go.read.Reset();
  failure.write.Reset();

  std::vector<char*> argv = Pointers(request.argv);
  std::vector<char*> env = Pointers(request.env);
  const bool new_user = (request.namespaces & CLONE_NEWUSER) != 0;
  const ChildPlan plan{.binary_fd = binary.get(),
                       .argv = argv.data(),
                       .env = env.data(),
                       .go_fd = go_read.get(),
                       .failure_fd = failure_write.get(),
                       .new_user_namespace = new_user,
                       .drop_groups = ::geteuid() == 0,
                       .fds = moved.data(),
                       .fd_count = moved.size(),
                       .last_fd = last_fd};

  if (int e = FaultPoint("spawn.clone")) return SystemError("cannot start " + program, e);
  int pidfd = -1;
  clone_args args{};
  args.flags = request.namespaces | CLONE_PIDFD;
  args.pidfd = reinterpret_cast<uint64_t>(&pidfd);
  args.exit_signal = SIGCHLD;
  // SAFETY: without CLONE_VM this is a fork; the child calls only RunChild.
  const long pid = ::syscall(SYS_clone3, &args, sizeof args);
  if (pid == 0) RunChild(plan);
  if (pid < 0) return SystemError("cannot start " + program + " in new namespaces", errno);

  ProcessHandle child({static_cast<pid_t>(pid), StartTicks(static_cast<pid_t>(pid)).value_or(0)},
                      UniqueFd(pidfd));
  go_read.Reset();
  failure_write.Reset();
  auto prepare = [&]() -> Outcome<void> {
    if (new_user && request.map) TRY(WriteMaps(static_cast<pid_t>(pid), *request.map));
    if (request.before_exec) TRY(request.before_exec(child.identity()));
    if (int e = FaultPoint("spawn.go")) return SystemError("cannot release " + program, e);
    if (::write(go.write.get(), "g", 1) != 1) {
      return SystemError("cannot release " + program, errno);
    }
    return ReadChildFailure(failure.read.get(), program);
  };
  Outcome<void> prepared = prepare();
  if (!prepared.ok()) {
    child.KillAndReap();
    return prepared.error();
  }
  return child;
}

}  // namespace sandboxd::daemon
