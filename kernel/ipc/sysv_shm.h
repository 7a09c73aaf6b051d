// System V shared memory (shmop(2), shmctl(2)). A segment is an unnamed file in memory; attaching
// maps it.
//
// shm_nattch counts calls of shmat(2) that have not been undone: a child that inherited a mapping
// keeps its parent's count up and does not add to it (Linux counts mappings).
#pragma once

#include <sys/shm.h>

#include <set>

#include "kernel/ipc/sysv_object.h"
#include "kernel/mm/mappable.h"
#include "kernel/vfs/file.h"

namespace sandboxd::ipc {

class SharedMemory;

class Segment final : public SysvObject {
 public:
  Segment(Ref<vfs::File> file, uint64_t size, int32_t creator)
      : backing(std::move(file)), size(size), creator_pid(creator) {}
  const Ref<vfs::File> backing;
  const uint64_t size;
  const int32_t creator_pid;
  int64_t attach_time GUARDED_BY(mutex) = 0;
  int64_t detach_time GUARDED_BY(mutex) = 0;
  int32_t last_pid GUARDED_BY(mutex) = 0;
  uint64_t attached GUARDED_BY(mutex) = 0;
};

class SharedMemory {
 public:
  SysvTable<Segment>& table() { return table_; }

  // What shmat(2) maps, counted until its last mapping is gone. EIDRM.
  Result<Ref<mm::Mappable>> Attach(vfs::Caller& c, const Ref<Segment>& segment, bool read_only,
                                   int32_t pid);
  // Was it made by Attach, and is it alive? For shmdt(2).
  bool IsAttachment(const mm::Mappable* mapping) const;
  // IPC_RMID: the id stays while somebody is attached, the key is free at once.
  void Remove(Segment& segment);

 private:
  class Attachment;
  void Detached(Attachment& attachment, Segment& segment);
  SysvTable<Segment> table_;
  mutable Mutex mutex_{LockRank::kLeaf};
  std::set<const mm::Mappable*> attachments_ GUARDED_BY(mutex_);
};

}  // namespace sandboxd::ipc
