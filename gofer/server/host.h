// The host's files as the gofer reaches them: one component at a time, relative to descriptors,
// never through a symlink or a magic link of the tree. Every path that a client chose passes
// through WalkOne; the only magic links ever followed are those of our own descriptors (SelfFds).
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "gofer/protocol/types.h"
#include "platform/base/mutex.h"
#include "platform/base/result.h"
#include "platform/base/unique_fd.h"

namespace sandboxd::gofer {

// Paths that lead to the file behind a descriptor of this process. Needed where Linux has no call
// on an O_PATH descriptor: opening it, linking it, its xattrs, mode and size.
class SelfFds {
 public:
  // In a process with /proc, or after Lockdown, when the working directory is our descriptor table.
  enum class Where { kProc, kWorkingDirectory };
  explicit SelfFds(Where where) : prefix_(where == Where::kProc ? "/proc/self/fd/" : "") {}

  std::string PathOf(int fd) const { return prefix_ + std::to_string(fd); }

 private:
  std::string prefix_;
};

// Numbers the host's devices, so that qids stay unique across those under one root. Thread-safe.
class DeviceTable {
 public:
  uint64_t QidPath(uint64_t dev, uint64_t ino);

 private:
  Mutex mutex_{LockRank::kLeaf};
  std::map<uint64_t, uint64_t> index_ GUARDED_BY(mutex_);
};

class Host {
 public:
  explicit Host(SelfFds::Where where);

  // EINVAL for a name that is not a single component: empty, ".", "..", with '/' or NUL.
  static Result<void> CheckName(std::string_view name);

  // An O_PATH descriptor for `name` in `dir`; a symlink is itself.
  Result<UniqueFd> WalkOne(int dir, const std::string& name) const;
  // Creates and opens a regular file.
  Result<UniqueFd> Create(int dir, const std::string& name, uint32_t flags, uint32_t mode) const;
  // A new open file description for what `fd` refers to. Only for regular files and directories.
  Result<UniqueFd> Reopen(int fd, uint32_t flags) const;
  Result<Stat> StatOf(int fd) const;
  // Of an entry that getdents64 on `dir` has named.
  Result<Stat> StatEntry(int dir, const char* name) const;
  uint64_t QidPath(uint64_t dev, uint64_t ino) const { return devices_.QidPath(dev, ino); }

  // Gives a file that we just created its owner and the mode bits that a change of owner clears.
  // Where the host lets us own nothing (rootless), the file stays ours.
  Result<void> SetOwner(int fd, uint32_t uid, uint32_t gid, uint32_t mode) const;

  const SelfFds& self_fds() const { return self_fds_; }

 private:
  Result<Stat> StatAt(int dir, const char* name, int flags) const;

  SelfFds self_fds_;
  bool can_chown_;
  mutable DeviceTable devices_;
};

// errno of a host call that just failed.
Errno LastError();
// Result of a host call that returns -1 on failure.
Result<void> CheckHost(int result);

}  // namespace sandboxd::gofer
