#include "tools/shim/mounts.h"

#include <sys/mount.h>
#include <unistd.h>

#include <cerrno>

namespace sandboxd::shim {
namespace {

using daemon::Error;
using daemon::Outcome;

struct Option {
  const char* name;
  unsigned long set;
  unsigned long clear;
};
// mount(8).
constexpr Option kOptions[] = {
    {"ro", MS_RDONLY, 0},
    {"rw", 0, MS_RDONLY},
    {"nosuid", MS_NOSUID, 0},
    {"suid", 0, MS_NOSUID},
    {"nodev", MS_NODEV, 0},
    {"dev", 0, MS_NODEV},
    {"noexec", MS_NOEXEC, 0},
    {"exec", 0, MS_NOEXEC},
    {"sync", MS_SYNCHRONOUS, 0},
    {"async", 0, MS_SYNCHRONOUS},
    {"dirsync", MS_DIRSYNC, 0},
    {"remount", MS_REMOUNT, 0},
    {"mand", MS_MANDLOCK, 0},
    {"nomand", 0, MS_MANDLOCK},
    {"noatime", MS_NOATIME, 0},
    {"atime", 0, MS_NOATIME},
    {"nodiratime", MS_NODIRATIME, 0},
    {"diratime", 0, MS_NODIRATIME},
    {"relatime", MS_RELATIME, 0},
    {"norelatime", 0, MS_RELATIME},
    {"strictatime", MS_STRICTATIME, 0},
    {"nostrictatime", 0, MS_STRICTATIME},
    {"bind", MS_BIND, 0},
    {"rbind", MS_BIND | MS_REC, 0},
    {"defaults", 0, 0},
    {"loop", 0, 0},
};
struct Propagation {
  const char* name;
  unsigned long flags;
};
constexpr Propagation kPropagations[] = {
    {"private", MS_PRIVATE},       {"rprivate", MS_PRIVATE | MS_REC},
    {"shared", MS_SHARED},         {"rshared", MS_SHARED | MS_REC},
    {"slave", MS_SLAVE},           {"rslave", MS_SLAVE | MS_REC},
    {"unbindable", MS_UNBINDABLE}, {"runbindable", MS_UNBINDABLE | MS_REC},
};

bool TakeFlag(const std::string& name, MountArguments* out) {
  for (const Option& known : kOptions) {
    if (name != known.name) continue;
    out->flags = (out->flags | known.set) & ~known.clear;
    return true;
  }
  for (const Propagation& known : kPropagations) {
    if (name != known.name) continue;
    out->propagation = known.flags;
    return true;
  }
  return false;
}

Outcome<void> MountOne(const containerd::task::v2::Mount& mount, const std::string& target) {
  const MountArguments arguments = ParseMountOptions(mount.options());
  const auto call = [&](const char* type, unsigned long flags, const char* data) -> Outcome<void> {
    if (::mount(mount.source().c_str(), target.c_str(), type, flags, data) == 0) return {};
    return Error(
        v1::ERROR_REASON_MOUNT_FAILED,
        daemon::ErrnoText("cannot mount " + mount.type() + " " + mount.source() + " on " + target,
                          errno));
  };
  TRY(call(mount.type().c_str(), arguments.flags, arguments.data.c_str()));
  // A bind mount takes its other flags only when it is mounted again.
  const unsigned long rest = arguments.flags & ~static_cast<unsigned long>(MS_BIND | MS_REC);
  if ((arguments.flags & MS_BIND) != 0 && rest != 0) {
    TRY(call("", MS_BIND | MS_REMOUNT | rest, nullptr));
  }
  if (arguments.propagation != 0) TRY(call("", arguments.propagation, nullptr));
  return {};
}

}  // namespace

MountArguments ParseMountOptions(const google::protobuf::RepeatedPtrField<std::string>& options) {
  MountArguments out;
  for (const std::string& option : options) {
    if (TakeFlag(option, &out)) continue;
    out.data += (out.data.empty() ? "" : ",") + option;
  }
  return out;
}

Outcome<void> MountAll(
    const google::protobuf::RepeatedPtrField<containerd::task::v2::Mount>& mounts,
    const std::string& target) {
  for (const auto& mount : mounts) {
    if (auto mounted = MountOne(mount, target); !mounted.ok()) {
      UnmountAll(target);
      return mounted.error();
    }
  }
  return {};
}

void UnmountAll(const std::string& target) {
  // Mounts may lie on each other. EINVAL: nothing is mounted there (any more).
  while (::umount2(target.c_str(), UMOUNT_NOFOLLOW) == 0 ||
         (errno == EBUSY && ::umount2(target.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW) == 0)) {
  }
}

}  // namespace sandboxd::shim
