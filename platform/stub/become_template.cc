#include "platform/stub/become_template.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/rseq.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstring>
#include <initializer_list>

#include "platform/stub/free_main_stub.h"
#include "platform/stub/machine_main_stub.h"
#include "platform/stub/shared_context.h"
#include "platform/stub/snippets_stub.h"
#include "platform/stub/stub_seccomp.h"

namespace sandboxd::platform::stub {
namespace {

// Leaves with the line of the failure, which the parent logs.
[[noreturn]] void Fail(int socket, int32_t line) {
  send(socket, &line, sizeof(line), MSG_NOSIGNAL);
  _exit(1);
}
#define STEP(cond)                            \
  do {                                        \
    if (!(cond)) Fail(args.socket, __LINE__); \
  } while (0)

void DropRights(const BecomeTemplateArgs& args) {
  STEP(prctl(PR_SET_PDEATHSIG, SIGKILL) == 0);
  STEP(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
  prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct none[2]{};
  STEP(syscall(SYS_capset, &header, none) == 0);
  // A process with the same user may trace it; a change of user before us may have cleared this.
  STEP(prctl(PR_SET_DUMPABLE, 1) == 0);
  const rlimit no_core{0, 0};
  STEP(setrlimit(RLIMIT_CORE, &no_core) == 0);
  const rlim_t files = 16 + (args.layout.kind == Kind::kMachine ? kMaxSlots : 0);
  rlimit few_files;
  STEP(getrlimit(RLIMIT_NOFILE, &few_files) == 0);
  few_files.rlim_max = std::min(few_files.rlim_max, files);
  few_files.rlim_cur = few_files.rlim_max;
  STEP(setrlimit(RLIMIT_NOFILE, &few_files) == 0);
  prctl(PR_SET_NAME, "sandbox-stub");
}

void ResetSignals(const BecomeTemplateArgs& args) {
  struct sigaction action {};
  action.sa_handler = SIG_DFL;
  for (int signo = 1; signo < NSIG; signo++) sigaction(signo, &action, nullptr);
  uint64_t none = 0;
  STEP(syscall(SYS_rt_sigprocmask, SIG_SETMASK, &none, nullptr, sizeof(none)) == 0);
}

// The host writes to a registered area at any time, and kills the process if it is gone.
void UnregisterRseq(const BecomeTemplateArgs& args) {
  if (__rseq_size == 0) return;
  auto* area = static_cast<char*>(__builtin_thread_pointer()) + __rseq_offset;
  STEP(syscall(SYS_rseq, area, sizeof(struct rseq), RSEQ_FLAG_UNREGISTER, RSEQ_SIG) == 0);
}

void* MapAt(uint64_t address, size_t size) {
  return mmap(reinterpret_cast<void*>(address), size, PROT_READ | PROT_WRITE,
              MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
}

void BuildRegion(const BecomeTemplateArgs& args) {
  const Layout& layout = args.layout;
  const auto code_size = static_cast<size_t>(sandboxd_stub_end - sandboxd_stub_begin);
  STEP(code_size <= SANDBOXD_STUB_CODE_SIZE);
  void* code = MapAt(layout.code(), SANDBOXD_STUB_CODE_SIZE);
  STEP(code != MAP_FAILED);
  std::memset(code, 0xcc, SANDBOXD_STUB_CODE_SIZE);
  std::memcpy(code, sandboxd_stub_begin, code_size);
  STEP(mprotect(code, SANDBOXD_STUB_CODE_SIZE, PROT_READ | PROT_EXEC) == 0);

  auto* scratch = static_cast<std::byte*>(MapAt(layout.scratch(), kPageSize));
  STEP(scratch != MAP_FAILED);
  auto* header = reinterpret_cast<msghdr*>(scratch);
  auto* iov = reinterpret_cast<iovec*>(scratch + SANDBOXD_STUB_IOVEC);
  static_assert(offsetof(msghdr, msg_controllen) == SANDBOXD_STUB_MSG_CONTROLLEN);
  static_assert(CMSG_SPACE(sizeof(int)) == SANDBOXD_STUB_CONTROL_SIZE);
  iov->iov_base = scratch + SANDBOXD_STUB_IOVEC + sizeof(iovec);
  iov->iov_len = 1;
  header->msg_iov = iov;
  header->msg_iovlen = 1;
  header->msg_control = scratch + SANDBOXD_STUB_CONTROL;
  header->msg_controllen = SANDBOXD_STUB_CONTROL_SIZE;

  STEP(MapAt(layout.vector(), kPageSize) != MAP_FAILED);
  if (layout.kind == Kind::kMachine) {
    void* state = MapAt(layout.base + SANDBOXD_STUB_VM, SANDBOXD_STUB_VM_SIZE);
    STEP(state != MAP_FAILED);
    std::memcpy(state, args.machine, sizeof(MachineState));
  }
  if (layout.kind != Kind::kTraced) {
    static_assert(SANDBOXD_STUB_SLOTS_SIZE == kSlotsSize);
    static_assert(SANDBOXD_STUB_STACKS_SIZE == kMaxSlots * SANDBOXD_STUB_STACK_SIZE);
    STEP(mmap(reinterpret_cast<void*>(layout.stacks()), SANDBOXD_STUB_STACKS_SIZE,
              PROT_READ | PROT_WRITE,
              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1,
              0) != MAP_FAILED);
  }
}

uint64_t InStub(const BecomeTemplateArgs& args, const void* label) {
  return args.layout.code() + OffsetOf(static_cast<const char*>(label));
}

struct KernelSigaction {
  uint64_t handler;
  uint64_t flags;
  uint64_t restorer;
  uint64_t mask;
};

void Handle(const BecomeTemplateArgs& args, const void* handler, uint64_t flags, uint64_t mask,
            std::initializer_list<int> signals) {
  constexpr uint64_t kSaRestorer = 0x04000000;
  const KernelSigaction handle{InStub(args, handler), SA_SIGINFO | SA_NODEFER | kSaRestorer | flags,
                               InStub(args, reinterpret_cast<const void*>(&sandboxd_stub_restorer)),
                               mask};
  for (int signo : signals) STEP(syscall(SYS_rt_sigaction, signo, &handle, nullptr, 8) == 0);
}

// The handler of free stubs runs in the stub's own code on a stack of its own. It may be
// interrupted by its own faults only.
void InstallHandlers(const BecomeTemplateArgs& args) {
  auto bit = [](int signo) { return uint64_t{1} << (signo - 1); };
  KernelSigaction ignore{reinterpret_cast<uint64_t>(SIG_IGN), 0, 0, 0};
  for (int signo = 1; signo <= 64; signo++) {
    if (signo == SIGKILL || signo == SIGSTOP) continue;
    STEP(syscall(SYS_rt_sigaction, signo, &ignore, nullptr, 8) == 0);
  }
  if (args.layout.kind == Kind::kMachine) {
    Handle(args, reinterpret_cast<const void*>(&sandboxd_stub_machine_handler), 0, ~uint64_t{0},
           {SIGSEGV, SIGBUS, SIGUSR1});
  } else {
    Handle(args, reinterpret_cast<const void*>(&sandboxd_stub_handler), SA_ONSTACK,
           ~(bit(SIGSEGV) | bit(SIGBUS) | bit(SIGILL)),
           {SIGSYS, SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGUSR1});
  }
}

void MoveMapping(const BecomeTemplateArgs& args, const AddrRange& from, const AddrRange& to) {
  if (from.empty()) return;
  STEP(mremap(reinterpret_cast<void*>(from.start.value), from.length(), to.length(),
              MREMAP_MAYMOVE | MREMAP_FIXED,
              reinterpret_cast<void*>(to.start.value)) != MAP_FAILED);
}

}  // namespace

void BecomeTemplate(const BecomeTemplateArgs& outer) {
  BecomeTemplateArgs args = outer;
  const bool machine = args.layout.kind == Kind::kMachine;
  if (machine) {
    // Neither may be in the way of the other.
    args.socket = fcntl(args.socket, F_DUPFD_CLOEXEC, SANDBOXD_STUB_MACHINE);
    args.kvm_fd = fcntl(args.kvm_fd, F_DUPFD_CLOEXEC, SANDBOXD_STUB_MACHINE);
    STEP(args.kvm_fd >= 0);
    STEP(dup3(args.kvm_fd, SANDBOXD_STUB_KVM, O_CLOEXEC) == SANDBOXD_STUB_KVM);
  }
  if (args.socket != SANDBOXD_STUB_SOCKET) {
    STEP(dup2(args.socket, SANDBOXD_STUB_SOCKET) == SANDBOXD_STUB_SOCKET);
    args.socket = SANDBOXD_STUB_SOCKET;
  }
  const unsigned first_unused = machine ? SANDBOXD_STUB_MACHINE : SANDBOXD_STUB_SOCKET + 1;
  STEP(syscall(SYS_close_range, first_unused, ~0U, 0) == 0);
  DropRights(args);
  ResetSignals(args);
  UnregisterRseq(args);
  BuildRegion(args);
  // The data pages are several mappings of the host's; each moves by itself.
  const uint64_t delta = args.layout.vdso.vvar.start.value - args.from.vvar.start.value;
  for (const AddrRange& part : args.vvar_parts) {
    if (part.empty()) continue;
    MoveMapping(args, part, {part.start + delta, part.end + delta});
  }
  MoveMapping(args, args.from.vdso, args.layout.vdso.vdso);
  if (args.layout.kind != Kind::kTraced) InstallHandlers(args);
  const void* start_of_loop = sandboxd_stub_template;
  switch (args.layout.kind) {
    case Kind::kTraced:
      STEP(StubSeccompList(Kind::kTraced).Load().ok());
      break;
    case Kind::kFree:
      start_of_loop = reinterpret_cast<const void*>(&sandboxd_stub_free_template);
      STEP(LoadFreeFilter(args.layout.code()).ok());
      break;
    case Kind::kMachine:
      start_of_loop = reinterpret_cast<const void*>(&sandboxd_stub_machine_template);
      STEP(StubSeccompList(Kind::kMachine).Load().ok());
      break;
  }
  const uint64_t entry = InStub(args, start_of_loop);

  // SAFETY: from here on nothing of this binary is used; the snippet needs no stack and unmaps
  // ours.
  register uint64_t start asm("r12") = args.layout.base;
  register uint64_t end asm("r13") = args.layout.end();
  register uint64_t scratch asm("r14") = args.layout.scratch();
  asm volatile(
      "push %[user_end]\n\t"
      "pop %%rbp\n\t"
      "jmp *%[entry]"
      :
      : [user_end] "a"(kUserEnd), [entry] "c"(entry), "r"(start), "r"(end), "r"(scratch)
      : "memory");
  __builtin_unreachable();
}

}  // namespace sandboxd::platform::stub
