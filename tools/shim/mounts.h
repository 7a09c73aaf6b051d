// The mounts that containerd wants on a bundle's rootfs.
#pragma once

#include <google/protobuf/repeated_field.h>

#include <string>

#include "daemon/error/error.h"
#include "tools/shim/proto/task.pb.h"

namespace sandboxd::shim {

// All of them on `target`, in order. On failure none stays.
daemon::Outcome<void> MountAll(
    const google::protobuf::RepeatedPtrField<containerd::task::v2::Mount>& mounts,
    const std::string& target);
// Everything that is mounted on `target`; idempotent.
void UnmountAll(const std::string& target);

// What mount(2) takes for options as in fstab: flags, and the rest joined by commas.
struct MountArguments {
  unsigned long flags = 0;
  unsigned long propagation = 0;  // a second call, of its own
  std::string data;
};
MountArguments ParseMountOptions(const google::protobuf::RepeatedPtrField<std::string>& options);

}  // namespace sandboxd::shim
