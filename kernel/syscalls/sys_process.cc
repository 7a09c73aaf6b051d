// Making and ending processes, and their ids: clone(2), exit(2), setpgid(2), pidfd_open(2) and
// relatives.
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/kcmp.h>
#include <sched.h>
#include <signal.h>

#include <cstring>

#include "kernel/syscalls/families.h"
#include "kernel/task/access/ptrace_access.h"
#include "kernel/task/clone.h"
#include "kernel/task/namespaces.h"
#include "kernel/task/nsfs.h"
#include "kernel/task/pidfd.h"
#include "kernel/task/session.h"

#ifndef CLONE_CLEAR_SIGHAND
#define CLONE_CLEAR_SIGHAND 0x100000000ULL
#endif
#ifndef CLONE_INTO_CGROUP
#define CLONE_INTO_CGROUP 0x200000000ULL
#endif
#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x00000080
#endif

namespace sandboxd::syscalls {
namespace {

using task::CloneArgs;

Result<uint64_t> ToResult(Result<Tid> tid) {
  return static_cast<uint64_t>(TRY(std::move(tid)).value);
}

// --- making ---

Result<uint64_t> SysClone(Task& t, uint64_t flags, UserAddr stack, UserAddr parent_tid,
                          UserAddr child_tid, uint64_t tls) {
  CloneArgs args;
  args.flags = static_cast<uint32_t>(flags) & ~uint32_t{CSIGNAL};
  args.exit_signal = static_cast<int>(flags & CSIGNAL);
  // clone(2): with this interface both would be stored at parent_tid.
  if ((args.flags & CLONE_PIDFD) != 0 && (args.flags & CLONE_PARENT_SETTID) != 0) {
    return Errno::kEINVAL;
  }
  // Ignored since Linux 2.6.2, but not beside CLONE_PIDFD.
  if ((args.flags & CLONE_PIDFD) == 0) args.flags &= ~uint64_t{CLONE_DETACHED};
  args.pidfd = args.parent_tid = parent_tid;
  args.child_tid = child_tid;
  args.stack = stack;
  args.tls = tls;
  return ToResult(task::Clone(t, args));
}

Result<uint64_t> SysFork(Task& t) {
  CloneArgs args;
  args.exit_signal = SIGCHLD;
  return ToResult(task::Clone(t, args));
}

Result<uint64_t> SysVfork(Task& t) {
  CloneArgs args;
  args.flags = CLONE_VFORK | CLONE_VM;
  args.exit_signal = SIGCHLD;
  return ToResult(task::Clone(t, args));
}

struct AbiCloneArgs {  // struct clone_args
  uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls;
  uint64_t set_tid, set_tid_size, cgroup;
};
static_assert(sizeof(AbiCloneArgs) == 88);
constexpr uint64_t kCloneArgsSize0 = 64;
constexpr uint64_t kCloneArgsSize2 = 88;
constexpr uint64_t kMaxPidNamespaceLevel = 32;

// copy_struct_from_user of the ABI: fields that we don't know must be zero.
Result<AbiCloneArgs> ReadCloneArgs(Task& t, UserAddr addr, uint64_t size) {
  if (size > 4096) return Errno::kE2BIG;
  if (size < kCloneArgsSize0) return Errno::kEINVAL;
  auto bytes = TRY(t.memory().ReadArray<std::byte>(addr, size));
  for (size_t i = sizeof(AbiCloneArgs); i < bytes.size(); i++) {
    if (bytes[i] != std::byte{0}) return Errno::kE2BIG;
  }
  AbiCloneArgs a{};
  std::memcpy(&a, bytes.data(), std::min(bytes.size(), sizeof(a)));
  return a;
}

Result<void> CheckCloneArgs(const AbiCloneArgs& a, uint64_t size) {
  if (a.set_tid_size > kMaxPidNamespaceLevel) return Errno::kEINVAL;
  if ((a.set_tid == 0) != (a.set_tid_size == 0)) return Errno::kEINVAL;
  if ((a.exit_signal & ~uint64_t{CSIGNAL}) != 0 || a.exit_signal > signal::kSignalCount) {
    return Errno::kEINVAL;
  }
  if ((a.flags & CLONE_INTO_CGROUP) != 0 && (a.cgroup > INT32_MAX || size < kCloneArgsSize2)) {
    return Errno::kEINVAL;
  }
  constexpr uint64_t kKnown = 0xffffffffULL | CLONE_CLEAR_SIGHAND | CLONE_INTO_CGROUP;
  if ((a.flags & ~kKnown) != 0) return Errno::kEINVAL;
  if ((a.flags & (CLONE_DETACHED | (CSIGNAL & ~CLONE_NEWTIME))) != 0) return Errno::kEINVAL;
  if ((a.flags & (CLONE_THREAD | CLONE_PARENT)) != 0 && a.exit_signal != 0) return Errno::kEINVAL;
  if ((a.stack == 0) != (a.stack_size == 0)) return Errno::kEINVAL;
  return Ok();
}

Result<uint64_t> SysClone3(Task& t, UserAddr uargs, uint64_t size) {
  AbiCloneArgs a = TRY(ReadCloneArgs(t, uargs, size));
  TRY(CheckCloneArgs(a, size));
  CloneArgs args;
  args.flags = a.flags;
  args.pidfd = UserAddr(a.pidfd);
  args.child_tid = UserAddr(a.child_tid);
  args.parent_tid = UserAddr(a.parent_tid);
  args.exit_signal = static_cast<int>(a.exit_signal);
  args.stack = UserAddr(a.stack);
  args.stack_size = a.stack_size;
  args.tls = a.tls;
  args.cgroup = static_cast<int>(a.cgroup);
  for (int32_t id : TRY(t.memory().ReadArray<int32_t>(UserAddr(a.set_tid), a.set_tid_size))) {
    args.set_tid.push_back(Tid(id));
  }
  return ToResult(task::Clone(t, args));
}

// --- ending ---

Result<void> SysExit(Task& t, int32_t status) {
  t.PrepareExit(status & 0xff);
  return Ok();
}

Result<void> SysExitGroup(Task& t, int32_t status) {
  t.group().Kill({.code = status & 0xff});
  return Ok();
}

// --- ids ---

Result<uint64_t> SysGetpid(Task& t) { return static_cast<uint64_t>(t.tgid().value); }
Result<uint64_t> SysGettid(Task& t) { return static_cast<uint64_t>(t.tid().value); }
Result<uint64_t> SysGetppid(Task& t) { return static_cast<uint64_t>(task::ParentId(t).value); }
Result<uint64_t> SysGetpgid(Task& t, Tid pid) { return ToResult(task::GetProcessGroup(t, pid)); }
Result<uint64_t> SysGetpgrp(Task& t) { return ToResult(task::GetProcessGroup(t, Tid(0))); }
Result<void> SysSetpgid(Task& t, Tid pid, Tid pgid) { return task::SetProcessGroup(t, pid, pgid); }
Result<uint64_t> SysGetsid(Task& t, Tid pid) { return ToResult(task::GetSession(t, pid)); }
Result<uint64_t> SysSetsid(Task& t) { return ToResult(task::NewSession(t)); }

Result<uint64_t> SysSetTidAddress(Task& t, UserAddr addr) {
  t.clear_child_tid = addr;
  return static_cast<uint64_t>(t.tid().value);
}

// --- pidfds ---

constexpr uint32_t kPidfdNonblock = O_NONBLOCK;

Result<uint64_t> SysPidfdOpen(Task& t, Tid pid, uint32_t flags) {
  if ((flags & ~kPidfdNonblock) != 0 || pid.value <= 0) return Errno::kEINVAL;
  Ref<Task> target = TRY(task::FindThread(t, pid));
  if (!target->is_leader()) return Errno::kEINVAL;
  auto file = task::MakePidFd(t.kernel(), target->group_ref(), static_cast<int>(flags));
  return static_cast<uint64_t>(TRY(t.files().Install(std::move(file), true, t.fd_limit())).value);
}

Result<Ref<task::ThreadGroup>> GroupOfPidfd(Task& t, FdNum fd) {
  Ref<vfs::File> file = TRY(t.files().GetForIo(fd));
  auto* pidfd = vfs::FileAs<task::PidFd>(*file);
  if (pidfd == nullptr) return Errno::kEBADF;
  return pidfd->group();
}

Result<void> SysPidfdSendSignal(Task& t, FdNum fd, int32_t signo, UserAddr uinfo, uint32_t flags) {
  if (flags != 0) return Errno::kEINVAL;
  Ref<task::ThreadGroup> group = TRY(GroupOfPidfd(t, fd));
  if (!t.pid_ns()->IsAncestorOfOrSame(*group->pid_ns())) return Errno::kEINVAL;
  if (signo < 0 || signo > signal::kSignalCount) return Errno::kEINVAL;
  signal::SigInfo info = task::SignalFrom(t, *group, signo, SI_USER);
  if (!uinfo.null()) {
    info = TRY(t.memory().Read<signal::SigInfo>(uinfo));
    if (info.signo != signo) return Errno::kEINVAL;
    // Only to itself may a process say that the kernel, or kill(2), sent it.
    if (&t.group() != group.get() && (info.code >= 0 || info.code == SI_TKILL)) {
      return Errno::kEPERM;
    }
  }
  TRY(task::MaySignal(t, *group, signo));
  if (group->exit_status().has_value()) return Errno::kESRCH;
  if (signo == 0) return Ok();
  return group->SendSignal(info);
}

Result<uint64_t> SysPidfdGetfd(Task& t, FdNum fd, FdNum target_fd, uint32_t flags) {
  if (flags != 0) return Errno::kEINVAL;
  Ref<task::ThreadGroup> group = TRY(GroupOfPidfd(t, fd));
  Ref<Task> target = group->Leader();
  if (target == nullptr || group->exit_status().has_value()) return Errno::kESRCH;
  TRY(task::CheckPtraceAccess(t, *target, task::PtraceMode::kAttachReal));
  Ref<vfs::FdTable> files = target->files_ref();
  if (files == nullptr) return Errno::kEBADF;
  Ref<vfs::File> file = TRY(files->Get(target_fd));
  return static_cast<uint64_t>(TRY(t.files().Install(std::move(file), true, t.fd_limit())).value);
}

// --- namespaces ---

Result<void> SysUnshare(Task& t, uint64_t flags) {
  constexpr uint64_t kKnown = CLONE_THREAD | CLONE_VM | CLONE_SIGHAND | CLONE_FS | CLONE_FILES |
                              CLONE_SYSVSEM | task::kNamespaceFlags;
  if ((flags & ~kKnown) != 0) return Errno::kEINVAL;
  return task::Unshare(t, flags);
}

Result<void> SysSetns(Task& t, FdNum fd, int32_t type) {
  Ref<vfs::File> file = TRY(t.files().GetForIo(fd));
  const uint64_t wanted = static_cast<uint32_t>(type);
  if (auto* ns = vfs::FileAs<task::NsFile>(*file)) {
    if (wanted != 0 && wanted != static_cast<uint64_t>(ns->ns()->kind())) return Errno::kEINVAL;
    return task::EnterNamespace(t, *ns->ns());
  }
  auto* pidfd = vfs::FileAs<task::PidFd>(*file);
  if (pidfd == nullptr || wanted == 0 || (wanted & ~task::kNamespaceFlags) != 0) {
    return Errno::kEINVAL;
  }
  Ref<Task> target = pidfd->group()->Leader();
  if (target == nullptr || pidfd->group()->exit_status().has_value()) return Errno::kESRCH;
  TRY(task::CheckPtraceAccess(t, *target, task::PtraceMode::kAttachReal));
  return task::EnterNamespacesOf(t, *target, wanted);
}

// --- others ---

Result<uint64_t> SysPersonality(Task& t, uint64_t persona) {
  uint32_t old = t.personality.load();
  if (static_cast<uint32_t>(persona) != 0xffffffffU) {
    t.personality = static_cast<uint32_t>(persona);
  }
  return uint64_t{old};
}

// An order that is the same for every question and tells nothing of addresses.
Result<uint64_t> Compare(const void* a, const void* b) {
  constexpr uint64_t kScramble = 0x9e3779b97f4a7c15;
  uint64_t x = reinterpret_cast<uint64_t>(a) * kScramble;
  uint64_t y = reinterpret_cast<uint64_t>(b) * kScramble;
  return uint64_t{x == y ? 0U : (x < y ? 1U : 2U)};
}

Result<uint64_t> SysKcmp(Task& t, Tid pid1, Tid pid2, int32_t type, uint64_t index1,
                         uint64_t index2) {
  Ref<Task> a = TRY(task::FindThread(t, pid1));
  Ref<Task> b = TRY(task::FindThread(t, pid2));
  TRY(task::CheckPtraceAccess(t, *a, task::PtraceMode::kReadFs));
  TRY(task::CheckPtraceAccess(t, *b, task::PtraceMode::kReadFs));
  switch (type) {
    case KCMP_FILE: {
      Ref<vfs::FdTable> fa = a->files_ref(), fb = b->files_ref();
      if (fa == nullptr || fb == nullptr) return Errno::kEBADF;
      Ref<vfs::File> x = TRY(fa->Get(FdNum(static_cast<int32_t>(index1))));
      Ref<vfs::File> y = TRY(fb->Get(FdNum(static_cast<int32_t>(index2))));
      return Compare(x.get(), y.get());
    }
    case KCMP_VM:
      return Compare(a->mm().get(), b->mm().get());
    case KCMP_FILES:
      return Compare(a->files_ref().get(), b->files_ref().get());
    case KCMP_FS:
      return Compare(a->fs().get(), b->fs().get());
    case KCMP_SIGHAND:
      return Compare(a->group().handlers().get(), b->group().handlers().get());
    default:
      return Errno::kEINVAL;
  }
}

constexpr Row kRows[] = {
    Full<SysClone>(SYS_clone, "clone"),
    Partial<SysClone3>(SYS_clone3, "clone3", "no CLONE_INTO_CGROUP: EINVAL"),
    Full<SysFork>(SYS_fork, "fork"),
    Full<SysVfork>(SYS_vfork, "vfork"),
    Full<SysExit>(SYS_exit, "exit"),
    Full<SysExitGroup>(SYS_exit_group, "exit_group"),
    Full<SysGetpid>(SYS_getpid, "getpid"),
    Full<SysGettid>(SYS_gettid, "gettid"),
    Full<SysGetppid>(SYS_getppid, "getppid"),
    Full<SysGetpgid>(SYS_getpgid, "getpgid"),
    Full<SysGetpgrp>(SYS_getpgrp, "getpgrp"),
    Full<SysSetpgid>(SYS_setpgid, "setpgid"),
    Full<SysGetsid>(SYS_getsid, "getsid"),
    Full<SysSetsid>(SYS_setsid, "setsid"),
    Full<SysSetTidAddress>(SYS_set_tid_address, "set_tid_address"),
    Full<SysPidfdOpen>(SYS_pidfd_open, "pidfd_open"),
    Full<SysPidfdSendSignal>(SYS_pidfd_send_signal, "pidfd_send_signal"),
    Full<SysPidfdGetfd>(SYS_pidfd_getfd, "pidfd_getfd"),
    Partial<SysUnshare>(SYS_unshare, "unshare",
                        "the offsets of a time namespace are kept but not yet added to its clocks"),
    Full<SysSetns>(SYS_setns, "setns"),
    Partial<SysPersonality>(SYS_personality, "personality", "only ADDR_NO_RANDOMIZE has an effect"),
    Partial<SysKcmp>(SYS_kcmp, "kcmp", "no KCMP_IO, KCMP_SYSVSEM, KCMP_EPOLL_TFD: EINVAL"),
};

}  // namespace

std::span<const Row> ProcessRows() { return kRows; }

}  // namespace sandboxd::syscalls
