// How sandbox-kernel and sandbox-gofer are started: their command lines, descriptors, namespaces
// and ids. What they give up after exec (root folder, capabilities, system calls) is their own
// code's matter.
#pragma once

#include <string>
#include <vector>

#include "daemon/spawn/spawn.h"

namespace sandboxd::daemon {

// sandbox-kernel --control-fd=3 --log-fd=4 [--kvm-fd=5] --platform=P [--strace]: pid 1 of its own
// pid namespace, in user, mount, net, ipc and uts namespaces of its own, with a single id that is
// `host_id` outside.
struct KernelProcessRequest {
  int binary_fd = -1;
  int control_listen_fd = -1;
  int log_fd = -1;
  std::string platform;
  bool strace = false;
  HostId host_id;
  std::function<Outcome<void>(const ProcessIdentity&)> before_exec;
};
Outcome<ProcessHandle> SpawnKernel(const KernelProcessRequest& request);

// sandbox-kernel --list-platforms, started as a sandbox's kernel would be: what it prints. Blocks
// until it has ended; one that takes longer than 10 s is killed.
Outcome<std::string> ProbePlatforms(int binary_fd, HostId host_id);

// sandbox-gofer --root PATH --socket-fd=3 [--mount PATH,ro|rw,FD]... [--readonly] --log-fd=4:
// mount, pid, net, ipc and uts namespaces of its own. Without `map` it keeps the daemon's user
// namespace and ids (a root daemon serving root's files); with it, it is in a user namespace where
// its only id is that one, so it can read what that user can read.
struct GoferMount {
  std::string path;
  bool readonly = false;
  int socket_fd = -1;
};
struct GoferProcessRequest {
  int binary_fd = -1;
  std::string root;
  bool readonly = false;
  int socket_fd = -1;
  int log_fd = -1;
  std::vector<GoferMount> mounts;
  std::optional<HostId> map;
  std::function<Outcome<void>(const ProcessIdentity&)> before_exec;
};
Outcome<ProcessHandle> SpawnGofer(const GoferProcessRequest& request);

}  // namespace sandboxd::daemon
