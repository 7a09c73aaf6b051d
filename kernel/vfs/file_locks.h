// Advisory locks of one file: POSIX and OFD record locks (fcntl(2)), and flock(2).
//
// Nothing blocks here: a conflict is EAGAIN, the caller waits on queue() and tries again.
// Thread-safe.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "kernel/wait/wait_queue.h"
#include "platform/base/mutex.h"
#include "platform/base/result.h"

namespace sandboxd::vfs {

enum class LockType : uint8_t { kRead, kWrite, kUnlock };

// Who holds a lock: an FdTable (POSIX locks: a process), or a File (OFD locks and flock).
struct LockOwner {
  enum class Kind : uint8_t { kPosix, kOfd, kFlock } kind = Kind::kPosix;
  const void* identity = nullptr;  // compared only
  bool operator==(const LockOwner&) const = default;
};

// [start, end), end INT64_MAX: to the end of the file whatever its size.
struct LockRange {
  int64_t start = 0;
  int64_t end = 0;
  bool Overlaps(const LockRange& o) const { return start < o.end && o.start < end; }
};

struct RecordLock {
  LockRange range;
  LockType type = LockType::kRead;
  LockOwner owner;
  int32_t pid = 0;  // as F_GETLK reports it; -1 for OFD locks
};

class FileLocks {
 public:
  FileLocks() = default;
  ~FileLocks();

  // F_SETLK and F_OFD_SETLK. EAGAIN on conflict. With `waiter` (an identity of the waiting call:
  // F_SETLKW) EDEADLK if the wait would close a cycle of POSIX owners; the wait is remembered until
  // SetRecord with the same waiter succeeds or ForgetWait.
  Result<void> SetRecord(const RecordLock& lock, const void* waiter = nullptr);
  static void ForgetWait(const void* waiter);
  // F_GETLK: the first lock that conflicts.
  std::optional<RecordLock> FindConflict(const RecordLock& lock) const;

  // flock(2). EAGAIN on conflict; as in Linux a conversion first drops the old lock.
  Result<void> SetFlock(const LockOwner& owner, LockType type, int32_t pid);

  // All locks of this owner go.
  void RemoveOwner(const LockOwner& owner);

  // Told when a lock is dropped or weakened.
  wait::WaitQueue& queue() { return queue_; }
  // For /proc/locks and fdinfo.
  std::vector<RecordLock> List() const;

 private:
  const RecordLock* Conflicting(const RecordLock& lock) const REQUIRES(mutex_);
  // Replaces what the owner has in `lock.range` by `lock` (nothing for kUnlock).
  void Replace(const RecordLock& lock) REQUIRES(mutex_);

  mutable Mutex mutex_{LockRank::kFileLocks};
  std::vector<RecordLock> records_ GUARDED_BY(mutex_);  // sorted by start; an owner's don't overlap
  std::vector<RecordLock> flocks_ GUARDED_BY(mutex_);
  wait::WaitQueue queue_;
};

}  // namespace sandboxd::vfs
