#include "kernel/net/netlink/netlink_message.h"

#include <linux/rtnetlink.h>

#include <cstring>

namespace sandboxd::net {

void NetlinkMessage::Append(ConstBytes bytes) {
  bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
  bytes_.resize(NLMSG_ALIGN(bytes_.size()));
}

void NetlinkMessage::Attribute(uint16_t type, ConstBytes data) {
  rtattr header = {};
  header.rta_type = type;
  header.rta_len = static_cast<uint16_t>(sizeof(header) + data.size());
  Append(AsBytes(header));
  Append(data);
}

void NetlinkMessage::Text(uint16_t type, std::string_view text) {
  std::vector<std::byte> data(text.size() + 1);
  memcpy(data.data(), text.data(), text.size());
  Attribute(type, ConstBytes(data));
}

std::vector<std::byte> NetlinkMessage::Finish() {
  auto length = static_cast<uint32_t>(bytes_.size());
  memcpy(bytes_.data() + offsetof(nlmsghdr, nlmsg_len), &length, sizeof(length));
  return std::move(bytes_);
}

ConstBytes FindAttribute(ConstBytes attributes, uint16_t type) {
  ConstBytes found;
  while (attributes.size() >= sizeof(rtattr)) {
    rtattr header;
    memcpy(&header, attributes.data(), sizeof(header));
    if (header.rta_len < sizeof(header) || header.rta_len > attributes.size()) break;
    if ((header.rta_type & NLA_TYPE_MASK) == type) {
      found = attributes.subspan(sizeof(header), header.rta_len - sizeof(header));
    }
    attributes = attributes.subspan(std::min<size_t>(RTA_ALIGN(header.rta_len), attributes.size()));
  }
  return found;
}

}  // namespace sandboxd::net
