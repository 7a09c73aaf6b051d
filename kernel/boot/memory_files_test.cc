#include "kernel/boot/memory_files.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <functional>
#include <string>

#include "platform/platform.h"

namespace sandboxd::boot {
namespace {

constexpr int kCannotRunHere = 77;

void Write(const char* path, const std::string& text) {
  UniqueFd fd(open(path, O_WRONLY | O_CLOEXEC));
  if (write(fd.get(), text.data(), text.size()) < 0) _exit(98);
}

// The exit status of `body` in a process with a user namespace and a memory folder of its own.
int WithFolder(const std::function<int()>& body) {
  const pid_t pid = fork();
  if (pid == 0) {
    const std::string uid = "0 " + std::to_string(geteuid()) + " 1";
    const std::string gid = "0 " + std::to_string(getegid()) + " 1";
    if (unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) _exit(kCannotRunHere);
    // Files can only be made by who has a number here (user_namespaces(7)).
    Write("/proc/self/setgroups", "deny");
    Write("/proc/self/uid_map", uid);
    Write("/proc/self/gid_map", gid);
    _exit(OpenMemoryFolder().ok() ? body() : 99);
  }
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) continue;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

#define EXPECT_STATUS_0(call)                                                            \
  do {                                                                                   \
    const int status = (call);                                                           \
    if (status == kCannotRunHere) GTEST_SKIP() << "this host allows no user namespaces"; \
    EXPECT_EQ(status, 0);                                                                \
  } while (0)

TEST(MemoryFilesTest, TheSecondDescriptionReadsWhatTheFirstWroteAndCannotWrite) {
  EXPECT_STATUS_0(WithFolder([] {
    auto file = SandboxMemoryFiles().Create();
    if (!file.ok() || pwrite(file->fd.get(), "hello", 5, 0) != 5) return 1;
    auto reader = SandboxMemoryFiles().ReopenReadOnly(*file);
    if (!reader.ok()) return 2;
    SandboxMemoryFiles().Forget(*file);
    char text[5];
    if (pread(reader->get(), text, 5, 0) != 5 || text[4] != 'o') return 3;
    if (pwrite(reader->get(), "x", 1, 0) != -1 || errno != EBADF) return 4;
    void* map = mmap(nullptr, 4096, PROT_READ, MAP_SHARED, reader->get(), 0);
    if (map == MAP_FAILED) return 5;
    return mprotect(map, 4096, PROT_READ | PROT_WRITE) == -1 && errno == EACCES ? 0 : 6;
  }));
}

TEST(MemoryFilesTest, AForgottenFileHasNoName) {
  EXPECT_STATUS_0(WithFolder([] {
    auto file = SandboxMemoryFiles().Create();
    if (!file.ok()) return 1;
    SandboxMemoryFiles().Forget(*file);
    return SandboxMemoryFiles().ReopenReadOnly(*file).ok() ? 2 : 0;
  }));
}

TEST(MemoryFilesTest, TheFolderHasNoWayOut) {
  EXPECT_STATUS_0(WithFolder([] {
    const int up = openat(kMemoryFolderFd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct stat here, above;
    if (up < 0 || fstat(up, &above) != 0 || fstat(kMemoryFolderFd, &here) != 0) return 1;
    return here.st_dev == above.st_dev && here.st_ino == above.st_ino ? 0 : 2;
  }));
}

// What an application could try that has taken its stub over: the stub itself makes the host call.
int ProtectInStub(std::string_view platform_name) {
  auto platform = platform::CreatePlatform(platform_name, {});
  if (!platform.ok()) return 1;
  auto space = (*platform)->NewAddressSpace();
  if (!space.ok()) return 2;
  auto context = (*space)->NewContext();
  auto file = SandboxMemoryFiles().Create();
  if (!context.ok() || !file.ok() || ftruncate(file->fd.get(), 8192) != 0) return 3;
  auto reader = SandboxMemoryFiles().ReopenReadOnly(*file);
  if (!reader.ok()) return 4;
  const AddrRange readable{UserAddr(0x500000), UserAddr(0x501000)};
  const AddrRange writable{UserAddr(0x600000), UserAddr(0x601000)};
  const auto shared = [](int fd) {
    platform::Backing backing;
    backing.host_fd = fd;
    backing.sharing = platform::Sharing::kShared;
    return backing;
  };
  platform::AddressSpace& as = **space;
  if (!as.Map(**context, readable, PROT_READ, shared(reader->get())).ok()) return 5;
  if (!as.Map(**context, writable, PROT_READ, shared(file->fd.get())).ok()) return 6;
  auto refused = as.Protect(**context, readable, PROT_READ | PROT_WRITE);
  if (refused.ok() || refused.error() != Errno::kEACCES) return 7;
  // A mapping of the writable description can be made so: it is the descriptor that decides.
  const int result = as.Protect(**context, writable, PROT_READ | PROT_WRITE).ok() ? 0 : 8;
  as.Kill();
  return result;
}

TEST(MemoryFilesTest, AStubCannotMakeAReadOnlySharedMappingWritable) {
  for (const platform::PlatformInfo& info : platform::ListPlatforms()) {
    if (!info.availability.available) continue;
    SCOPED_TRACE(std::string(info.name));
    EXPECT_STATUS_0(WithFolder([&] { return ProtectInStub(info.name); }));
  }
}

}  // namespace
}  // namespace sandboxd::boot
