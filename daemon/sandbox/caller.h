// On whose behalf the daemon works, and how it touches files for them: with their rights, never
// with its own.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "daemon/error/error.h"
#include "platform/base/unique_fd.h"

namespace sandboxd::daemon {

struct Caller {
  uid_t uid = 0;
  gid_t gid = 0;
  pid_t pid = 0;
};

// While it lives, this thread's file accesses have the caller's user and group and none of root's
// capabilities (setfsuid(2)); supplementary groups are dropped to none where the caller is someone
// else. Does nothing if the caller is who we are.
class ActAs {
 public:
  explicit ActAs(const Caller& caller);
  ~ActAs();
  ActAs(const ActAs&) = delete;
  ActAs& operator=(const ActAs&) = delete;

 private:
  bool changed_ = false;
  std::vector<gid_t> groups_;  // to be put back
};

// Whether the caller can walk to `path` and, if it is a folder, read it. The error is one of
// `missing`, ROOTFS_NOT_A_DIRECTORY (with `must_be_folder`) and PATH_PERMISSION_DENIED.
enum class PathKind { kFolder, kAny };
Outcome<void> CheckPath(const Caller& caller, const std::string& path, const std::string& what,
                        PathKind kind, v1::ErrorReason missing);

// A regular file of at most `max_size` bytes, read as the caller.
Outcome<std::string> ReadFileAs(const Caller& caller, const std::string& path,
                                const std::string& what, size_t max_size, v1::ErrorReason missing);

}  // namespace sandboxd::daemon
