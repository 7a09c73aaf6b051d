#include "platform/ptrace/ptrace_platform.h"

#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <utility>

#include "platform/ptrace/ptrace_address_space.h"
#include "platform/stub/stub_seccomp.h"

namespace sandboxd::platform::ptrace {

// Traces a child as far as PTRACE_SYSEMU goes.
Availability PtracePlatform::Probe() {
  const pid_t child = static_cast<pid_t>(syscall(SYS_clone, 0, nullptr, nullptr, nullptr, nullptr));
  if (child < 0) return {false, "the host can't start a process to try ptrace with"};
  if (child == 0) {
    for (;;) pause();
  }
  Availability result{true, ""};
  int status = 0;
  if (syscall(SYS_ptrace, PTRACE_SEIZE, child, 0, PTRACE_O_EXITKILL) != 0) {
    result = {false, errno == EPERM ? "the host doesn't permit ptrace of child processes"
                                    : "the host doesn't support PTRACE_SEIZE"};
  } else if (syscall(SYS_ptrace, PTRACE_INTERRUPT, child, 0, 0) != 0 ||
             waitpid(child, &status, __WALL) != child || !WIFSTOPPED(status) ||
             syscall(SYS_ptrace, PTRACE_SYSEMU, child, 0, 0) != 0) {
    result = {false, "the host doesn't support PTRACE_SYSEMU"};
  }
  kill(child, SIGKILL);
  // Until it is gone: a stop that comes before that is not the end.
  do {
    if (waitpid(child, &status, __WALL) < 0 && errno != EINTR) break;
  } while (!WIFEXITED(status) && !WIFSIGNALED(status));
  return result;
}

Result<std::unique_ptr<Platform>> PtracePlatform::Create() {
  auto started = TRY(stub::TemplateProcess::Start(stub::Kind::kTraced));
  return std::unique_ptr<Platform>(new PtracePlatform(std::move(started)));
}

Result<Ref<AddressSpace>> PtracePlatform::NewAddressSpace() {
  const pid_t pid = TRY(template_->Spawn());
  return Ref<AddressSpace>(MakeRef<PtraceAddressSpace>(pid, template_->layout()));
}

std::vector<Platform::HostSyscall> PtracePlatform::HostSyscalls() const {
  return {
      {SYS_ptrace, "running and inspecting stub threads"},
      {SYS_waitid, "waiting until a stub thread stops"},
      {SYS_wait4, "reaping stubs"},
      {SYS_kill, "ending stubs"},
      {SYS_tgkill, "interrupting a running stub thread"},
      {SYS_process_vm_readv, "reading an application's memory"},
      {SYS_process_vm_writev, "writing an application's memory"},
      {SYS_sendmsg, "asking the template for a stub; donating a descriptor to a stub"},
      {SYS_recvmsg, "the template's answer"},
      {SYS_pidfd_open, "taking our end of a stub's channel"},
      {SYS_pidfd_getfd, "taking our end of a stub's channel"},
      {SYS_close, "closing a channel"},
  };
}

std::string PtracePlatform::StubSeccomp() const {
  return stub::StubSeccompList(stub::Kind::kTraced).ToString();
}

}  // namespace sandboxd::platform::ptrace
