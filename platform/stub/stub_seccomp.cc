#include "platform/stub/stub_seccomp.h"

#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include <csignal>

#include "platform/stub/layout.h"

namespace sandboxd::platform::stub {

using host::Arg32Is;
using host::ArgIs;

// An application may jump to a `syscall` instruction of ours, and under some platforms the host
// would carry the call out. So whatever is here is harmless with any arguments.
host::SeccompList StubSeccompList() {
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
             {Arg32Is(0, AF_UNIX), Arg32Is(1, SOCK_SEQPACKET | SOCK_CLOEXEC)});
  list.Allow(SYS_recvmsg, "takes descriptors that the kernel process sends to this application");
  list.Allow(SYS_recvfrom, "the template takes requests", {Arg32Is(0, SANDBOXD_STUB_SOCKET)});
  list.Allow(SYS_sendto, "the template answers; carries no descriptors",
             {Arg32Is(0, SANDBOXD_STUB_SOCKET)});
  list.Allow(SYS_close, "its own descriptors only");
  list.Allow(SYS_exit, "ends the caller");
  list.Allow(SYS_exit_group, "ends the caller");
  return list;
}

}  // namespace sandboxd::platform::stub
