// POSIX message queues (mq_overview(7)): the mqueue file system, of which a sandbox has one, and
// opening queues by name.
#pragma once

#include <map>
#include <optional>
#include <string_view>

#include "kernel/fs/mqueue/message_queue.h"
#include "kernel/fs/tmpfs/tmpfs.h"
#include "kernel/vfs/vfs.h"

namespace sandboxd::mqueue {

class MqueueSuperblock final : public tmpfs::TmpfsSuperblock {
 public:
  explicit MqueueSuperblock(tmpfs::MemoryFiles& memory);

  Result<vfs::FsStat> StatFs() override;
  Result<Ref<tmpfs::TmpfsInode>> NewNamed(const vfs::NewNode& node) override;
  bool is_flat() const override { return true; }

  // mq_open(3) of a new queue: EMFILE past `limit` (RLIMIT_MSGQUEUE), ENOSPC past queues_max unless
  // `privileged`. What is charged is given back when the queue is gone.
  Result<void> Charge(vfs::KUid owner, uint64_t bytes, uint64_t limit, bool privileged);
  void Uncharge(vfs::KUid owner, uint64_t bytes);
  void QueueGone(MessageQueue& queue, const Limits& limits);

 private:
  ~MqueueSuperblock() override = default;
  Mutex mutex_{LockRank::kLeaf};
  std::map<vfs::KUid, uint64_t> bytes_ GUARDED_BY(mutex_);
  size_t queues_ GUARDED_BY(mutex_) = 0;
};

// "mqueue". One per sandbox: every mount shows the same queues.
class MqueueType final : public vfs::FilesystemType {
 public:
  static constexpr char kName[] = "mqueue";
  explicit MqueueType(vfs::Vfs& vfs, tmpfs::MemoryFiles& memory = tmpfs::HostMemoryFiles());

  std::string_view name() const override { return kName; }
  bool user_mountable() const override { return true; }
  Result<Ref<vfs::Superblock>> Mount(vfs::Caller& c, std::string_view source,
                                     std::string_view options) override;

  struct OpenRequest {
    int flags = 0;  // O_ACCMODE, O_CREAT, O_EXCL, O_NONBLOCK
    uint32_t mode = 0;
    std::optional<Limits> limits;  // of a new queue
    uint64_t max_bytes = 0;        // RLIMIT_MSGQUEUE of the caller
  };
  // The errors of mq_open(3) and mq_unlink(3). `name` is without its slash.
  Result<Ref<vfs::File>> OpenQueue(vfs::Caller& c, std::string_view name,
                                   const OpenRequest& request);
  Result<void> Unlink(vfs::Caller& c, std::string_view name);

 private:
  vfs::At InRoot() const;
  Result<Ref<vfs::File>> Create(vfs::Caller& c, const std::string& name, const OpenRequest& request)
      REQUIRES(open_mutex_);

  vfs::Vfs& vfs_;  // owns us
  Ref<vfs::Mount> mount_;
  // Held over a whole mq_open(2): nobody finds a queue before its limits are set.
  Mutex open_mutex_{LockRank::kMqueueOpen};
};

}  // namespace sandboxd::mqueue
