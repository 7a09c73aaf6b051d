#include <algorithm>
#include <array>
#include <string_view>

#include "daemon/oci/spec.h"
#include "platform/abi/process_names.h"

namespace sandboxd::daemon::oci {
namespace {

constexpr std::array<std::string_view, 8> kMountTypes = {
    "bind", "tmpfs", "proc", "sysfs", "devtmpfs", "devpts", "mqueue", "cgroup",
};

// Flags of mount(8) and of mount_namespaces(7).
constexpr std::array<std::string_view, 34> kMountFlags = {
    "ro",          "rw",          "suid",        "nosuid",        "dev",
    "nodev",       "exec",        "noexec",      "sync",          "async",
    "dirsync",     "atime",       "noatime",     "diratime",      "nodiratime",
    "relatime",    "norelatime",  "strictatime", "nostrictatime", "defaults",
    "bind",        "rbind",       "private",     "rprivate",      "slave",
    "rslave",      "shared",      "rshared",     "unbindable",    "runbindable",
    "newinstance", "nosymfollow", "lazytime",    "nolazytime",
};

// "key=value": tmpfs(5), and the options of devpts and proc.
constexpr std::array<std::string_view, 9> kMountValues = {
    "size=", "mode=", "uid=", "gid=", "nr_inodes=", "nr_blocks=", "ptmxmode=", "max=", "hidepid=",
};

template <size_t N>
bool Contains(const std::array<std::string_view, N>& list, const std::string& name) {
  return std::find(list.begin(), list.end(), name) != list.end();
}

}  // namespace

bool IsCapability(const std::string& name) {
  return std::find(std::begin(abi::kCapabilityNames), std::end(abi::kCapabilityNames), name) !=
         std::end(abi::kCapabilityNames);
}
bool IsRlimit(const std::string& name) {
  return std::any_of(std::begin(abi::kRlimitNames), std::end(abi::kRlimitNames),
                     [&](const abi::RlimitName& known) { return known.name == name; });
}
bool IsMountType(const std::string& type) { return Contains(kMountTypes, type); }

bool IsMountOption(const std::string& option) {
  if (Contains(kMountFlags, option)) return true;
  return std::any_of(kMountValues.begin(), kMountValues.end(), [&](std::string_view key) {
    return option.size() > key.size() && option.compare(0, key.size(), key) == 0;
  });
}

}  // namespace sandboxd::daemon::oci
