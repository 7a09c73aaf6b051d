// inotify_init(2), inotify_add_watch(2), inotify_rm_watch(2).
#include <fcntl.h>
#include <sys/inotify.h>

#include "kernel/ipc/inotify.h"
#include "kernel/syscalls/families.h"
#include "kernel/syscalls/paths.h"

namespace sandboxd::syscalls {
namespace {

using ipc::Inotify;

constexpr uint32_t kKnownBits = IN_ALL_EVENTS | IN_UNMOUNT | IN_Q_OVERFLOW | IN_IGNORED |
                                IN_ONLYDIR | IN_DONT_FOLLOW | IN_EXCL_UNLINK | IN_MASK_ADD |
                                IN_MASK_CREATE | IN_ISDIR | IN_ONESHOT;

// EBADF, EINVAL for another kind of file.
Result<Ref<Inotify>> GetInotify(Task& t, FdNum fd) {
  Ref<vfs::File> file = TRY(t.files().GetForIo(fd));
  Inotify* inotify = vfs::FileAs<Inotify>(*file);
  if (inotify == nullptr) return Errno::kEINVAL;
  return Ref<Inotify>(inotify);
}

Result<uint64_t> SysInotifyInit1(Task& t, int32_t flags) {
  if ((flags & ~(IN_CLOEXEC | IN_NONBLOCK)) != 0) return Errno::kEINVAL;
  Ref<vfs::File> file =
      TRY(Inotify::Create(t.kernel().vfs().AnonymousPath("inotify", 0600),
                          O_RDONLY | (flags & O_NONBLOCK), t.credentials()->ruid));
  FdNum fd = TRY(t.files().Install(std::move(file), (flags & IN_CLOEXEC) != 0, t.fd_limit()));
  return static_cast<uint64_t>(fd.value);
}

Result<uint64_t> SysInotifyInit(Task& t) { return SysInotifyInit1(t, 0); }

Result<uint64_t> SysInotifyAddWatch(Task& t, FdNum fd, UserPath path, uint32_t mask) {
  if ((mask & kKnownBits) == 0) return Errno::kEINVAL;
  TRY(t.files().Get(fd));
  if ((mask & IN_MASK_ADD) != 0 && (mask & IN_MASK_CREATE) != 0) return Errno::kEINVAL;
  Ref<Inotify> inotify = TRY(GetInotify(t, fd));
  const auto follow = (mask & IN_DONT_FOLLOW) != 0 ? Follow::kNo : Follow::kYes;
  vfs::Path place = TRY(ResolveUserPath(t, kCwd, path, follow));
  const Ref<vfs::Inode>& inode = place.dentry->inode();
  if ((mask & IN_ONLYDIR) != 0 && !inode->IsDirectory()) return Errno::kENOTDIR;
  TRY(inode->CheckPermission(*t.credentials(), R_OK));
  return static_cast<uint64_t>(TRY(inotify->Watch(inode, mask)));
}

Result<void> SysInotifyRmWatch(Task& t, FdNum fd, int32_t wd) {
  return TRY(GetInotify(t, fd))->Remove(wd);
}

constexpr Row kRows[] = {
    Full<SysInotifyInit>(SYS_inotify_init, "inotify_init"),
    Full<SysInotifyInit1>(SYS_inotify_init1, "inotify_init1"),
    Partial<SysInotifyAddWatch>(
        SYS_inotify_add_watch, "inotify_add_watch",
        "no IN_UNMOUNT; what others do to files of a gofer is not seen; splice(2) tells nothing"),
    Full<SysInotifyRmWatch>(SYS_inotify_rm_watch, "inotify_rm_watch"),
};

}  // namespace

std::span<const Row> InotifyRows() { return kRows; }

}  // namespace sandboxd::syscalls
