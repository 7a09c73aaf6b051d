// Arguments that name files: dirfd, path and AT_* flags.
#pragma once

#include <fcntl.h>

#include <string>

#include "kernel/syscalls/args.h"
#include "kernel/vfs/vfs.h"

namespace sandboxd::syscalls {

// Where a walk of `path` from `dirfd` starts. An absolute path needs no valid dirfd. EBADF; ENOTDIR
// comes from the walk.
Result<vfs::At> StartAt(Task& t, FdNum dirfd, const std::string& path);

// A path that must exist: StartAt and Vfs::Resolve. `at_flags`: AT_SYMLINK_NOFOLLOW,
// AT_SYMLINK_FOLLOW and AT_EMPTY_PATH count.
enum class FollowByDefault : uint8_t { kYes, kNo };
Result<vfs::Path> ResolveAt(Task& t, FdNum dirfd, const std::string& path, int at_flags,
                            FollowByDefault follow);
Result<vfs::Path> ResolveAt(Task& t, FdNum dirfd, UserPath path, int at_flags,
                            FollowByDefault follow);

inline constexpr FdNum kCwd{AT_FDCWD};

}  // namespace sandboxd::syscalls
