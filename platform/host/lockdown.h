// Steps by which a process of ours gives up what it does not need. Each is for a process with one
// thread, early in main.
#pragma once

#include <span>

#include "platform/base/result.h"

namespace sandboxd::host {

// Makes an empty, read-only file system the root of this process's mount namespace and lets go of
// the old one. Needs CAP_SYS_ADMIN in the user namespace that owns the mount namespace.
Result<void> EnterEmptyRoot();

// Empties every capability set, the bounding and ambient ones included, and locks that in
// (securebits).
Result<void> DropAllCapabilities();

// Closes every descriptor but `keep` (any order).
Result<void> CloseAllFdsBut(std::span<const int> keep);

// no_new_privs, and no core dumps, which would hold what sandboxes keep in memory.
Result<void> SetNoNewPrivsAndNoCore();

}  // namespace sandboxd::host
