#include "platform/host/lockdown.h"

#include <linux/close_range.h>
#include <linux/securebits.h>
#include <sched.h>
#include <sys/capability.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "platform/base/log.h"

namespace sandboxd::host {
namespace {

Result<void> Check(long result, const char* what) {
  if (result >= 0) return Ok();
  LOG_ERROR("lock-down: %s: errno %d", what, errno);
  return FromHostErrno(errno);
}

}  // namespace

Result<void> EnterEmptyRoot() {
  TRY(Check(mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr), "making mounts private"));
  // Any folder that exists will do: the new root covers it only for this process.
  TRY(Check(mount("none", "/tmp", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC,
                  "size=0,nr_inodes=2,mode=555"),
            "mounting an empty root"));
  TRY(Check(chdir("/tmp"), "entering the empty root"));
  // pivot_root(2), "pivot_root(".", ".")": the old root ends up on top of the new one and is then
  // detached.
  TRY(Check(syscall(SYS_pivot_root, ".", "."), "pivot_root"));
  TRY(Check(umount2(".", MNT_DETACH), "detaching the old root"));
  TRY(Check(mount(nullptr, "/", nullptr,
                  MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr),
            "making the empty root read-only"));
  return Check(chdir("/"), "entering the empty root");
}

Result<void> DropAllCapabilities() {
  for (int cap = 0; cap <= CAP_LAST_CAP; cap++) {
    if (prctl(PR_CAPBSET_READ, cap) == 1)
      TRY(Check(prctl(PR_CAPBSET_DROP, cap), "dropping the bounding set"));
  }
  TRY(Check(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0), "clearing the ambient set"));
  // Locking securebits needs CAP_SETPCAP, so it comes before the capabilities go.
  constexpr unsigned long kBits = SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP |
                                  SECBIT_NO_SETUID_FIXUP_LOCKED | SECBIT_KEEP_CAPS_LOCKED |
                                  SECBIT_NO_CAP_AMBIENT_RAISE | SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED;
  TRY(Check(prctl(PR_SET_SECUREBITS, kBits), "locking securebits"));
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct none[2] = {};
  return Check(syscall(SYS_capset, &header, none), "dropping capabilities");
}

Result<void> CloseAllFdsBut(std::span<const int> keep) {
  std::vector<int> sorted(keep.begin(), keep.end());
  std::sort(sorted.begin(), sorted.end());
  unsigned from = 0;
  for (int fd : sorted) {
    if (fd < 0) continue;
    if (static_cast<unsigned>(fd) > from)
      TRY(Check(close_range(from, fd - 1, 0), "closing descriptors"));
    from = fd + 1;
  }
  return Check(close_range(from, ~0U, 0), "closing descriptors");
}

Result<void> SetNoNewPrivsAndNoCore() {
  TRY(Check(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "setting no_new_privs"));
  rlimit none{0, 0};
  return Check(setrlimit(RLIMIT_CORE, &none), "forbidding core dumps");
}

}  // namespace sandboxd::host
