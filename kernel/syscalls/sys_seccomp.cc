// seccomp(2).
#include <linux/seccomp.h>

#include "kernel/syscalls/families.h"
#include "kernel/syscalls/seccomp_calls.h"
#include "kernel/task/seccomp.h"

namespace sandboxd::syscalls {
namespace {

constexpr uint32_t kWaitKillable = 1 << 5;  // SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
constexpr uint32_t kKnownFlags = SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_LOG |
                                 SECCOMP_FILTER_FLAG_SPEC_ALLOW | SECCOMP_FILTER_FLAG_NEW_LISTENER |
                                 SECCOMP_FILTER_FLAG_TSYNC_ESRCH | kWaitKillable;

struct Fprog {  // struct sock_fprog
  uint16_t length;
  uint16_t pad[3];
  uint64_t filter;
};
static_assert(sizeof(Fprog) == 16);

Result<uint64_t> ActionAvailable(Task& t, UserAddr addr) {
  switch (TRY(t.memory().Read<uint32_t>(addr))) {
    case SECCOMP_RET_KILL_PROCESS:
    case SECCOMP_RET_KILL_THREAD:
    case SECCOMP_RET_TRAP:
    case SECCOMP_RET_ERRNO:
    case SECCOMP_RET_USER_NOTIF:
    case SECCOMP_RET_TRACE:
    case SECCOMP_RET_LOG:
    case SECCOMP_RET_ALLOW:
      return uint64_t{0};
    default:
      return Errno::kEOPNOTSUPP;
  }
}

Result<uint64_t> SysSeccomp(Task& t, uint32_t operation, uint32_t flags, UserAddr args) {
  switch (operation) {
    case SECCOMP_SET_MODE_STRICT:
      if (flags != 0 || !args.null()) return Errno::kEINVAL;
      TRY(task::SetSeccompStrict(t));
      return uint64_t{0};
    case SECCOMP_SET_MODE_FILTER:
      return InstallFilter(t, flags, args);
    case SECCOMP_GET_ACTION_AVAIL:
      if (flags != 0) return Errno::kEINVAL;
      return ActionAvailable(t, args);
    case SECCOMP_GET_NOTIF_SIZES: {
      if (flags != 0) return Errno::kEINVAL;
      seccomp_notif_sizes sizes{sizeof(seccomp_notif), sizeof(seccomp_notif_resp),
                                sizeof(seccomp_data)};
      TRY(t.memory().Write(args, sizes));
      return uint64_t{0};
    }
    default:
      return Errno::kEINVAL;
  }
}

constexpr Row kRows[] = {
    Full<SysSeccomp>(SYS_seccomp, "seccomp"),
};

}  // namespace

Result<uint64_t> InstallFilter(Task& t, uint32_t flags, UserAddr args) {
  if ((flags & ~kKnownFlags) != 0) return Errno::kEINVAL;
  // seccomp(2): a thread's id and a listener's fd can't both be the result.
  constexpr uint32_t kBoth = SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_NEW_LISTENER;
  if ((flags & kBoth) == kBoth && (flags & SECCOMP_FILTER_FLAG_TSYNC_ESRCH) == 0) {
    return Errno::kEINVAL;
  }
  if ((flags & kWaitKillable) != 0 && (flags & SECCOMP_FILTER_FLAG_NEW_LISTENER) == 0) {
    return Errno::kEINVAL;
  }
  auto program = TRY(t.memory().Read<Fprog>(args));
  if (program.length == 0 || program.length > seccomp::kMaxInstructions) return Errno::kEINVAL;
  TRY(task::CheckMayFilter(t));
  auto code = TRY(t.memory().ReadArray<sock_filter>(UserAddr(program.filter), program.length));
  return task::AddSeccompFilter(t, std::move(code), flags);
}

std::span<const Row> SeccompRows() { return kRows; }

}  // namespace sandboxd::syscalls
