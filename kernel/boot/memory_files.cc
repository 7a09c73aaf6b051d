#include "kernel/boot/memory_files.h"

#include <fcntl.h>

namespace sandboxd::boot {
namespace {

class DuplicatingMemoryFiles final : public tmpfs::MemoryFiles {
 public:
  Result<UniqueFd> ReopenReadOnly(int memfd) override {
    return WrapFd(fcntl(memfd, F_DUPFD_CLOEXEC, 0));
  }
};

}  // namespace

tmpfs::MemoryFiles& SandboxMemoryFiles() {
  static DuplicatingMemoryFiles files;
  return files;
}

}  // namespace sandboxd::boot
