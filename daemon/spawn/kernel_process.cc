#include "daemon/spawn/kernel_process.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <optional>

namespace sandboxd::daemon {
namespace {

constexpr int kFirstFd = 3;
constexpr int kLogFd = 4;
constexpr int kFirstMountFd = 5;
constexpr int kKvmFd = 5;
constexpr uint64_t kCommonNamespaces =
    CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS;

// For a kernel process, which has no /dev and no right to it. Invalid if the host has none, or not
// for us: the process then says why.
UniqueFd OpenKvm() { return UniqueFd(::open("/dev/kvm", O_RDWR | O_CLOEXEC)); }

std::string KvmArgument() { return "--kvm-fd=" + std::to_string(kKvmFd); }

// How long the trial of all platforms may take, and how much it may say.
constexpr std::chrono::seconds kProbePatience{10};
constexpr size_t kProbeBytes = 64 << 10;

// Until end of file. Nothing if that took too long, or too much came.
std::optional<std::string> ReadAll(int fd) {
  const auto deadline = std::chrono::steady_clock::now() + kProbePatience;
  std::string text;
  while (text.size() < kProbeBytes) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        deadline - std::chrono::steady_clock::now());
    pollfd poll_fd{fd, POLLIN, 0};
    if (left.count() <= 0) return std::nullopt;
    if (::poll(&poll_fd, 1, static_cast<int>(left.count())) <= 0) continue;
    char buffer[4096];
    const ssize_t n = ::read(fd, buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return std::nullopt;
    if (n == 0) return text;
    text.append(buffer, static_cast<size_t>(n));
  }
  return std::nullopt;
}

}  // namespace

Outcome<std::string> ProbePlatforms(int binary_fd, HostId host_id) {
  int fds[2];
  if (::pipe2(fds, O_CLOEXEC) != 0) return Error::Internal(ErrnoText("cannot make a pipe", errno));
  UniqueFd ours(fds[0]), theirs(fds[1]);
  SpawnRequest spawn;
  spawn.binary_fd = binary_fd;
  spawn.argv = {"sandbox-kernel", "--list-platforms"};
  spawn.namespaces = kCommonNamespaces | CLONE_NEWUSER;
  spawn.map = host_id;
  spawn.fds = {{theirs.get(), 1}};
  const UniqueFd kvm = OpenKvm();
  if (kvm.valid()) {
    spawn.argv.push_back(KvmArgument());
    spawn.fds.emplace_back(kvm.get(), kKvmFd);
  }
  ProcessHandle probe = TRY(Spawn(spawn));
  theirs.Reset();
  const std::optional<std::string> text = ReadAll(ours.get());
  if (!text || !probe.WaitEnded(kProbePatience)) {
    probe.KillAndReap();
    return Error::Internal("sandbox-kernel --list-platforms did not answer");
  }
  const std::string end = probe.Reap();
  if (end != "exited with status 0") {
    return Error::Internal("sandbox-kernel --list-platforms " + end);
  }
  return *text;
}

Outcome<ProcessHandle> SpawnKernel(const KernelProcessRequest& request) {
  SpawnRequest spawn;
  spawn.binary_fd = request.binary_fd;
  spawn.argv = {"sandbox-kernel", "--control-fd=" + std::to_string(kFirstFd),
                "--log-fd=" + std::to_string(kLogFd), "--platform=" + request.platform};
  if (request.strace) spawn.argv.push_back("--strace");
  spawn.namespaces = kCommonNamespaces | CLONE_NEWUSER;
  spawn.map = request.host_id;
  spawn.fds = {{request.control_listen_fd, kFirstFd}, {request.log_fd, kLogFd}};
  UniqueFd kvm;
  if (request.platform == "kvm" && (kvm = OpenKvm()).valid()) {
    spawn.argv.push_back(KvmArgument());
    spawn.fds.emplace_back(kvm.get(), kKvmFd);
  }
  spawn.log_fd = request.log_fd;
  spawn.before_exec = request.before_exec;
  return Spawn(spawn);
}

Outcome<ProcessHandle> SpawnGofer(const GoferProcessRequest& request) {
  SpawnRequest spawn;
  spawn.binary_fd = request.binary_fd;
  spawn.argv = {"sandbox-gofer", "--root", request.root, "--socket-fd=" + std::to_string(kFirstFd),
                "--log-fd=" + std::to_string(kLogFd)};
  if (request.readonly) spawn.argv.push_back("--readonly");
  spawn.fds = {{request.socket_fd, kFirstFd}, {request.log_fd, kLogFd}};
  int next = kFirstMountFd;
  for (const GoferMount& mount : request.mounts) {
    spawn.argv.push_back("--mount=" + mount.path + (mount.readonly ? ",ro," : ",rw,") +
                         std::to_string(next));
    spawn.fds.emplace_back(mount.socket_fd, next++);
  }
  spawn.namespaces = kCommonNamespaces;
  if (request.map) {
    spawn.namespaces |= CLONE_NEWUSER;
    spawn.map = request.map;
  }
  spawn.log_fd = request.log_fd;
  spawn.before_exec = request.before_exec;
  return Spawn(spawn);
}

}  // namespace sandboxd::daemon
