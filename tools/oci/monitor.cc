#include "tools/oci/monitor.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <sched.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <vector>

#include "platform/base/check.h"

namespace sandboxd::oci {
namespace {

constexpr size_t kMaxMessage = 8192;

Outcome<std::string> Receive(int fd) {
  char buffer[kMaxMessage];
  ssize_t n;
  do {
    n = ::recv(fd, buffer, sizeof buffer, 0);
  } while (n < 0 && errno == EINTR);
  if (n <= 0) return Error::Internal("the monitor process has ended");
  return std::string(buffer, static_cast<size_t>(n));
}

// "+" or "-" and what went wrong.
Outcome<void> ReceiveResult(int fd) {
  const std::string answer = TRY(Receive(fd));
  if (answer[0] == '+') return {};
  return Error::Internal(answer.substr(1));
}

const char* NetworkFlag(const MonitorOptions& options) {
  switch (options.network) {
    case Bundle::Network::kHost:
      return "host";
    case Bundle::Network::kNew:
      return "new";
    case Bundle::Network::kJoin:
      return options.network_path.c_str();
  }
  return "host";
}

// With pid and mount namespaces of its own where we may make them: an engine that looks into the
// namespaces of the pid that it knows (podman top) is to find this one process there, not the
// host's.
pid_t ForkInNamespaces() {
  // SAFETY: without CLONE_VM this is a fork.
  const long pid =
      ::syscall(SYS_clone, CLONE_NEWPID | CLONE_NEWNS | SIGCHLD, nullptr, nullptr, nullptr, 0);
  return pid >= 0 ? static_cast<pid_t>(pid) : ::fork();
}

}  // namespace

Outcome<Monitor> Monitor::Start(const MonitorOptions& options) {
  int pair[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) {
    return Error::Internal(daemon::ErrnoText("cannot make a socket", errno));
  }
  UniqueFd ours(pair[0]);
  UniqueFd theirs(pair[1]);
  const std::string terminal = options.terminal_fd >= 0 ? "terminal" : "streams";
  const char* argv[] = {"sandboxd-oci", kMonitorCommand, NetworkFlag(options), terminal.c_str(),
                        nullptr};
  // Above the places where the child puts them.
  UniqueFd channel(::fcntl(theirs.get(), F_DUPFD_CLOEXEC, 10));
  const pid_t pid = ForkInNamespaces();
  if (pid < 0) return Error::Internal(daemon::ErrnoText("cannot start a monitor", errno));
  if (pid == 0) {
    // SAFETY: async-signal-safe calls only.
    if (options.terminal_fd >= 0) {
      for (int fd = 0; fd < 3; ++fd) ::dup2(options.terminal_fd, fd);
    }
    ::dup2(channel.get(), 3);
    ::syscall(SYS_close_range, 4, ~0U, 0);
    ::execv("/proc/self/exe", const_cast<char* const*>(argv));
    ::_exit(127);
  }
  theirs.Reset();
  channel.Reset();
  Monitor monitor(pid, std::move(ours));
  auto ready = ReceiveResult(monitor.channel_.get());
  if (!ready.ok()) {
    monitor.Kill();
    return ready.error();
  }
  return monitor;
}

Outcome<void> Monitor::Go(const std::string& address, const std::string& sandbox_id,
                          const std::string& process_id) {
  std::string message = address;
  message += '\0';
  message += sandbox_id;
  message += '\0';
  message += process_id;
  if (::send(channel_.get(), message.data(), message.size(), MSG_NOSIGNAL) < 0) {
    return Error::Internal("the monitor process has ended");
  }
  return ReceiveResult(channel_.get());
}

int Monitor::Wait() {
  channel_.Reset();
  int status = 0;
  while (::waitpid(pid_, &status, 0) < 0) {
    if (errno != EINTR) return 255;
  }
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

void Monitor::Kill() {
  ::kill(pid_, SIGKILL);
  Wait();
}

}  // namespace sandboxd::oci
