#include "platform/systrap/systrap_platform.h"

#include <linux/seccomp.h>
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <utility>

#include "platform/stub/free_main_stub.h"
#include "platform/stub/snippets_stub.h"
#include "platform/stub/stub_seccomp.h"
#include "platform/systrap/systrap_address_space.h"
#include "platform/systrap/turns.h"

namespace sandboxd::platform::systrap {
namespace {

constexpr unsigned long kHwcap2Fsgsbase = 2;  // arch/x86/include/uapi/asm/hwcap2.h

void KillAndReap(pid_t pid) {
  kill(pid, SIGKILL);
  while (waitpid(pid, nullptr, __WALL) < 0 && errno == EINTR) {
  }
}

}  // namespace

Availability SystrapPlatform::Probe() {
  const uint32_t trap = SECCOMP_RET_TRAP;
  if (syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &trap) != 0) {
    return {false, "the host's seccomp can't turn system calls into signals (SECCOMP_RET_TRAP)"};
  }
  if ((getauxval(AT_HWCAP2) & kHwcap2Fsgsbase) == 0) {
    return {false, "the host doesn't let programs set their segment bases (FSGSBASE)"};
  }
  return {true, ""};
}

Result<std::unique_ptr<Platform>> SystrapPlatform::Create() {
  SpinBudget::Allows();  // asks the host how many processors there are before lock-down
  auto started = TRY(stub::TemplateProcess::Start(stub::Kind::kFree));
  return std::unique_ptr<Platform>(new SystrapPlatform(std::move(started)));
}

SystrapPlatform::~SystrapPlatform() {
  MutexLock lock(mutex_);
  if (!next_) return;
  auto pid = template_->Receive();
  if (pid.ok()) KillAndReap(*pid);
}

Result<void> SystrapPlatform::OrderNext() {
  SharedSlots slots = TRY(SharedSlots::Create());
  TRY(template_->Order(slots.fd()));
  next_.emplace(std::move(slots));
  return Ok();
}

Result<Ref<AddressSpace>> SystrapPlatform::NewAddressSpace() {
  MutexLock lock(mutex_);
  if (!next_) TRY(OrderNext());
  SharedSlots slots = std::move(*next_);
  next_.reset();
  const pid_t pid = TRY(template_->Receive());
  // The one after this is made when it is wanted if it can't be made now.
  (void)OrderNext();
  if (setpgid(pid, pid) != 0) {
    const int error = errno;
    KillAndReap(pid);
    return FromHostErrno(error);
  }
  auto as = MakeRef<SystrapAddressSpace>(pid, 0, std::move(slots), template_->layout(), graveyard_);
  const auto* entry = reinterpret_cast<const char*>(&sandboxd_stub_direct);
  as->EnablePatching(
      std::make_unique<Patcher>(UserAddr(template_->layout().code() + stub::OffsetOf(entry))));
  return Ref<AddressSpace>(std::move(as));
}

std::vector<Platform::HostSyscall> SystrapPlatform::HostSyscalls() const {
  return {
      {SYS_futex, "taking turns with stub threads"},
      {SYS_wait4, "reaping stubs"},
      {SYS_kill, "ending stubs"},
      {SYS_tgkill, "interrupting a running stub thread"},
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

std::string SystrapPlatform::StubSeccomp() const {
  return stub::StubSeccompList(stub::Kind::kFree).ToString();
}

}  // namespace sandboxd::platform::systrap
