#include "kernel/syscalls/paths.h"

namespace sandboxd::syscalls {

Result<vfs::At> AtOf(Task& t, FdNum dirfd, std::string_view path, Follow follow, int at_flags) {
  vfs::At at;
  at.follow_last = follow == Follow::kYes;
  at.allow_empty = (at_flags & AT_EMPTY_PATH) != 0;
  bool absolute = !path.empty() && path[0] == '/';
  if (absolute || dirfd == kCwd) return at;
  at.start = TRY(t.files().Get(dirfd))->path();
  return at;
}

Result<vfs::Path> ResolveUserPath(Task& t, FdNum dirfd, UserPath path, Follow follow,
                                  int at_flags) {
  std::string name = TRY(t.memory().ReadPath(path));
  // getname(): before the descriptor is looked at.
  if (name.empty() && (at_flags & AT_EMPTY_PATH) == 0) return Errno::kENOENT;
  vfs::At at = TRY(AtOf(t, dirfd, name, follow, at_flags));
  return t.kernel().vfs().Resolve(t, name, at);
}

}  // namespace sandboxd::syscalls
