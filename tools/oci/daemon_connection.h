// Which sandboxd an OCI tool talks to: the one it is told, else the machine's, else a private one
// that it starts and that ends by itself when its last sandbox is gone.
#pragma once

#include <string>

#include "client/cpp/error.h"
#include "daemon/error/error.h"

namespace sandboxd::oci {

using daemon::Error;
using daemon::Outcome;

struct DaemonOptions {
  std::string address;  // --sandboxd-address or SANDBOXD_ADDRESS; empty: look for one
  std::string binary;   // of sandboxd; empty: beside this program, else in PATH's usual places
  std::string folder;   // of a private daemon's state, socket and log
};

// The address of a daemon that answers. Starts the private one if need be; a lock in `folder` keeps
// two callers from starting two.
Outcome<std::string> FindOrStartDaemon(const DaemonOptions& options);
// Makes sure that the daemon at `address` answers: if that is `options`' private one and it has
// died, a new one is started, which takes the sandboxes over.
Outcome<void> EnsureDaemon(const DaemonOptions& options, const std::string& address);
std::string PrivateAddress(const DaemonOptions& options);

// A call's failure as an error of ours, with its reason.
Error FromClient(const client::Error& error);

}  // namespace sandboxd::oci
