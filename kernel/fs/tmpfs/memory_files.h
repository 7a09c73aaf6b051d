// Where the bytes of larger files live: memory of the host that has a descriptor.
#pragma once

#include <cstdint>

#include "platform/base/result.h"
#include "platform/base/unique_fd.h"

namespace sandboxd::tmpfs {

struct MemoryFile {
  UniqueFd fd;  // read-write
  uint64_t serial = 0;
};

// This one is memfd_create(2) and /proc/self/fd. kernel/boot has one of its own for a process that
// can't reach /proc.
class MemoryFiles {
 public:
  virtual ~MemoryFiles() = default;
  virtual Result<MemoryFile> Create();
  // A second open file description of the same file with read rights only, for stubs of
  // applications that may not write it. At most once for a file.
  virtual Result<UniqueFd> ReopenReadOnly(const MemoryFile& file);
  // Nobody will reopen it. The file itself lives as long as its descriptors.
  virtual void Forget(const MemoryFile& file);
};

MemoryFiles& HostMemoryFiles();

}  // namespace sandboxd::tmpfs
