// What systemd tells a service by environment variables, and what it is told back (sd_notify(3),
// sd_listen_fds(3), sd_watchdog_enabled(3)); without its library.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "platform/base/unique_fd.h"

namespace sandboxd::daemon {

// "READY=1". Does nothing without NOTIFY_SOCKET.
void NotifySystemd(const std::string& state);
// How often it wants to hear WATCHDOG=1, if it does: half of what it allows.
std::optional<std::chrono::microseconds> WatchdogPeriod();
// The sockets it listens on for us. Once: the variables are removed, so that no child takes them
// for its own.
std::vector<UniqueFd> TakeListenFds();

}  // namespace sandboxd::daemon
