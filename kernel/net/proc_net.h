// The files of /proc/net that tell of the network: proc(5), "/proc/net".
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "kernel/net/network.h"

namespace sandboxd::net {

// The names that ProcNetText knows.
std::vector<std::string> ProcNetFiles();
std::string ProcNetText(Network& network, std::string_view name);

}  // namespace sandboxd::net
