#include "platform/ptrace/ptrace_address_space.h"

#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>

#include "platform/base/log.h"
#include "platform/host/fd_socket.h"
#include "platform/ptrace/ptrace_context.h"
#include "platform/stub/host_result.h"
#include "platform/stub/snippets_stub.h"

namespace sandboxd::platform::ptrace {
namespace {

void KillAndReap(pid_t pid) {
  kill(pid, SIGKILL);
  while (waitpid(pid, nullptr, __WALL) < 0 && errno == EINTR) {
  }
}

bool ReadStub(pid_t pid, uint64_t address, Bytes to) {
  iovec ours{to.data(), to.size()};
  iovec theirs{reinterpret_cast<void*>(address), to.size()};
  return process_vm_readv(pid, &ours, 1, &theirs, 1, 0) == static_cast<ssize_t>(to.size());
}

}  // namespace

PtraceAddressSpace::PtraceAddressSpace(pid_t leader, const stub::Layout& layout)
    : AddressSpace(leader), layout_(layout), parked_{leader} {}

PtraceAddressSpace::~PtraceAddressSpace() {
  // No context is left, as each holds a reference; so nobody else waits for these.
  for (pid_t pid : others_) KillAndReap(pid);
  KillAndReap(host_pid_);
}

Result<void> PtraceAddressSpace::MapFd(Context& by, AddrRange range, int prot, int flags,
                                       const Backing& backing) {
  Tracee& tracee = static_cast<PtraceContext&>(by).tracee();
  MutexLock lock(mutex_);
  TRY(EnsureSocket(static_cast<PtraceContext&>(by)));
  const std::byte payload[1] = {};
  TRY(host::SendFds(socket_.get(), payload, {&backing.host_fd, 1}));
  arch::Registers regs;
  regs.rbx = layout_.scratch();
  regs.r12 = range.start.value;
  regs.r13 = range.length();
  regs.r14 = static_cast<uint64_t>(prot);
  regs.r15 = static_cast<uint64_t>(flags);
  regs.rbp = backing.offset;
  TRY(tracee.RunSnippet(sandboxd_stub_map_fd, regs));
  TRY(stub::HostResult(regs.rax));
  return Ok();
}

// The stub makes the pair and we take one end out of it: so a fork, which may never map a file,
// costs nothing here.
Result<void> PtraceAddressSpace::EnsureSocket(PtraceContext& by) {
  if (socket_.valid()) return Ok();
  const uint64_t pair_at = layout_.scratch() + SANDBOXD_STUB_REPLY;
  TRY(HostCall(by, SYS_socketpair, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0,
               pair_at));
  int pair[2];
  if (!ReadStub(by.tracee().tid(), pair_at, AsWritableBytes(pair))) return Errno::kESRCH;
  CHECK(pair[0] == SANDBOXD_STUB_SOCKET);
  UniqueFd process = TRY(WrapFd(static_cast<int>(syscall(SYS_pidfd_open, by.tracee().tid(), 0))));
  UniqueFd ours =
      TRY(WrapFd(static_cast<int>(syscall(SYS_pidfd_getfd, process.get(), pair[1], 0))));
  TRY(HostCall(by, SYS_close, static_cast<uint64_t>(pair[1])));
  socket_ = std::move(ours);
  return Ok();
}

Result<void> PtraceAddressSpace::Mincore(Context& by, AddrRange range, Bytes vec) {
  MutexLock lock(mutex_);
  const pid_t tid = static_cast<PtraceContext&>(by).tracee().tid();
  uint64_t at = range.start.value;
  while (at < range.end.value && !vec.empty()) {
    const uint64_t pages =
        std::min<uint64_t>({(range.end.value - at) / kPageSize, kPageSize, vec.size()});
    TRY(HostCall(by, SYS_mincore, at, pages * kPageSize, layout_.vector()));
    if (!ReadStub(tid, layout_.vector(), vec.first(pages))) return Errno::kESRCH;
    vec = vec.subspan(pages);
    at += pages * kPageSize;
  }
  return Ok();
}

Result<Ref<AddressSpace>> PtraceAddressSpace::Fork(Context& by) {
  // Under the lock, so that the copy has no donated descriptor that another thread is mapping.
  MutexLock lock(mutex_);
  arch::Registers regs;
  regs.rax = SYS_clone;
  regs.rdi = SANDBOXD_STUB_FORK_FLAGS;
  regs.rbx = 1;
  TRY(static_cast<PtraceContext&>(by).tracee().RunSnippet(sandboxd_stub_clone, regs));
  const uint64_t pid = TRY(stub::HostResult(regs.rax));
  return Ref<AddressSpace>(MakeRef<PtraceAddressSpace>(static_cast<pid_t>(pid), layout_));
}

Result<void> PtraceAddressSpace::PrepareThread(Context& by) {
  MutexLock lock(mutex_);
  if (killed_) return Errno::kESRCH;
  arch::Registers regs;
  regs.rax = SYS_clone;
  regs.rdi = SANDBOXD_STUB_THREAD_FLAGS;
  TRY(static_cast<PtraceContext&>(by).tracee().RunSnippet(sandboxd_stub_clone, regs));
  const auto tid = static_cast<pid_t>(TRY(stub::HostResult(regs.rax)));
  parked_.push_back(tid);
  others_.push_back(tid);
  return Ok();
}

Result<std::unique_ptr<Context>> PtraceAddressSpace::NewContext() {
  pid_t tid;
  {
    MutexLock lock(mutex_);
    if (parked_.empty()) return Errno::kEAGAIN;
    tid = parked_.back();
    parked_.pop_back();
    contexts_++;
  }
  std::unique_ptr<PtraceContext> context(
      new PtraceContext(Ref<PtraceAddressSpace>(this), tid, layout_));
  TRY(context->tracee().Attach(tid == host_pid_));
  return std::unique_ptr<Context>(std::move(context));
}

bool PtraceAddressSpace::ReleaseThread(pid_t tid) {
  MutexLock lock(mutex_);
  contexts_--;
  if (contexts_ == 0 && parked_.empty()) {
    // Nothing can run here any more. The destructor reaps.
    KillLocked();
    return false;
  }
  if (tid == host_pid_) return true;
  KillAndReap(tid);
  std::erase(others_, tid);
  return false;
}

void PtraceAddressSpace::KillLocked() {
  killed_ = true;
  kill(host_pid_, SIGKILL);
  for (pid_t pid : others_) kill(pid, SIGKILL);
}

void PtraceAddressSpace::Kill() {
  MutexLock lock(mutex_);
  KillLocked();
}

}  // namespace sandboxd::platform::ptrace
