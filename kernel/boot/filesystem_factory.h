// FilesystemFactory: makes the file systems of a container's mounts, the ones that need parts of
// the kernel included.
#pragma once

#include <string>

#include "kernel/boot/kernel_caller.h"
#include "kernel/boot/mount_plan.h"
#include "kernel/task/kernel.h"
#include "kernel/vfs/inode.h"
#include "platform/base/result.h"
#include "platform/base/unique_fd.h"

namespace sandboxd::boot {

class FilesystemFactory {
 public:
  explicit FilesystemFactory(task::Kernel& kernel) : kernel_(kernel) {}

  // A tree that a gofer serves on `connection`. With `exclusive`, nobody else changes it: what was
  // read once is true.
  Result<Ref<vfs::Superblock>> Gofer(UniqueFd connection, bool exclusive);
  // Any other type that PlanMounts lets through; `pid_ns` is the container's.
  Result<Ref<vfs::Superblock>> Make(KernelCaller& caller, const PlannedMount& mount,
                                    Ref<task::PidNamespace> pid_ns);

 private:
  task::Kernel& kernel_;
};

}  // namespace sandboxd::boot
