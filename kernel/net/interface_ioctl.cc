// The ioctls of sockets that ask about interfaces (netdevice(7)).
#include "kernel/net/interface_ioctl.h"

#include <linux/capability.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <cstring>
#include <optional>

#include "kernel/vfs/caller.h"

namespace sandboxd::net {
namespace {

struct UserIfreq {  // struct ifreq
  char name[IFNAMSIZ];
  union {
    sockaddr_in address;
    struct {
      uint16_t family;
      uint8_t hardware[14];
    } link;
    int16_t flags;
    int32_t number;
    uint64_t map[3];
  };
};
static_assert(sizeof(UserIfreq) == 40);

struct UserIfconf {  // struct ifconf
  int32_t length;
  int32_t pad;
  uint64_t buffer;
};

void SetAddress(UserIfreq& r, uint32_t host_order) {
  r.address = {};
  r.address.sin_family = AF_INET;
  r.address.sin_addr.s_addr = htonl(host_order);
}

// The first IPv4 address.
const InterfaceAddress* V4Of(const Interface& i) {
  for (const InterfaceAddress& a : i.addresses) {
    if (a.address.is_v4()) return &a;
  }
  return nullptr;
}

uint32_t MaskOf(const InterfaceAddress& a) {
  return a.prefix == 0 ? 0 : ~uint32_t{0} << (32 - a.prefix);
}

Result<uint64_t> ListInterfaces(const std::vector<Interface>& all, vfs::Caller& c, UserAddr at) {
  auto conf = TRY(c.memory().Read<UserIfconf>(at));
  std::vector<UserIfreq> requests;
  for (const Interface& i : all) {
    const InterfaceAddress* a = V4Of(i);
    if (a == nullptr) continue;
    UserIfreq r = {};
    strncpy(r.name, i.name.c_str(), IFNAMSIZ - 1);
    SetAddress(r, a->address.v4());
    requests.push_back(r);
  }
  size_t count = requests.size();
  if (conf.buffer != 0) {
    count = std::min(count, static_cast<size_t>(std::max(conf.length, 0)) / sizeof(UserIfreq));
    TRY(c.memory().CopyOut(UserAddr(conf.buffer), std::as_bytes(std::span(requests).first(count))));
  }
  conf.length = static_cast<int32_t>(count * sizeof(UserIfreq));
  TRY(c.memory().Write(at, conf));
  return uint64_t{0};
}

bool IsQuery(uint32_t command) {
  switch (command) {
    case SIOCGIFNAME:
    case SIOCGIFINDEX:
    case SIOCGIFFLAGS:
    case SIOCGIFADDR:
    case SIOCGIFDSTADDR:
    case SIOCGIFBRDADDR:
    case SIOCGIFNETMASK:
    case SIOCGIFMETRIC:
    case SIOCGIFMTU:
    case SIOCGIFHWADDR:
    case SIOCGIFTXQLEN:
    case SIOCGIFMAP:
      return true;
    default:
      return false;
  }
}

Result<void> Answer(uint32_t command, const Interface& i, UserIfreq& r) {
  const InterfaceAddress* v4 = V4Of(i);
  switch (command) {
    case SIOCGIFADDR:
    case SIOCGIFDSTADDR:
    case SIOCGIFBRDADDR:
    case SIOCGIFNETMASK:
      if (v4 == nullptr) return Errno::kEADDRNOTAVAIL;
      break;
    default:
      break;
  }
  switch (command) {
    case SIOCGIFNAME:
      strncpy(r.name, i.name.c_str(), IFNAMSIZ - 1);
      break;
    case SIOCGIFINDEX:
      r.number = i.index;
      break;
    case SIOCGIFFLAGS:
      r.flags = static_cast<int16_t>(i.flags);
      break;
    case SIOCGIFADDR:
    case SIOCGIFDSTADDR:
      SetAddress(r, v4->address.v4());
      break;
    case SIOCGIFBRDADDR:
      SetAddress(r, (i.flags & IFF_LOOPBACK) != 0 ? 0 : v4->address.v4() | ~MaskOf(*v4));
      break;
    case SIOCGIFNETMASK:
      SetAddress(r, MaskOf(*v4));
      break;
    case SIOCGIFMETRIC:
      r.number = 0;
      break;
    case SIOCGIFMTU:
      r.number = static_cast<int32_t>(i.mtu);
      break;
    case SIOCGIFTXQLEN:
      r.number = static_cast<int32_t>(i.queue_length);
      break;
    case SIOCGIFHWADDR:
      r.link = {};
      r.link.family = i.type;
      memcpy(r.link.hardware, i.hardware.data(), i.hardware.size());
      break;
    default:  // SIOCGIFMAP
      memset(r.map, 0, sizeof(r.map));
      break;
  }
  return Ok();
}

}  // namespace

Result<uint64_t> InterfaceIoctl(NetworkStack& stack, vfs::Caller& c, uint32_t command,
                                uint64_t argument) {
  const UserAddr at(argument);
  if (command == SIOCGIFCONF) return ListInterfaces(stack.Interfaces(), c, at);
  const bool change = command == SIOCSIFFLAGS || command == SIOCSIFADDR ||
                      command == SIOCSIFNETMASK || command == SIOCSIFMTU ||
                      command == SIOCSIFHWADDR || command == SIOCADDRT || command == SIOCDELRT;
  // Interfaces are the sandbox's, not the program's.
  if (change) return Errno::kEPERM;
  if (!IsQuery(command)) return Errno::kENOTTY;
  auto request = TRY(c.memory().Read<UserIfreq>(at));
  request.name[IFNAMSIZ - 1] = '\0';
  for (const Interface& i : stack.Interfaces()) {
    const bool named = command == SIOCGIFNAME ? request.number == i.index : request.name == i.name;
    if (!named) continue;
    TRY(Answer(command, i, request));
    TRY(c.memory().Write(at, request));
    return uint64_t{0};
  }
  return Errno::kENODEV;
}

}  // namespace sandboxd::net
