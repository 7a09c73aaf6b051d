#include "kernel/boot/memory_files.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdio>

#include "platform/base/log.h"

namespace sandboxd::boot {
namespace {

// A file has a name only until it is reopened or forgotten.
class PrivateFolder final : public tmpfs::MemoryFiles {
 public:
  Result<tmpfs::MemoryFile> Create() override {
    tmpfs::MemoryFile file;
    file.serial = next_.fetch_add(1, std::memory_order_relaxed);
    file.fd = TRY(WrapFd(openat(kMemoryFolderFd, Name(file.serial).data(),
                                O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600)));
    return file;
  }
  Result<UniqueFd> ReopenReadOnly(const tmpfs::MemoryFile& file) override {
    return WrapFd(
        openat(kMemoryFolderFd, Name(file.serial).data(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
  }
  void Forget(const tmpfs::MemoryFile& file) override {
    if (unlinkat(kMemoryFolderFd, Name(file.serial).data(), 0) != 0)
      LOG_WARNING("a memory file's name could not be removed: errno %d", errno);
  }

 private:
  static std::array<char, 24> Name(uint64_t serial) {
    std::array<char, 24> name;
    snprintf(name.data(), name.size(), "%llx", static_cast<unsigned long long>(serial));
    return name;
  }
  std::atomic<uint64_t> next_{1};
};

Result<void> Check(int result, const char* what) {
  if (result >= 0) return Ok();
  LOG_ERROR("memory of tmpfs files: %s: errno %d", what, errno);
  return FromHostErrno(errno);
}

}  // namespace

Result<void> OpenMemoryFolder() {
  UniqueFd context(fsopen("tmpfs", FSOPEN_CLOEXEC));
  TRY(Check(context.get(), "fsopen"));
  // As for memfds, no limit but that of the sandbox's memory.
  for (const auto& [key, value] : {std::pair{"size", "0"}, {"nr_inodes", "0"}, {"mode", "700"}}) {
    TRY(Check(fsconfig(context.get(), FSCONFIG_SET_STRING, key, value, 0), key));
  }
  TRY(Check(fsconfig(context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0), "creating it"));
  // Applications may map their files executable, so not NOEXEC.
  UniqueFd folder(fsmount(context.get(), FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV));
  TRY(Check(folder.get(), "fsmount"));
  if (fcntl(kMemoryFolderFd, F_GETFD) >= 0) return Errno::kEBUSY;
  return Check(dup3(folder.get(), kMemoryFolderFd, O_CLOEXEC), "dup3");
}

tmpfs::MemoryFiles& SandboxMemoryFiles() {
  static PrivateFolder files;
  return files;
}

}  // namespace sandboxd::boot
