#include "kernel/fs/tmpfs/memory_files.h"

#include <fcntl.h>
#include <sys/mman.h>

#include <string>

namespace sandboxd::tmpfs {

Result<UniqueFd> MemoryFiles::Create() { return WrapFd(memfd_create("sandbox-file", MFD_CLOEXEC)); }

Result<UniqueFd> MemoryFiles::ReopenReadOnly(int memfd) {
  std::string link = "/proc/self/fd/" + std::to_string(memfd);
  return WrapFd(open(link.c_str(), O_RDONLY | O_CLOEXEC));
}

MemoryFiles& HostMemoryFiles() {
  static MemoryFiles* files = new MemoryFiles;
  return *files;
}

}  // namespace sandboxd::tmpfs
