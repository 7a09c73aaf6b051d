// Which file systems a container gets, and mounting them.
#pragma once

#include <string>
#include <vector>

#include "kernel/boot/kernel_caller.h"
#include "kernel/boot/process_spec.h"
#include "kernel/vfs/vfs.h"
#include "proto/control/control.pb.h"

namespace sandboxd::boot {

// One file system to mount in a container, its options sorted out.
struct PlannedMount {
  std::string destination;  // absolute, normalized
  std::string type;
  std::string source;
  uint32_t flags = 0;   // vfs::MountFlags
  std::string options;  // what is left for the file system itself
  int gofer_fd = -1;    // index of the connection for type "gofer"
};

// The mounts that `spec` asks for, behind those that every container has (/proc, /dev, /dev/pts,
// /dev/shm, /dev/mqueue, /sys) unless it gives them itself; parents before children. A type or
// option that we do not know is an error that names it.
bool PlanMounts(const control::CreateContainer& spec, std::vector<PlannedMount>* plan,
                Failure* failure);

// Makes the place for a mount below the root of `caller`, a folder or an empty file, as OCI
// runtimes do.
Result<vfs::Path> EnsureMountpoint(vfs::Vfs& vfs, KernelCaller& caller,
                                   const std::string& destination, bool directory);

// maskedPaths and readonlyPaths of the OCI runtime spec. Paths that don't exist are skipped, as the
// spec says.
Result<void> MaskPath(vfs::Vfs& vfs, KernelCaller& caller, const std::string& path);
Result<void> MakeReadOnly(vfs::Vfs& vfs, KernelCaller& caller, const std::string& path);

}  // namespace sandboxd::boot
