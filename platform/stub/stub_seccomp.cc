#include "platform/stub/stub_seccomp.h"

#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/membarrier.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstddef>
#include <vector>

#include "platform/stub/layout.h"
#include "platform/stub/machine.h"

namespace sandboxd::platform::stub {

using host::Arg32Is;
using host::ArgIs;

namespace {

// The requests to KVM by which a stub makes its machine and runs it. The machine's memory is the
// stub's own.
void AllowMachine(host::SeccompList& list) {
  const struct {
    unsigned long request;
    const char* reason;
  } kProcessor[] = {
      {KVM_RUN, "running the application"},
      {kSetCpuid2Request, "a new virtual processor's features"},
      {KVM_SET_XCRS, "a new virtual processor's vector units"},
      {kSetMsrsRequest, "a new virtual processor's entry for system calls"},
      {KVM_SET_DEVICE_ATTR, "a new virtual processor's clock is the host's"},
      {KVM_GET_SREGS, "a new virtual processor's segments and page tables"},
      {KVM_SET_SREGS, "likewise"},
      {kGetXsaveRequest, "the application's vector registers"},
      {kSetXsaveRequest, "likewise"},
  };
  auto number = [](unsigned long request) { return Arg32Is(1, static_cast<uint32_t>(request)); };
  list.Allow(SYS_ioctl, "a machine of this memory",
             {Arg32Is(0, SANDBOXD_STUB_KVM), number(KVM_CREATE_VM), ArgIs(2, 0)});
  list.Allow(SYS_ioctl, "a window of this memory for the machine",
             {Arg32Is(0, SANDBOXD_STUB_MACHINE), number(KVM_SET_USER_MEMORY_REGION)});
  list.Allow(SYS_ioctl, "a virtual processor for each thread",
             {Arg32Is(0, SANDBOXD_STUB_MACHINE), number(KVM_CREATE_VCPU)});
  for (const auto& p : kProcessor) list.Allow(SYS_ioctl, p.reason, {number(p.request)});
  list.Allow(SYS_close_range, "a child drops its parent's machine",
             {Arg32Is(0, SANDBOXD_STUB_MACHINE)});
  list.Allow(SYS_fcntl, "moving a descriptor out of the channel's place",
             {Arg32Is(1, F_DUPFD_CLOEXEC)});
}

}  // namespace

// An application may jump to a `syscall` instruction of ours, and under some platforms the host
// would carry the call out. So whatever is here is harmless with any arguments.
host::SeccompList StubSeccompList(Kind kind) {
  constexpr const char* kMemory = "changes the caller's own memory only";
  host::SeccompList list;
  list.Allow(SYS_mmap, "own memory; its only files are those donated to this application");
  list.Allow(SYS_munmap, kMemory);
  list.Allow(SYS_mprotect, kMemory);
  list.Allow(SYS_mremap, kMemory);
  list.Allow(SYS_madvise, kMemory);
  list.Allow(SYS_mincore, "tells about the caller's own memory only");
  list.Allow(SYS_clone,
             "a copy, a child of the kernel process, which kills those it didn't ask for",
             {ArgIs(0, SANDBOXD_STUB_FORK_FLAGS)});
  list.Allow(SYS_clone, "a thread, likewise", {ArgIs(0, SANDBOXD_STUB_THREAD_FLAGS)});
  list.Allow(SYS_prctl, "a child asks to die with the kernel process",
             {Arg32Is(0, PR_SET_PDEATHSIG), ArgIs(1, SIGKILL)});
  list.Allow(SYS_pause, "parking");
  list.Allow(SYS_socketpair, "the channel for descriptors; a pair leads nowhere else",
             {Arg32Is(0, AF_UNIX), Arg32Is(1, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK)});
  list.Allow(SYS_recvmsg, "takes descriptors that the kernel process sends to this application");
  list.Allow(SYS_recvfrom, "the template takes requests", {Arg32Is(0, SANDBOXD_STUB_SOCKET)});
  list.Allow(SYS_sendto, "the template answers; carries no descriptors",
             {Arg32Is(0, SANDBOXD_STUB_SOCKET)});
  list.Allow(SYS_close, "its own descriptors only");
  if (kind != Kind::kTraced) {
    list.Allow(SYS_futex, "taking turns with the kernel thread; reaches shared memory only");
    list.Allow(SYS_rt_sigreturn, "the end of a handler; sets the caller's registers only");
    list.Allow(SYS_gettid, "a new thread's number, for the list of its locks");
    list.Allow(SYS_set_robust_list, "tells the kernel thread of the caller's death");
  }
  if (kind == Kind::kFree) {
    list.Allow(SYS_sigaltstack, "a new thread's signal stack");
    for (int command : {MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE,
                        MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE}) {
      list.Allow(SYS_membarrier, "patching code; reaches the caller's own threads only",
                 {Arg32Is(0, static_cast<uint32_t>(command)), Arg32Is(1, 0)});
    }
  }
  if (kind == Kind::kMachine) AllowMachine(list);
  list.Allow(SYS_exit, "ends the caller");
  list.Allow(SYS_exit_group, "ends the caller");
  return list;
}

namespace {

// Classic BPF over struct seccomp_data (seccomp(2)).
class Program {
 public:
  void Load(size_t offset) {
    Add(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, static_cast<uint32_t>(offset)));
  }
  void Return(uint32_t action) { Add(BPF_STMT(BPF_RET | BPF_K, action)); }
  // Returns `action` unless the comparison holds.
  void Require(uint16_t comparison, uint32_t value, uint32_t action) {
    Add(BPF_JUMP(static_cast<uint16_t>(BPF_JMP | comparison | BPF_K), value, 1, 0));
    Return(action);
  }
  void Refuse(uint16_t comparison, uint32_t value, uint32_t action) {
    Add(BPF_JUMP(static_cast<uint16_t>(BPF_JMP | comparison | BPF_K), value, 0, 1));
    Return(action);
  }
  // Allows what the rule describes and goes on behind it otherwise. The number is loaded first.
  void Rule(const host::SeccompList::Rule& rule) {
    Load(offsetof(seccomp_data, nr));
    std::vector<size_t> misses;
    auto require = [&](uint32_t value) {
      misses.push_back(code_.size());
      Add(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, 0));
    };
    require(static_cast<uint32_t>(rule.number));
    for (const host::SeccompArg& a : rule.args) {
      const size_t at = offsetof(seccomp_data, args) + a.index * sizeof(uint64_t);
      for (int half = 0; half < 2; half++) {
        const auto mask = static_cast<uint32_t>(a.mask >> (32 * half));
        if (mask == 0) continue;
        Load(at + static_cast<size_t>(half) * sizeof(uint32_t));
        Add(BPF_STMT(BPF_ALU | BPF_AND | BPF_K, mask));
        require(static_cast<uint32_t>(a.value >> (32 * half)));
      }
    }
    Return(SECCOMP_RET_ALLOW);
    for (size_t jump : misses) {
      code_[jump].jf = static_cast<uint8_t>(code_.size() - jump - 1);
    }
  }
  Result<void> LoadInto() {
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return FromHostErrno(errno);
    const sock_fprog program{static_cast<unsigned short>(code_.size()), code_.data()};
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) != 0) {
      return FromHostErrno(errno);
    }
    return Ok();
  }

 private:
  void Add(sock_filter instruction) { code_.push_back(instruction); }
  std::vector<sock_filter> code_;
};

}  // namespace

Result<void> LoadFreeFilter(uint64_t code) {
  const auto high = static_cast<uint32_t>(code >> 32);
  const auto low = static_cast<uint32_t>(code);
  const uint32_t end = low + SANDBOXD_STUB_CODE_SIZE;
  if (end < low) return Errno::kEINVAL;  // it crosses a 4 GiB boundary
  constexpr size_t kIp = offsetof(seccomp_data, instruction_pointer);
  Program program;
  program.Load(offsetof(seccomp_data, arch));
  program.Require(BPF_JEQ, AUDIT_ARCH_X86_64, SECCOMP_RET_TRAP);
  program.Load(kIp + sizeof(uint32_t));
  program.Require(BPF_JEQ, high, SECCOMP_RET_TRAP);
  program.Load(kIp);
  program.Require(BPF_JGE, low, SECCOMP_RET_TRAP);
  program.Refuse(BPF_JGE, end, SECCOMP_RET_TRAP);
  const host::SeccompList list = StubSeccompList(Kind::kFree);
  for (const auto& rule : list.rules()) program.Rule(rule);
  program.Return(SECCOMP_RET_KILL_PROCESS);
  return program.LoadInto();
}

}  // namespace sandboxd::platform::stub
