#include "kernel/vfs/file_locks.h"

#include <sys/epoll.h>

#include <algorithm>

namespace sandboxd::vfs {

namespace {

// Who waits for whom, over all files: the graph that EDEADLK looks for cycles in. Only POSIX owners
// take part, as in Linux.
class WaitGraph {
 public:
  // False if `who` waiting for `blocker` would close a cycle.
  bool Add(const void* waiter, const FileLocks* file, const LockOwner& who,
           const LockOwner& blocker) {
    MutexLock lock(mutex_);
    if (Reaches(blocker, who)) return false;
    RemoveLocked(waiter);
    edges_.push_back({waiter, file, who, blocker});
    return true;
  }
  void Remove(const void* waiter) {
    MutexLock lock(mutex_);
    RemoveLocked(waiter);
  }
  // `blocker` gave up locks of `file`: who waited for it will look again.
  void RemoveBlocker(const FileLocks* file, const LockOwner& blocker) {
    MutexLock lock(mutex_);
    std::erase_if(edges_, [&](const Edge& e) { return e.file == file && e.blocker == blocker; });
  }

 private:
  struct Edge {
    const void* waiter;
    const FileLocks* file;
    LockOwner who;
    LockOwner blocker;
  };
  bool Reaches(const LockOwner& from, const LockOwner& to) REQUIRES(mutex_) {
    std::vector<LockOwner> todo{from};
    for (size_t i = 0; i < todo.size(); i++) {
      if (todo[i] == to) return true;
      for (const Edge& e : edges_) {
        if (e.who != todo[i]) continue;
        if (std::find(todo.begin(), todo.end(), e.blocker) == todo.end()) todo.push_back(e.blocker);
      }
    }
    return false;
  }
  void RemoveLocked(const void* waiter) REQUIRES(mutex_) {
    std::erase_if(edges_, [&](const Edge& e) { return e.waiter == waiter; });
  }
  Mutex mutex_{LockRank::kLeaf};
  std::vector<Edge> edges_ GUARDED_BY(mutex_);
};

WaitGraph& Waits() {
  static WaitGraph* graph = new WaitGraph;
  return *graph;
}

bool Conflict(const RecordLock& held, const RecordLock& wanted) {
  return !(held.owner == wanted.owner) && held.range.Overlaps(wanted.range) &&
         (held.type == LockType::kWrite || wanted.type == LockType::kWrite);
}

}  // namespace

FileLocks::~FileLocks() = default;

const RecordLock* FileLocks::Conflicting(const RecordLock& lock) const {
  for (const RecordLock& held : records_) {
    if (Conflict(held, lock)) return &held;
  }
  return nullptr;
}

std::optional<RecordLock> FileLocks::FindConflict(const RecordLock& lock) const {
  MutexLock guard(mutex_);
  const RecordLock* held = Conflicting(lock);
  if (held == nullptr) return std::nullopt;
  return *held;
}

void FileLocks::Replace(const RecordLock& lock) {
  std::vector<RecordLock> next;
  next.reserve(records_.size() + 2);
  RecordLock merged = lock;
  for (const RecordLock& held : records_) {
    if (!(held.owner == lock.owner)) {
      next.push_back(held);
      continue;
    }
    bool touches = held.range.start <= merged.range.end && merged.range.start <= held.range.end;
    if (touches && held.type == lock.type) {
      // Neighbours of one type become one lock, as F_GETLK and /proc/locks show it.
      merged.range.start = std::min(merged.range.start, held.range.start);
      merged.range.end = std::max(merged.range.end, held.range.end);
      continue;
    }
    if (!held.range.Overlaps(lock.range)) {
      next.push_back(held);
      continue;
    }
    if (held.range.start < lock.range.start) {
      next.push_back(held);
      next.back().range.end = lock.range.start;
    }
    if (held.range.end > lock.range.end) {
      next.push_back(held);
      next.back().range.start = lock.range.end;
    }
  }
  if (lock.type != LockType::kUnlock) next.push_back(merged);
  std::sort(next.begin(), next.end(),
            [](const RecordLock& a, const RecordLock& b) { return a.range.start < b.range.start; });
  records_ = std::move(next);
}

Result<void> FileLocks::SetRecord(const RecordLock& lock, const void* waiter) {
  {
    MutexLock guard(mutex_);
    if (lock.type != LockType::kUnlock) {
      if (const RecordLock* held = Conflicting(lock)) {
        bool may_deadlock = waiter != nullptr && lock.owner.kind == LockOwner::Kind::kPosix &&
                            held->owner.kind == LockOwner::Kind::kPosix;
        if (may_deadlock && !Waits().Add(waiter, this, lock.owner, held->owner))
          return Errno::kEDEADLK;
        return Errno::kEAGAIN;
      }
    }
    Replace(lock);
  }
  if (waiter != nullptr) ForgetWait(waiter);
  // An unlock frees a range, and a read lock may have been a write lock before.
  if (lock.type != LockType::kWrite) {
    Waits().RemoveBlocker(this, lock.owner);
    queue_.Notify(EPOLLIN);
  }
  return Ok();
}

void FileLocks::ForgetWait(const void* waiter) { Waits().Remove(waiter); }

Result<void> FileLocks::SetFlock(const LockOwner& owner, LockType type, int32_t pid) {
  bool freed = false;
  bool conflict = false;
  {
    MutexLock guard(mutex_);
    auto mine = std::find_if(flocks_.begin(), flocks_.end(),
                             [&](const RecordLock& l) { return l.owner == owner; });
    if (mine != flocks_.end()) {
      if (mine->type == type) return Ok();
      flocks_.erase(mine);
      freed = true;
    }
    if (type != LockType::kUnlock) {
      RecordLock wanted{{0, INT64_MAX}, type, owner, pid};
      conflict = std::any_of(flocks_.begin(), flocks_.end(),
                             [&](const RecordLock& held) { return Conflict(held, wanted); });
      if (!conflict) flocks_.push_back(wanted);
    }
  }
  if (freed) queue_.Notify(EPOLLIN);
  return conflict ? Result<void>(Errno::kEAGAIN) : Ok();
}

void FileLocks::RemoveOwner(const LockOwner& owner) {
  size_t removed;
  {
    MutexLock guard(mutex_);
    auto is_owners = [&](const RecordLock& l) { return l.owner == owner; };
    removed = std::erase_if(records_, is_owners) + std::erase_if(flocks_, is_owners);
  }
  if (removed == 0) return;
  Waits().RemoveBlocker(this, owner);
  queue_.Notify(EPOLLIN);
}

std::vector<RecordLock> FileLocks::List() const {
  MutexLock guard(mutex_);
  std::vector<RecordLock> all = records_;
  all.insert(all.end(), flocks_.begin(), flocks_.end());
  return all;
}

}  // namespace sandboxd::vfs
