// NetlinkMessage: one message in netlink(7)'s form: a header, a fixed part, attributes.
#pragma once

#include <linux/netlink.h>

#include <string_view>
#include <type_traits>
#include <vector>

#include "platform/base/types.h"

namespace sandboxd::net {

class NetlinkMessage {
 public:
  template <typename Fixed>
  requires std::is_trivially_copyable_v<Fixed> NetlinkMessage(uint16_t type, uint16_t flags,
                                                              const nlmsghdr& request,
                                                              uint32_t port, const Fixed& fixed) {
    nlmsghdr header = {};
    header.nlmsg_type = type;
    header.nlmsg_flags = flags;
    header.nlmsg_seq = request.nlmsg_seq;
    header.nlmsg_pid = port;
    Append(AsBytes(header));
    Append(AsBytes(fixed));
  }

  void Attribute(uint16_t type, ConstBytes data);
  template <typename T>
  requires std::is_trivially_copyable_v<T>
  void Attribute(uint16_t type, const T& value) { Attribute(type, AsBytes(value)); }
  void Text(uint16_t type, std::string_view text);  // with its NUL

  void Raw(ConstBytes bytes) { Append(bytes); }

  // With the length filled in; aligned.
  std::vector<std::byte> Finish();

 private:
  void Append(ConstBytes bytes);
  std::vector<std::byte> bytes_;
};

// The attributes behind the fixed part of a request; the last of each type.
ConstBytes FindAttribute(ConstBytes attributes, uint16_t type);

}  // namespace sandboxd::net
