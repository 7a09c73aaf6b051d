#include "kernel/boot/seccomp_list.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "kernel/boot/memory_files.h"

namespace sandboxd::boot {
namespace {

using host::Arg32Is;
using host::ArgMasked;

// The flags with which the C library makes a thread; anything else would be a process.
constexpr uint64_t kThreadFlags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD |
                                  CLONE_SYSVSEM | CLONE_SETTLS | CLONE_PARENT_SETTID |
                                  CLONE_CHILD_CLEARTID;

void AllowMemory(host::SeccompList& list) {
  const char* no_exec = "memory of our own; never executable";
  list.Allow(SYS_mmap, no_exec, {ArgMasked(2, PROT_EXEC, 0)});
  list.Allow(SYS_mprotect, no_exec, {ArgMasked(2, PROT_EXEC, 0)});
  list.Allow(SYS_munmap, "giving memory back");
  list.Allow(SYS_mremap, "growing large allocations");
  list.Allow(SYS_madvise, "the allocator gives memory back");
  list.Allow(SYS_brk, "the allocator");
}

void AllowThreads(host::SeccompList& list) {
  list.Refuse(SYS_clone3, ENOSYS, "its flags can't be checked: the C library then uses clone");
  list.Allow(SYS_clone, "one thread a task; no processes", {Arg32Is(0, kThreadFlags)});
  list.Allow(SYS_futex, "waiting for and waking threads");
  list.Allow(SYS_set_robust_list, "the C library starts a thread");
  list.Allow(SYS_rseq, "the C library starts a thread");
  list.Allow(SYS_rt_sigprocmask, "the C library starts and ends threads");
  list.Allow(SYS_rt_sigaction, "abort(3)");
  list.Allow(SYS_rt_sigreturn, "returning from a handler");
  list.Allow(SYS_exit, "a thread ends");
  list.Allow(SYS_exit_group, "the process ends");
  list.Allow(SYS_gettid, "log lines, abort(3)");
  list.Allow(SYS_getpid, "abort(3), Hello");
  list.Allow(SYS_tgkill, "abort(3); interrupting a stub's thread in our own pid namespace");
  list.Allow(SYS_sched_yield, "the C library");
  list.Allow(SYS_sched_getaffinity, "how many CPUs the sandbox may use");
  list.Allow(SYS_sched_setaffinity, "a stub and its task share a processor", {});
  list.Allow(SYS_prctl, "naming threads", {Arg32Is(0, PR_SET_NAME)});
  list.Allow(SYS_restart_syscall, "a wait that a stop interrupted");
}

void AllowClocks(host::SeccompList& list) {
  list.Allow(SYS_clock_gettime, "clocks, CPU time of stubs; usually answered by the vdso");
  list.Allow(SYS_clock_getres, "clock_getres of programs");
  list.Allow(SYS_getrusage, "CPU time of our own threads");
  list.Allow(SYS_getrandom, "random numbers for programs");
  list.Allow(SYS_sysinfo, "memory of the machine");
}

void AllowDescriptors(host::SeccompList& list) {
  const char* donated = "file data on descriptors that a gofer donated, and memory of tmpfs files";
  for (int call :
       {SYS_read, SYS_write, SYS_pread64, SYS_pwrite64, SYS_readv, SYS_writev, SYS_preadv,
        SYS_pwritev, SYS_preadv2, SYS_pwritev2, SYS_lseek, SYS_ftruncate, SYS_fallocate, SYS_fsync,
        SYS_fdatasync, SYS_sync_file_range, SYS_fadvise64, SYS_copy_file_range}) {
    list.Allow(call, donated);
  }
  list.Allow(SYS_fstat, "size and times of donated descriptors");
  list.Allow(SYS_newfstatat, "fstat(3) of the C library: a descriptor and no path",
             {Arg32Is(3, AT_EMPTY_PATH)});
  list.Allow(SYS_close, "closing descriptors");
  for (int command :
       {F_DUPFD_CLOEXEC, F_GETFL, F_SETFL, F_GETFD, F_SETFD, F_ADD_SEALS, F_GET_SEALS}) {
    list.Allow(SYS_fcntl, "flags, duplicates and seals of our descriptors",
               {Arg32Is(1, static_cast<uint32_t>(command))});
  }
  // The folder is of this process alone, without a way out of it; an absolute path leads into the
  // empty root.
  const char* memory = "memory of tmpfs files: files of a private folder";
  list.Allow(SYS_openat, memory, {Arg32Is(0, kMemoryFolderFd)});
  list.Allow(SYS_unlinkat, memory, {Arg32Is(0, kMemoryFolderFd)});
  list.Allow(SYS_eventfd2, "waking our service threads");
  list.Allow(SYS_epoll_create1, "the stdio relay");
  list.Allow(SYS_epoll_ctl, "the stdio relay");
  list.Allow(SYS_epoll_wait, "the stdio relay");
  list.Allow(SYS_epoll_pwait, "the stdio relay");
  list.Allow(SYS_poll, "the control channel, the gofer's connection");
  list.Allow(SYS_ppoll, "the control channel, the gofer's connection");
  list.Allow(SYS_accept4, "a daemon connects to the control channel");
  list.Allow(SYS_recvmsg, "the control channel, the gofer's connection");
  list.Allow(SYS_sendmsg, "the control channel, the gofer's connection, descriptors to stubs");
  list.Allow(SYS_sendto, "the control channel");
  list.Allow(SYS_recvfrom, "the gofer's connection");
  list.Allow(SYS_shutdown, "ending the gofer's connection");
}

}  // namespace

host::SeccompList KernelSeccompList(const platform::Platform& platform) {
  host::SeccompList list;
  AllowMemory(list);
  AllowThreads(list);
  AllowClocks(list);
  AllowDescriptors(list);
  for (const auto& call : platform.HostSyscalls()) list.Allow(call.number, call.reason);
  return list;
}

}  // namespace sandboxd::boot
