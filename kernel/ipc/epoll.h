// Epoll: a set of files and which of them are ready (epoll(7)).
//
// A registration is by (file, fd number) and does not hold the file: it vanishes with the file's
// last reference. Locks, outermost first:
//   tree mutex (kEpollTree, one in the process): which file is in which set; nests of sets are free
//       of cycles. Held while a registration joins or leaves a file's wait queue.
//   mutex_ (kEpoll): this set's registrations.
//   ready_mutex_ (kLeaf): the ready list and what OnEvent reads; taken under a wait queue's lock.
// A file's Poll is called with none of them held.
#pragma once

#include <sys/epoll.h>

#include <cstdint>
#include <list>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "kernel/vfs/file.h"
#include "kernel/wait/wait_queue.h"
#include "platform/base/mutex.h"
#include "platform/base/ref.h"
#include "platform/base/result.h"
#include "platform/base/types.h"

namespace sandboxd::ipc {

// struct epoll_event of the x86-64 ABI is packed.
struct __attribute__((packed)) EpollEvent {
  uint32_t events = 0;
  uint64_t data = 0;
};
static_assert(sizeof(EpollEvent) == 12);

class Epoll final : public vfs::File {
 public:
  static constexpr char kTypeTag = 0;

  explicit Epoll(vfs::Path path);

  // epoll_ctl(2). EPERM for a file that can't be waited for, EINVAL for this set itself, EEXIST,
  // ENOENT, ELOOP for a cycle or sets nested more than 5 deep, EINVAL for misuse of EPOLLEXCLUSIVE.
  Result<void> Add(const Ref<vfs::File>& file, FdNum fd, const EpollEvent& event);
  Result<void> Modify(const Ref<vfs::File>& file, FdNum fd, const EpollEvent& event);
  Result<void> Remove(const Ref<vfs::File>& file, FdNum fd);

  // At most `max` events that hold now; never waits.
  std::vector<EpollEvent> Collect(size_t max);
  // May Collect find something? A false alarm is possible, a miss is not.
  bool MaybeReady() const;

  // lseek(2) does nothing and succeeds, as on Linux.
  Result<int64_t> Seek(vfs::Caller&, int64_t, int) override { return int64_t{0}; }
  wait::EventMask Poll(wait::EventMask interest) override;
  bool pollable() const override { return true; }
  void AddWaiter(wait::WaitEntry& entry, wait::EventMask mask, bool exclusive) override;
  std::string Describe() const override { return "anon_inode:[eventpoll]"; }
  std::string FdInfo() const override;
  const void* type_tag() const override { return &kTypeTag; }

 private:
  class Item;
  class FileLinks;
  using Key = std::pair<vfs::File*, int32_t>;
  ~Epoll() override;

  // The items that may be ready, with their files held. kTake empties the ready list.
  enum class Peek : uint8_t { kLook, kTake };
  struct Candidate {
    Ref<Item> item;
    Ref<vfs::File> file;
  };
  std::vector<Candidate> Candidates(Peek how);
  // Puts an item that is still registered on the ready list; true if it wasn't there.
  bool Enqueue(Item& item, wait::EventMask events);
  void PollNow(Item& item, vfs::File& file);
  void Detach(Item& item);  // tree mutex and mutex_ held
  Result<void> CheckNesting(Epoll& target);
  std::vector<Epoll*> SetsBelow();  // tree mutex held, as for the next
  std::vector<Epoll*> SetsAbove();

  wait::WaitQueue queue_;
  mutable Mutex mutex_{LockRank::kEpoll};
  std::map<Key, Ref<Item>> items_ GUARDED_BY(mutex_);
  mutable Mutex ready_mutex_{LockRank::kLeaf};
  std::list<Item*> ready_ GUARDED_BY(ready_mutex_);
};

}  // namespace sandboxd::ipc
