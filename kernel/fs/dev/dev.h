// The memory devices (null(4), full(4), random(4)) and a devtmpfs with their nodes.
#pragma once

#include "kernel/fs/tmpfs/memory_files.h"
#include "kernel/vfs/vfs.h"

namespace sandboxd::dev {

// Registers null, zero, full, random, urandom (major 1). Terminals (major 5) register themselves
// (kernel/fs/pts), the console is kernel/boot's.
void RegisterMemoryDevices(vfs::Vfs& vfs);

// "devtmpfs": a tmpfs with the nodes of a container's /dev: null zero full random urandom tty
// console, ptmx -> pts/ptmx, fd and std* -> /proc/self/fd, and the folders pts, shm, mqueue.
class DevtmpfsType final : public vfs::FilesystemType {
 public:
  explicit DevtmpfsType(tmpfs::MemoryFiles& memory = tmpfs::HostMemoryFiles()) : memory_(memory) {}
  std::string_view name() const override { return "devtmpfs"; }
  Result<Ref<vfs::Superblock>> Mount(vfs::Caller& c, std::string_view source,
                                     std::string_view options) override;

 private:
  tmpfs::MemoryFiles& memory_;
};

// The same for kernel/boot, without a caller.
Result<Ref<vfs::Superblock>> CreateDevtmpfs(tmpfs::MemoryFiles& memory);

}  // namespace sandboxd::dev
