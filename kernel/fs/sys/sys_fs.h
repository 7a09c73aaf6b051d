// A minimal sysfs(5): what C libraries, language runtimes and lscpu look for.
#pragma once

#include <memory>

#include "kernel/vfs/inode.h"
#include "platform/base/ref.h"

namespace sandboxd::sysfs {

// `cpus`: how many processors programs see.
std::unique_ptr<vfs::FilesystemType> MakeSysFilesystem(unsigned cpus);
Ref<vfs::Superblock> NewSysSuperblock(unsigned cpus);

}  // namespace sandboxd::sysfs
