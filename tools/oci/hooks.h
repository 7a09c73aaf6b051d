// Hooks of the OCI runtime specification: programs of whoever made the bundle, run on the host with
// the rights of whoever runs it, never by the daemon.
#pragma once

#include <string>

#include "daemon/error/error.h"

namespace sandboxd::oci {

using daemon::Error;
using daemon::Outcome;

// Runs every hook of `kind` ("prestart") of a `hooks` object in order, each with `state` (JSON) on
// its standard input. Stops at the first that fails: a status other than 0, a signal, or its
// timeout, after which it is killed. The error names the hook and ends with what it wrote to its
// standard error.
Outcome<void> RunHooks(const std::string& hooks, const std::string& kind, const std::string& state);
bool HasHooks(const std::string& hooks, const std::string& kind);

}  // namespace sandboxd::oci
