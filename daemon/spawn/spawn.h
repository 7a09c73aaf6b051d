// Starts one process in namespaces of its own, with exactly the descriptors it is meant to have.
//
// The child waits before exec until the parent has written its id maps and has recorded it
// (`before_exec`); if the parent dies or fails there, the child ends without having run anything.
#pragma once

#include <sys/types.h>

#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "daemon/error/error.h"
#include "daemon/spawn/process_handle.h"
#include "platform/base/unique_fd.h"

namespace sandboxd::daemon {

// The only id inside the new user namespace is 0; this is who that is on the host.
struct HostId {
  uid_t uid = 0;
  gid_t gid = 0;
};

struct SpawnRequest {
  // What runs; by descriptor, because the new process may not be able to walk to its path.
  int binary_fd = -1;
  std::vector<std::string> argv;
  std::vector<std::string> env;
  // CLONE_NEW* of clone(2).
  uint64_t namespaces = 0;
  // With CLONE_NEWUSER.
  std::optional<HostId> map;
  // Descriptor here, number there. Every other descriptor is closed. 0 and 1 are /dev/null unless
  // given, 2 is `log_fd`.
  std::vector<std::pair<int, int>> fds;
  int log_fd = -1;
  // Called in the parent before the program runs; an error ends the child.
  std::function<Outcome<void>(const ProcessIdentity&)> before_exec;
};

// On error nothing is left: no process, no descriptor. The reason is always INTERNAL; callers say
// what it means for them.
Outcome<ProcessHandle> Spawn(const SpawnRequest& request);

}  // namespace sandboxd::daemon
