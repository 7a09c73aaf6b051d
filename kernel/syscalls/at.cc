#include "kernel/syscalls/at.h"

#include "kernel/task/kernel.h"

namespace sandboxd::syscalls {

Result<vfs::At> StartAt(Task& t, FdNum dirfd, const std::string& path) {
  vfs::At at;
  if (path.starts_with('/') || dirfd == kCwd) return at;
  Ref<vfs::File> file = TRY(t.files().Get(dirfd));
  at.start = file->path();
  return at;
}

Result<vfs::Path> ResolveAt(Task& t, FdNum dirfd, const std::string& path, int at_flags,
                            FollowByDefault follow) {
  vfs::At at = TRY(StartAt(t, dirfd, path));
  at.allow_empty = (at_flags & AT_EMPTY_PATH) != 0;
  at.follow_last = follow == FollowByDefault::kYes ? (at_flags & AT_SYMLINK_NOFOLLOW) == 0
                                                   : (at_flags & AT_SYMLINK_FOLLOW) != 0;
  return t.kernel().vfs().Resolve(t, path, at);
}

Result<vfs::Path> ResolveAt(Task& t, FdNum dirfd, UserPath path, int at_flags,
                            FollowByDefault follow) {
  std::string name = TRY(t.memory().ReadPath(path));
  return ResolveAt(t, dirfd, name, at_flags, follow);
}

}  // namespace sandboxd::syscalls
