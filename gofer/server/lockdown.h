// What sandbox-gofer gives up before it serves.
//
// Afterwards: the root is an empty, read-only file system; the trees to serve are mounts that are
// in no namespace and are reached only through descriptors (their ".." is themselves); the working
// directory is the process's own descriptor table (SelfFds::Where::kWorkingDirectory); no other
// descriptor is open; the only capabilities are those that file serving needs.
#pragma once

#include <vector>

#include "gofer/server/options.h"
#include "gofer/server/session.h"
#include "platform/base/result.h"

namespace sandboxd::gofer {

// Needs a single thread. Logs what failed. One AttachPoint for each tree, in order; their sockets,
// the log and 0 to 2 stay open.
Result<std::vector<AttachPoint>> Lockdown(const Options& options);

}  // namespace sandboxd::gofer
