#include "daemon/spawn/kernel_process.h"

#include <sched.h>

namespace sandboxd::daemon {
namespace {

constexpr int kFirstFd = 3;
constexpr int kLogFd = 4;
constexpr int kFirstMountFd = 5;
constexpr uint64_t kCommonNamespaces =
    CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS;

}  // namespace

Outcome<ProcessHandle> SpawnKernel(const KernelProcessRequest& request) {
  SpawnRequest spawn;
  spawn.binary_fd = request.binary_fd;
  spawn.argv = {"sandbox-kernel", "--control-fd=" + std::to_string(kFirstFd),
                "--log-fd=" + std::to_string(kLogFd), "--platform=" + request.platform};
  if (request.strace) spawn.argv.push_back("--strace");
  spawn.namespaces = kCommonNamespaces | CLONE_NEWUSER;
  spawn.map = request.host_id;
  spawn.fds = {{request.control_listen_fd, kFirstFd}, {request.log_fd, kLogFd}};
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
