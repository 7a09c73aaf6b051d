// What host processes and all their descendants use, from /proc: for sandboxes without a cgroup.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <vector>

namespace sandboxd::daemon {

struct ProcessUsage {
  int64_t cpu_ns = 0;      // user and system, of reaped children too
  uint64_t rss_bytes = 0;  // pages that are shared count once for each process
};
// Processes that end meanwhile are left out.
ProcessUsage UsageOfTrees(const std::vector<pid_t>& roots);

}  // namespace sandboxd::daemon
