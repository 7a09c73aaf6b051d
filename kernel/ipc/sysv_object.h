// What the three kinds of System V IPC objects have in common (sysvipc(7)): permissions, and a
// table of them by key and by id.
#pragma once

#include <sys/ipc.h>

#include <cstdint>
#include <map>
#include <vector>

#include "kernel/creds/credentials.h"
#include "kernel/wait/wait_queue.h"
#include "platform/base/mutex.h"
#include "platform/base/ref.h"
#include "platform/base/result.h"

namespace sandboxd::ipc {

struct SysvPermission {
  int32_t key = IPC_PRIVATE;
  creds::KUid uid, creator_uid;
  creds::KGid gid, creator_gid;
  uint32_t mode = 0;
  uint16_t sequence = 0;

  // `wanted`: any of 0444 and 0222. EACCES.
  Result<void> Check(const creds::Credentials& c, uint32_t wanted) const;
  // IPC_SET and IPC_RMID: owner, creator or CAP_SYS_ADMIN. EPERM.
  Result<void> CheckControl(const creds::Credentials& c) const;
};

// One object. `mutex` guards all that a subclass adds, too.
class SysvObject : public RefCounted {
 public:
  Mutex mutex{LockRank::kIpcObject};
  SysvPermission permission GUARDED_BY(mutex);
  bool removed GUARDED_BY(mutex) = false;
  int64_t change_time GUARDED_BY(mutex) = 0;
  int id = -1;  // set before it is in the table
  wait::WaitQueue queue;
};

// Seconds since the epoch, as the *_time fields count.
int64_t SysvNow();

template <typename T>
class SysvTable {
 public:
  static constexpr int kMaxObjects = 32000;

  // semget(2), msgget(2), shmget(2): the id. `fits` checks an existing object (EINVAL if it is too
  // small), `make` makes a new one, without a lock held.
  template <typename Fits, typename Make>
  Result<int> Get(const creds::Credentials& c, int32_t key, int flags, Fits fits, Make make) {
    {
      MutexLock lock(mutex_);
      Result<int> existing = Existing(c, key, flags, fits);
      if (!existing.Is(Errno::kENOENT) || (key != IPC_PRIVATE && (flags & IPC_CREAT) == 0)) {
        return existing;
      }
      if (objects_.size() >= kMaxObjects) return Errno::kENOSPC;
    }
    Ref<T> object = TRY(make());
    MutexLock lock(mutex_);
    Result<int> existing = Existing(c, key, flags, fits);  // another was faster
    if (!existing.Is(Errno::kENOENT)) return existing;
    int index = 0;
    while (objects_.contains(index)) index++;
    uint16_t sequence = next_sequence_++ & 0x7fff;
    {
      MutexLock object_lock(object->mutex);
      object->permission = {
          key, c.euid, c.euid, c.egid, c.egid, static_cast<uint32_t>(flags & 0777), sequence};
      object->change_time = SysvNow();
      object->id = sequence * kMaxIndex + index;
    }
    int id = object->id;
    objects_[index] = std::move(object);
    return id;
  }

  Result<Ref<T>> Find(int id) const {  // EINVAL
    MutexLock lock(mutex_);
    auto found = id < 0 ? objects_.end() : objects_.find(id % kMaxIndex);
    if (found == objects_.end() || found->second->id != id) return Errno::kEINVAL;
    return found->second;
  }
  // By the index of SEM_STAT and its like.
  Result<Ref<T>> FindIndex(int index) const {
    MutexLock lock(mutex_);
    auto found = objects_.find(index);
    if (found == objects_.end()) return Errno::kEINVAL;
    return found->second;
  }
  void Remove(int id) {
    Ref<T> gone;  // dropped without the mutex
    MutexLock lock(mutex_);
    auto found = objects_.find(id % kMaxIndex);
    if (found == objects_.end() || found->second->id != id) return;
    gone = std::move(found->second);
    objects_.erase(found);
  }
  std::vector<Ref<T>> List() const {
    std::vector<Ref<T>> all;
    MutexLock lock(mutex_);
    for (const auto& [index, object] : objects_) all.push_back(object);
    return all;
  }
  // The highest index in use; 0 if none is (IPC_INFO).
  int highest_index() const {
    MutexLock lock(mutex_);
    return objects_.empty() ? 0 : objects_.rbegin()->first;
  }

 private:
  // The object of a key, or ENOENT.
  template <typename Fits>
  Result<int> Existing(const creds::Credentials& c, int32_t key, int flags, Fits fits)
      REQUIRES(mutex_) {
    if (key == IPC_PRIVATE) return Errno::kENOENT;
    for (const auto& [index, object] : objects_) {
      MutexLock lock(object->mutex);
      if (object->removed || object->permission.key != key) continue;
      if ((flags & IPC_CREAT) != 0 && (flags & IPC_EXCL) != 0) return Errno::kEEXIST;
      TRY(object->permission.Check(c, static_cast<uint32_t>(flags & 0777)));
      TRY(fits(*object));
      return object->id;
    }
    return Errno::kENOENT;
  }

  static constexpr int kMaxIndex = 32768;
  mutable Mutex mutex_{LockRank::kIpcTable};
  std::map<int, Ref<T>> objects_ GUARDED_BY(mutex_);  // by index
  uint16_t next_sequence_ GUARDED_BY(mutex_) = 0;
};

}  // namespace sandboxd::ipc
