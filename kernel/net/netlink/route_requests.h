// NETLINK_ROUTE's requests (rtnetlink(7)): what interfaces, addresses and routes there are.
#pragma once

#include <linux/netlink.h>

#include <vector>

#include "kernel/net/stack.h"
#include "platform/base/result.h"

namespace sandboxd::net {

using NetlinkReplies = std::vector<std::vector<std::byte>>;

// The replies to one request, whose header and body are given; `port` is the asking socket's.
// EOPNOTSUPP, ENODEV, EINVAL, EPERM for changes.
Result<NetlinkReplies> AnswerRouteRequest(NetworkStack& stack, vfs::Caller& c,
                                          const nlmsghdr& header, ConstBytes body, uint32_t port);

}  // namespace sandboxd::net
