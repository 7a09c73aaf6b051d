// Flags for limits: --memory 512m --cpus 1.5 --pids 100.
#pragma once

#include <string>

#include "client/cli/command.h"
#include "proto/sandboxd/v1/types.pb.h"

namespace sandboxd::cli {

#define LIMIT_FLAGS                                                                        \
  {"memory", '\0', "BYTES", "limit of all its memory: 512m, 2g; 0: none"},                 \
      {"memory-swap", '\0', "BYTES", "of memory and swap together"},                       \
      {"cpus", '\0', "N", "limit of CPU time: 1.5 CPUs; 0: none"},                         \
      {"cpu-shares", '\0', "N", "weight against others, 2 to 262144 (cgroup v1's terms)"}, \
      {"cpuset-cpus", '\0', "LIST", "CPUs it may use: 0-3,7"}, {                           \
    "pids", '\0', "N", "limit of its processes and threads; 0: none"                       \
  }

// Sets what is given, and adds its names ("memory_limit_bytes") to `fields` unless that is null.
// "" or what is wrong.
std::string FillResources(const Args& args, v1::Resources* resources,
                          std::vector<std::string>* fields);
// "512m" → bytes; also k, g, and plain numbers. False: not that.
bool ParseBytes(const std::string& text, uint64_t* bytes);

}  // namespace sandboxd::cli
