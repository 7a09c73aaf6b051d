// The terminal of a container as OCI runtimes hand it over: its master goes to whoever listens on
// --console-socket, its slave to the monitor.
#pragma once

#include <cstdint>
#include <string>

#include "daemon/error/error.h"
#include "platform/base/unique_fd.h"

namespace sandboxd::oci {

// Makes a pseudo terminal, sends its master to the unix socket `console_socket`, returns the slave.
// `rows` or `cols` 0: the size is left to the receiver.
daemon::Outcome<UniqueFd> MakeConsole(const std::string& console_socket, uint16_t rows,
                                      uint16_t cols);

}  // namespace sandboxd::oci
