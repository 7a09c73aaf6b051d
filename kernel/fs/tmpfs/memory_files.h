// Where the bytes of larger files live: memfds of the host.
#pragma once

#include "platform/base/result.h"
#include "platform/base/unique_fd.h"

namespace sandboxd::tmpfs {

// kernel/boot may give one of its own where the process can't reach /proc.
class MemoryFiles {
 public:
  virtual ~MemoryFiles() = default;
  // A fresh memfd, read-write.
  virtual Result<UniqueFd> Create();
  // A second open file description of the same memfd with read rights only, for stubs of
  // applications that may not write the file.
  virtual Result<UniqueFd> ReopenReadOnly(int memfd);
};

// memfd_create(2) and /proc/self/fd.
MemoryFiles& HostMemoryFiles();

}  // namespace sandboxd::tmpfs
