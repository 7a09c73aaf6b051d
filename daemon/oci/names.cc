#include <algorithm>
#include <array>
#include <string_view>

#include "daemon/oci/spec.h"

namespace sandboxd::daemon::oci {
namespace {

// capabilities(7).
constexpr std::array<std::string_view, 41> kCapabilities = {
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
};

// getrlimit(2).
constexpr std::array<std::string_view, 16> kRlimits = {
    "RLIMIT_AS",     "RLIMIT_CORE",   "RLIMIT_CPU",        "RLIMIT_DATA",
    "RLIMIT_FSIZE",  "RLIMIT_LOCKS",  "RLIMIT_MEMLOCK",    "RLIMIT_MSGQUEUE",
    "RLIMIT_NICE",   "RLIMIT_NOFILE", "RLIMIT_NPROC",      "RLIMIT_RSS",
    "RLIMIT_RTPRIO", "RLIMIT_RTTIME", "RLIMIT_SIGPENDING", "RLIMIT_STACK",
};

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

bool IsCapability(const std::string& name) { return Contains(kCapabilities, name); }
bool IsRlimit(const std::string& name) { return Contains(kRlimits, name); }
bool IsMountType(const std::string& type) { return Contains(kMountTypes, type); }

bool IsMountOption(const std::string& option) {
  if (Contains(kMountFlags, option)) return true;
  return std::any_of(kMountValues.begin(), kMountValues.end(), [&](std::string_view key) {
    return option.size() > key.size() && option.compare(0, key.size(), key) == 0;
  });
}

}  // namespace sandboxd::daemon::oci
