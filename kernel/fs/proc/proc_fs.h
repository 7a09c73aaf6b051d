// The proc file system (proc(5)): what the sandbox's programs can see of its tasks and of the
// kernel.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "kernel/fs/pseudo/node.h"
#include "kernel/task/kernel.h"
#include "kernel/task/pid_namespace.h"
#include "kernel/vfs/inode.h"
#include "platform/base/ref.h"

namespace sandboxd::proc {

// What other floors know better. kernel/boot fills it in.
struct ProcOptions {
  // The device number (struct stat's encoding) of a session's controlling terminal.
  std::function<uint64_t(const RefCounted& terminal)> terminal_device;
  // Contents of /proc/net files ("tcp", "unix" …) instead of an empty table.
  std::map<std::string, pseudo::Generate> net_files;
};

// Mounts show the pid namespace of the task that mounts.
std::unique_ptr<vfs::FilesystemType> MakeProcFilesystem(task::Kernel& kernel,
                                                        ProcOptions options = {});

// An instance without a mounting task, for kernel/boot.
Ref<vfs::Superblock> NewProcSuperblock(task::Kernel& kernel, Ref<task::PidNamespace> ns,
                                       const ProcOptions& options = {});

}  // namespace sandboxd::proc
