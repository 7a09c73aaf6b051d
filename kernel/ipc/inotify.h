// inotify(7): a queue of events of watched files.
#pragma once

#include <atomic>
#include <deque>
#include <map>
#include <string>

#include "kernel/vfs/file.h"
#include "kernel/vfs/inode.h"
#include "kernel/vfs/watch.h"

namespace sandboxd::ipc {

class InotifyQueue;

// A watch of an instance: passes on what its mask asks for.
class InotifyWatch final : public vfs::InodeWatch {
 public:
  InotifyWatch(Ref<InotifyQueue> queue, Ref<vfs::Inode> inode, int32_t wd, uint32_t mask);

  int32_t wd() const { return wd_; }
  uint32_t mask() const { return mask_.load(std::memory_order_relaxed); }
  void set_mask(uint32_t mask) { mask_.store(mask, std::memory_order_relaxed); }

  void OnEvent(const vfs::WatchEvent& event) override;
  void OnInodeGone() override;

 private:
  ~InotifyWatch() override;
  const Ref<InotifyQueue> queue_;
  const int32_t wd_;
  std::atomic<uint32_t> mask_;     // relaxed: an independent word
  std::atomic<bool> used_{false};  // relaxed: of a one-shot watch
};

// What an instance's descriptor and its watches share.
class InotifyQueue final : public RefCounted {
 public:
  struct Event {
    int32_t wd = -1;
    uint32_t mask = 0;
    uint32_t cookie = 0;
    std::string name;
    bool operator==(const Event&) const = default;
    size_t size() const;  // as read(2) gives it, name padded
  };

  // Drops it if the newest event is the same; IN_Q_OVERFLOW in its place if there is no room.
  void Add(Event event);
  // IN_IGNORED, and the watch descriptor is free.
  void Forget(int32_t wd);

  // inotify_add_watch(2), of a watch's mask: the descriptor. ENOSPC, EEXIST (IN_MASK_CREATE).
  Result<int32_t> Watch(const Ref<InotifyQueue>& self, const Ref<vfs::Inode>& inode, uint32_t mask);
  Result<void> Remove(int32_t wd);  // EINVAL
  // The instance is closed.
  void RemoveAll();

  // As many whole events as `room` holds. EAGAIN if there is none, EINVAL if the first is too long.
  Result<std::vector<Event>> Take(size_t room);
  size_t bytes() const;  // FIONREAD
  bool empty() const;
  std::string Describe() const;  // for fdinfo
  wait::WaitQueue& queue() { return queue_; }

 private:
  mutable Mutex mutex_{LockRank::kLeaf};
  std::deque<Event> events_ GUARDED_BY(mutex_);
  std::map<int32_t, Ref<InotifyWatch>> watches_ GUARDED_BY(mutex_);
  int32_t next_wd_ GUARDED_BY(mutex_) = 1;
  wait::WaitQueue queue_;
};

class Inotify final : public vfs::File {
 public:
  static constexpr char kTypeTag = 0;
  // EMFILE past /proc/sys/fs/inotify/max_user_instances of `owner`.
  static Result<Ref<Inotify>> Create(vfs::Path path, int flags, vfs::KUid owner);
  const void* type_tag() const override { return &kTypeTag; }

  Result<int32_t> Watch(const Ref<vfs::Inode>& inode, uint32_t mask) {
    return events_->Watch(events_, inode, mask);
  }
  Result<void> Remove(int32_t wd) { return events_->Remove(wd); }

  Result<size_t> Read(vfs::Caller& c, mm::IoSink& dst) override;
  Result<uint64_t> Ioctl(vfs::Caller& c, uint32_t command, uint64_t argument) override;
  bool pollable() const override { return true; }
  wait::EventMask Poll(wait::EventMask interest) override;
  void AddWaiter(wait::WaitEntry& entry, wait::EventMask mask, bool exclusive) override {
    events_->queue().Add(entry, mask, exclusive);
  }
  std::string Describe() const override { return "anon_inode:inotify"; }
  std::string FdInfo() const override { return events_->Describe(); }

 private:
  template <typename T, typename... Args>
  friend Ref<T> sandboxd::MakeRef(Args&&...);
  Inotify(vfs::Path path, int flags, vfs::KUid owner)
      : File(std::move(path), flags), owner_(owner), events_(MakeRef<InotifyQueue>()) {}
  ~Inotify() override;

  const vfs::KUid owner_;
  const Ref<InotifyQueue> events_;
};

}  // namespace sandboxd::ipc
