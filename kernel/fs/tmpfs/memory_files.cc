#include "kernel/fs/tmpfs/memory_files.h"

#include <fcntl.h>
#include <sys/mman.h>

#include <string>

namespace sandboxd::tmpfs {

Result<MemoryFile> MemoryFiles::Create() {
  return MemoryFile{TRY(WrapFd(memfd_create("sandbox-file", MFD_CLOEXEC)))};
}

Result<UniqueFd> MemoryFiles::ReopenReadOnly(const MemoryFile& file) {
  std::string link = "/proc/self/fd/" + std::to_string(file.fd.get());
  return WrapFd(open(link.c_str(), O_RDONLY | O_CLOEXEC));
}

void MemoryFiles::Forget(const MemoryFile&) {}

MemoryFiles& HostMemoryFiles() {
  static MemoryFiles* files = new MemoryFiles;
  return *files;
}

}  // namespace sandboxd::tmpfs
