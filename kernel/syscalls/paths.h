// How the *at() calls find where a path starts (openat(2)), and who may read which id.
#pragma once

#include <fcntl.h>

#include <string>

#include "kernel/syscalls/args.h"
#include "kernel/vfs/vfs.h"

namespace sandboxd::syscalls {

// The start of `path`: nothing for absolute paths and AT_FDCWD, else what `dirfd` refers to. EBADF.
// `at_flags`: AT_EMPTY_PATH is heeded; `follow` says what happens to a symlink at the end.
enum class Follow : uint8_t { kNo, kYes };
Result<vfs::At> AtOf(Task& t, FdNum dirfd, std::string_view path, Follow follow, int at_flags = 0);

// Reads the path and resolves it.
Result<vfs::Path> ResolveUserPath(Task& t, FdNum dirfd, UserPath path, Follow follow,
                                  int at_flags = 0);

inline constexpr FdNum kCwd{AT_FDCWD};

}  // namespace sandboxd::syscalls
