// wait4(2) and waitid(2).
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "kernel/syscalls/families.h"
#include "kernel/syscalls/usage.h"
#include "kernel/task/pidfd.h"
#include "kernel/task/session.h"
#include "kernel/task/wait_child.h"

namespace sandboxd::syscalls {
namespace {

using task::WaitRequest;
using task::WaitResult;

constexpr int kThreadOptions = __WNOTHREAD | __WCLONE | __WALL;

Result<uint64_t> SysWait4(Task& t, int32_t pid, UserOut<int32_t> status, int32_t options,
                          UserOut<rusage> usage) {
  if ((options & ~(WNOHANG | WUNTRACED | WCONTINUED | kThreadOptions)) != 0) return Errno::kEINVAL;
  if (pid == INT32_MIN) return Errno::kESRCH;
  WaitRequest request;
  request.options = options | WEXITED;
  if (pid > 0) {
    request.kind = WaitRequest::Kind::kPid;
    request.id = Tid(pid);
  } else if (pid != -1) {
    request.kind = WaitRequest::Kind::kProcessGroup;
    request.id = pid == 0 ? TRY(task::GetProcessGroup(t, Tid(0))) : Tid(-pid);
  }
  WaitResult r = TRY(task::WaitForChild(t, request));
  if (r.pid.value == 0) return uint64_t{0};
  if (!status.null()) TRY(status.Write(t, r.wait_status));
  if (!usage.null()) TRY(usage.Write(t, ToRusage(r.usage)));
  return static_cast<uint64_t>(r.pid.value);
}

Result<WaitRequest> DecodeWhich(Task& t, int32_t which, int32_t id) {
  WaitRequest request;
  switch (which) {
    case P_ALL:
      return request;
    case P_PID:
      if (id <= 0) return Errno::kEINVAL;
      request.kind = WaitRequest::Kind::kPid;
      request.id = Tid(id);
      return request;
    case P_PGID:
      if (id < 0) return Errno::kEINVAL;
      request.kind = WaitRequest::Kind::kProcessGroup;
      request.id = id == 0 ? TRY(task::GetProcessGroup(t, Tid(0))) : Tid(id);
      return request;
    case P_PIDFD: {
      if (id < 0) return Errno::kEINVAL;
      Ref<vfs::File> file = TRY(t.files().GetForIo(FdNum(id)));
      auto* pidfd = vfs::FileAs<task::PidFd>(*file);
      if (pidfd == nullptr) return Errno::kEBADF;
      request.kind = WaitRequest::Kind::kGroup;
      request.group = pidfd->group();
      request.nonblocking_pidfd = pidfd->nonblocking();
      return request;
    }
    default:
      return Errno::kEINVAL;
  }
}

Result<void> SysWaitid(Task& t, int32_t which, int32_t id, UserOut<signal::SigInfo> info,
                       int32_t options, UserOut<rusage> usage) {
  constexpr int kKinds = WEXITED | WSTOPPED | WCONTINUED;
  if ((options & ~(WNOHANG | WNOWAIT | kKinds | kThreadOptions)) != 0) return Errno::kEINVAL;
  if ((options & kKinds) == 0) return Errno::kEINVAL;
  WaitRequest request = TRY(DecodeWhich(t, which, id));
  request.options = options;
  WaitResult r = TRY(task::WaitForChild(t, request));
  if (r.pid.value != 0 && !usage.null()) TRY(usage.Write(t, ToRusage(r.usage)));
  if (info.null()) return Ok();
  signal::SigInfo out;
  if (r.pid.value != 0) {
    out.signo = SIGCHLD;
    out.code = r.code;
    out.child.pid = r.pid.value;
    out.child.uid = r.uid;
    out.child.status = r.status;
  }
  // Linux writes the fields up to si_status and leaves the rest of the 128 bytes.
  constexpr size_t kWritten = offsetof(signal::SigInfo, raw) + 12;
  return t.memory().CopyOut(info, AsBytes(out).first(kWritten));
}

constexpr Row kRows[] = {
    Full<SysWait4>(SYS_wait4, "wait4"),
    Full<SysWaitid>(SYS_waitid, "waitid"),
};

}  // namespace

std::span<const Row> WaitRows() { return kRows; }

}  // namespace sandboxd::syscalls
