#include "platform/kvm/kvm_platform.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <string>
#include <utility>

#include "platform/base/log.h"
#include "platform/kvm/machine_probe.h"
#include "platform/kvm/machine_settings.h"
#include "platform/stub/stub_seccomp.h"
#include "platform/systrap/turns.h"

namespace sandboxd::platform::kvm {
namespace {

constexpr char kDevice[] = "/dev/kvm";

// The device; or why not.
struct Opened {
  UniqueFd fd;
  std::string reason;
};
Opened OpenDevice() {
  Opened opened;
  opened.fd = UniqueFd(open(kDevice, O_RDWR | O_CLOEXEC));
  if (opened.fd.valid()) return opened;
  switch (errno) {
    case ENOENT:
    case ENODEV:
    case ENXIO:
      opened.reason = "the host has no /dev/kvm: no hardware virtualization, or no kvm module";
      break;
    case EACCES:
    case EPERM:
      opened.reason = "no permission to open /dev/kvm: join its group, or allow the device";
      break;
    default:
      opened.reason = std::string("opening /dev/kvm failed: ") + std::strerror(errno);
      break;
  }
  return opened;
}

Availability Try(int kvm_fd) {
  Availability can = CheckCapabilities(kvm_fd);
  if (!can.available) return can;
  switch (ProbeCallPath(kvm_fd)) {
    case CallPath::kEntry:
      break;
    case CallPath::kPageFault:
      can.automatic = false;
      can.reason =
          "its KVM emulates the privileged half of a processor: each system call takes a detour of "
          "tens of microseconds";
      break;
    case CallPath::kNone:
      return {false, "a trial machine didn't run: its KVM can't run code of ring 3"};
  }
  return can;
}

}  // namespace

Availability KvmPlatform::Probe(int kvm_fd) {
  if (kvm_fd >= 0) return Try(kvm_fd);
  Opened opened = OpenDevice();
  if (!opened.fd.valid()) return {false, opened.reason};
  return Try(opened.fd.get());
}

Result<std::unique_ptr<Platform>> KvmPlatform::Create(int kvm_fd) {
  UniqueFd own;
  if (kvm_fd < 0) {
    Opened opened = OpenDevice();
    if (!opened.fd.valid()) {
      LOG_ERROR("kvm: %s", opened.reason.c_str());
      return Errno::kENODEV;
    }
    own = std::move(opened.fd);
    kvm_fd = own.get();
  }
  if (Availability a = CheckCapabilities(kvm_fd); !a.available) {
    LOG_ERROR("kvm: %s", a.reason.c_str());
    return Errno::kENODEV;
  }
  systrap::SpinBudget::Allows();  // asks the host how many processors there are before lock-down
  auto settings = TRY(ReadMachineSettings(kvm_fd));
  auto started = TRY(stub::TemplateProcess::Start(stub::Kind::kMachine, kvm_fd, &settings->state));
  return std::unique_ptr<Platform>(new KvmPlatform(std::move(started), settings->limits));
}

Result<Ref<AddressSpace>> KvmPlatform::NewAddressSpace() {
  KvmAddressSpace::Parts parts = TRY(KvmAddressSpace::MakeParts(template_->layout()));
  const pid_t pid = TRY(template_->Spawn(parts.slots.fd()));
  if (setpgid(pid, pid) != 0) {
    const int error = errno;
    kill(pid, SIGKILL);
    waitpid(pid, nullptr, __WALL);
    return FromHostErrno(error);
  }
  return Ref<AddressSpace>(
      MakeRef<KvmAddressSpace>(pid, 0, std::move(parts), template_->layout(), graveyard_, limits_));
}

std::vector<Platform::HostSyscall> KvmPlatform::HostSyscalls() const {
  return {
      {SYS_futex, "taking turns with stub threads"},
      {SYS_wait4, "reaping stubs"},
      {SYS_kill, "ending stubs"},
      {SYS_tgkill, "interrupting a running virtual processor"},
      {SYS_setpgid, "giving a stub a process group of its own"},
      {SYS_getpgid, "telling a stub's own children from others"},
      {SYS_process_vm_readv, "reading an application's memory"},
      {SYS_process_vm_writev, "writing an application's memory"},
      {SYS_sendmsg, "asking the template for a stub; donating a descriptor to a stub"},
      {SYS_recvmsg, "the template's answer"},
      {SYS_pidfd_open, "taking our end of a stub's channel"},
      {SYS_pidfd_getfd, "taking our end of a stub's channel"},
      {SYS_memfd_create, "memory shared with a stub"},
      {SYS_ftruncate, "memory shared with a stub"},
      {SYS_waitid, "whether a stub thread that doesn't answer is dead"},
      {SYS_getcpu, "where a task runs; usually answered by the vdso"},
      {SYS_sched_setaffinity, "a stub and its task share a processor"},
      {SYS_close, "closing a channel"},
  };
}

std::string KvmPlatform::StubSeccomp() const {
  return stub::StubSeccompList(stub::Kind::kMachine).ToString();
}

}  // namespace sandboxd::platform::kvm
