// The ioctls that any socket answers about the network's interfaces (netdevice(7)).
#pragma once

#include "kernel/net/stack.h"

namespace sandboxd::net {

// SIOCGIFCONF, SIOCGIFADDR and their relatives; ENOTTY for other commands.
Result<uint64_t> InterfaceIoctl(NetworkStack& stack, vfs::Caller& c, uint32_t command,
                                uint64_t argument);

}  // namespace sandboxd::net
