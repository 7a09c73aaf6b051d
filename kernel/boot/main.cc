// sandbox-kernel: the application kernel of one sandbox. sandboxd starts it in namespaces of its
// own with a listening control socket; it gives up everything else and serves.
#include <fcntl.h>
#include <malloc.h>
#include <sys/resource.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <thread>

#include "kernel/boot/assemble.h"
#include "kernel/boot/control_server.h"
#include "kernel/boot/filesystem_factory.h"
#include "kernel/boot/memory_files.h"
#include "kernel/boot/options.h"
#include "kernel/boot/platform_report.h"
#include "kernel/boot/sandbox.h"
#include "kernel/boot/seccomp_list.h"
#include "kernel/boot/stdio_relay.h"
#include "platform/base/log.h"
#include "platform/host/lockdown.h"
#include "platform/platform.h"

namespace sandboxd::boot {
namespace {

// Nothing of the host is reachable behind this: no files, no capabilities, only the calls of the
// list.
Result<void> LockDown(const Options& options, const platform::Platform& platform) {
  UniqueFd null = TRY(WrapFd(open("/dev/null", O_RDWR | O_CLOEXEC)));
  for (int fd : {0, 1, 2}) {
    // A descriptor that we were told to use stays, whatever its number.
    if (fd == options.log_fd || fd == options.control_fd) continue;
    if (dup2(null.get(), fd) < 0) return FromHostErrno(errno);
  }
  TRY(host::EnterEmptyRoot());
  TRY(host::SetNoNewPrivsAndNoCore());
  TRY(host::DropAllCapabilities());
  return KernelSeccompList(platform).Load();
}

// The C library reads /proc/sys/vm/overcommit_memory when it first gives memory of a thread's arena
// back to the host, and remembers what it says. That must happen before the lock-down, which has no
// call for it: so a thread takes more than the trim threshold (128 KiB) and frees it.
void MakeAllocatorReadItsSettings() {
  std::thread([] {
    std::array<void* volatile, 64> chunks;  // volatile: a compiler may drop what nobody looks at
    for (auto& chunk : chunks) chunk = malloc(4000);
    for (auto& chunk : chunks) free(chunk);
  }).join();
}

void RaiseFdLimit() {
  rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
    LOG_WARNING("RLIMIT_NOFILE stays at its soft limit: errno %d", errno);
}

int Print(const std::string& text) {
  return fwrite(text.data(), 1, text.size(), stdout) == text.size() ? 0 : 1;
}

int Run(const Options& options) {
  SetLogFd(options.log_fd);
  const platform::PlatformOptions platform_options{.kvm_fd = options.kvm_fd};
  if (options.list_platforms) return Print(PlatformReport(platform_options));
  if (options.print_seccomp || options.print_stub_seccomp) {
    const auto described = platform::DescribePlatform(options.platform);
    if (described == nullptr) {
      fprintf(stderr, "sandbox-kernel: no platform \"%s\"\n", options.platform.c_str());
      return 2;
    }
    return Print(options.print_seccomp ? KernelSeccompList(*described).ToString()
                                       : described->StubSeccomp());
  }
  // Each arena costs address space and memory; a task's thread allocates little.
  mallopt(M_ARENA_MAX, 2);
  RaiseFdLimit();
  if (auto made = OpenMemoryFolder(); !made.ok()) {
    LOG_ERROR("no memory for files: %s", ErrnoMessage(made.error()));
    return 1;
  }
  // The platform makes its first stub while there is one thread and nothing in memory that a stub
  // should not see.
  auto platform = platform::CreatePlatform(options.platform, platform_options);
  if (!platform.ok()) {
    LOG_ERROR("platform \"%s\": %s", options.platform.c_str(), ErrnoMessage(platform.error()));
    return 1;
  }
  if (options.kvm_fd >= 0) close(options.kvm_fd);
  MakeAllocatorReadItsSettings();
  auto locked = LockDown(options, **platform);
  if (!locked.ok()) {
    LOG_ERROR("can't lock down: %s", ErrnoMessage(locked.error()));
    return 1;
  }
  std::unique_ptr<task::Kernel> kernel = Assemble(std::move(platform).value(), options.strace);
  auto relay = StdioRelay::Create();
  auto server = ControlServer::Create(UniqueFd(options.control_fd));
  if (!relay.ok() || !server.ok()) {
    LOG_ERROR("can't serve the control channel");
    return 1;
  }
  FilesystemFactory filesystems(*kernel);
  Sandbox sandbox(*kernel, **relay, filesystems, **server);
  (*server)->Serve([&](const control::Request& request, ControlServer::Fds fds) {
    return sandbox.Handle(request, std::move(fds));
  });
  // Stubs die with us; there is nothing to save.
  _exit(0);
}

}  // namespace
}  // namespace sandboxd::boot

int main(int argc, char** argv) {
  sandboxd::boot::Options options;
  std::string error = sandboxd::boot::ParseOptions(argc, argv, &options);
  if (!error.empty()) {
    fprintf(stderr, "sandbox-kernel: %s\n%s", error.c_str(), sandboxd::boot::kUsage);
    return 2;
  }
  if (options.help) {
    fputs(sandboxd::boot::kUsage, stdout);
    return 0;
  }
  return sandboxd::boot::Run(options);
}
