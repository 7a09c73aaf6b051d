// What every sandbox shares: the daemon's machinery and settings. Outlives all sandboxes.
#pragma once

#include <unistd.h>

#include <functional>
#include <string>
#include <vector>

#include "daemon/loop/event_loop.h"
#include "daemon/loop/worker_pool.h"
#include "daemon/sandbox/event_log.h"
#include "daemon/sandbox/platforms.h"
#include "daemon/sandbox/state_store.h"
#include "daemon/spawn/cgroup.h"
#include "daemon/spawn/spawn.h"
#include "platform/base/unique_fd.h"

namespace sandboxd::daemon {

struct Settings {
  UniqueFd kernel_binary;
  UniqueFd gofer_binary;
  std::string kernel_path;  // for people
  std::string gofer_path;
  std::string default_platform = kAutoPlatform;
  // Who kernel processes are on the host, for a daemon that runs as root.
  HostId kernel_host_id{65534, 65534};
  bool rootless = false;
};

// Whom the single id of a kernel process's user namespace stands for on the host.
inline HostId KernelHostId(const Settings& settings) {
  return settings.rootless ? HostId{::geteuid(), ::getegid()} : settings.kernel_host_id;
}

struct Environment {
  Settings settings;
  EventLoop& loop;
  WorkerPool& workers;
  StateStore& store;
  EventLog& events;
  PlatformTable& platforms;
  // Deletes a sandbox by id, from a worker; for auto_delete.
  std::function<void(const std::string& id)> delete_sandbox;
  std::vector<CgroupHierarchy> cgroups = FindCgroupHierarchies();
};

}  // namespace sandboxd::daemon
