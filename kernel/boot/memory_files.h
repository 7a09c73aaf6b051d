// The bytes of tmpfs files in a process that has no /proc to open a second description through:
// files of a tmpfs of the host that belongs to this process alone and is mounted nowhere.
#pragma once

#include "kernel/fs/tmpfs/memory_files.h"

namespace sandboxd::boot {

// The folder's descriptor is always this one, so that the seccomp list can name it.
inline constexpr int kMemoryFolderFd = 9;

// Makes the folder. Before lock-down, with CAP_SYS_ADMIN in this process's user namespace, and
// while descriptor kMemoryFolderFd is free.
Result<void> OpenMemoryFolder();

// A stub gets a description with the rights that its application has to the file: the host refuses
// to make a mapping of a read-only one writable, whoever asks. Needs the folder.
tmpfs::MemoryFiles& SandboxMemoryFiles();

}  // namespace sandboxd::boot
