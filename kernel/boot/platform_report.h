// Which platforms work on this host, as sandboxd asks for it with --list-platforms.
#pragma once

#include <string>

#include "platform/platform.h"

namespace sandboxd::boot {

// A line a platform, best first: its name, "yes", "slow" (it works, and `auto` passes over it) or
// "no", and a sentence that may be empty, with tabs between them. Every platform that says of
// itself that it works is tried, by making a stub in a process of its own. Call while the process
// has one thread.
std::string PlatformReport(const platform::PlatformOptions& options = {});

}  // namespace sandboxd::boot
