// One POSIX message queue (mq_overview(7)): a file of an mqueue file system, and what happens to
// its messages.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <string>

#include "kernel/fs/tmpfs/tmpfs_inode.h"
#include "kernel/vfs/file.h"

namespace sandboxd::mqueue {

inline constexpr uint32_t kPriorities = 32768;  // MQ_PRIO_MAX

// struct mq_attr's mq_maxmsg and mq_msgsize. The defaults are those of /proc/sys/fs/mqueue.
struct Limits {
  int64_t messages = 10;
  int64_t message_size = 8192;
  // What counts against RLIMIT_MSGQUEUE (getrlimit(2)); nullopt if no number holds it.
  std::optional<uint64_t> Bytes() const;
};

struct Message {
  std::string text;
  uint32_t priority = 0;
};

// mq_notify(3): whoever asked to be told. Called without a lock held.
class Listener : public RefCounted {
 public:
  int32_t process = 0;  // vfs::Caller::process_id() of who asked
  int32_t pid = 0;      // as it sees itself
  int method = 0;       // SIGEV_*
  int signo = 0;
  // A message from `sender` has come to the empty queue.
  virtual void Deliver(vfs::Caller& sender) = 0;
};

class MessageQueue final : public tmpfs::TmpfsInode {
 public:
  MessageQueue(tmpfs::TmpfsSuperblock& fs, const vfs::NewNode& node);

  Result<Ref<vfs::File>> Open(vfs::Caller& c, const vfs::Path& path, int flags) override;
  Result<vfs::Attr> GetAttr() override;

  vfs::KUid creator() const { return creator_; }  // whom the queue counts against
  Limits limits() const;
  // Of a queue that nobody else knows yet.
  void SetLimits(const Limits& limits);
  size_t count() const;

  // EAGAIN if it is full; `message` is moved away on success.
  Result<void> Send(vfs::Caller& c, Message& message);
  // The oldest of the highest priority. EAGAIN if there is none.
  Result<Message> Receive();

  // While one exists, a receiver waits: a message is for it, not for the listener.
  class Receiving {
   public:
    explicit Receiving(MessageQueue& queue);
    ~Receiving();
    Receiving(const Receiving&) = delete;
    Receiving& operator=(const Receiving&) = delete;

   private:
    MessageQueue& queue_;
  };

  // EBUSY if there is a listener.
  Result<void> Listen(Ref<Listener> listener);
  // Only if it is this process's.
  void StopListening(int32_t process);

  // What read(2) gives: "QSIZE:129 NOTIFY:0 SIGNO:0 NOTIFY_PID:0", padded.
  std::string StatusLine() const;
  wait::EventMask Poll(wait::EventMask interest) const;
  wait::WaitQueue& queue() { return queue_; }

 private:
  ~MessageQueue() override;

  const vfs::KUid creator_;
  mutable Mutex queue_mutex_{LockRank::kIpcObject};
  Limits limits_ GUARDED_BY(queue_mutex_);
  std::map<uint32_t, std::deque<std::string>> messages_ GUARDED_BY(queue_mutex_);
  size_t count_ GUARDED_BY(queue_mutex_) = 0;
  uint64_t bytes_ GUARDED_BY(queue_mutex_) = 0;
  int receivers_ GUARDED_BY(queue_mutex_) = 0;
  Ref<Listener> listener_ GUARDED_BY(queue_mutex_);
  wait::WaitQueue queue_;
};

// An open queue: a message queue descriptor.
class QueueFile final : public vfs::File {
 public:
  static constexpr char kTypeTag = 0;
  QueueFile(vfs::Path path, int flags) : File(std::move(path), flags) {}
  const void* type_tag() const override { return &kTypeTag; }
  MessageQueue& messages() const { return static_cast<MessageQueue&>(*inode()); }

  bool seekable() const override { return true; }
  Result<size_t> ReadAt(vfs::Caller& c, mm::IoSink& dst, int64_t offset) override;
  Result<size_t> WriteAt(vfs::Caller&, mm::IoSource&, int64_t,
                         const vfs::ReadWriteOptions&) override {
    return Errno::kEINVAL;
  }
  bool pollable() const override { return true; }
  wait::EventMask Poll(wait::EventMask interest) override { return messages().Poll(interest); }
  void AddWaiter(wait::WaitEntry& entry, wait::EventMask mask, bool exclusive) override {
    messages().queue().Add(entry, mask, exclusive);
  }
  // mq_close(3): "removes the attached notification".
  void OnFdClosed(vfs::Caller& c) override { messages().StopListening(c.process_id()); }
};

}  // namespace sandboxd::mqueue
