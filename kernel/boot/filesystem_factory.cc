#include "kernel/boot/filesystem_factory.h"

#include "kernel/boot/proc_options.h"
#include "kernel/fs/gofer/superblock.h"
#include "kernel/fs/proc/proc_fs.h"
#include "kernel/vfs/vfs.h"

namespace sandboxd::boot {

Result<Ref<vfs::Superblock>> FilesystemFactory::Gofer(UniqueFd connection, bool exclusive) {
  if (!connection.valid()) return Errno::kEBADF;
  return gofer_fs::Connect(std::move(connection),
                           exclusive ? gofer_fs::Sharing::kExclusive : gofer_fs::Sharing::kShared);
}

Result<Ref<vfs::Superblock>> FilesystemFactory::Make(KernelCaller& caller,
                                                     const PlannedMount& mount,
                                                     Ref<task::PidNamespace> pid_ns) {
  // A container's proc shows the container's processes, whoever mounts it.
  if (mount.type == "proc") {
    return proc::NewProcSuperblock(kernel_, std::move(pid_ns),
                                   SandboxProcOptions(kernel_.network()));
  }
  vfs::FilesystemType* type = kernel_.vfs().FindFilesystem(mount.type);
  if (type == nullptr) return Errno::kENODEV;
  return type->Mount(caller, mount.source, mount.options);
}

}  // namespace sandboxd::boot
