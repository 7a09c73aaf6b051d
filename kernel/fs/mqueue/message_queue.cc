#include "kernel/fs/mqueue/message_queue.h"

#include <signal.h>
#include <sys/epoll.h>

#include "kernel/fs/mqueue/mqueue.h"
#include "platform/base/checked_math.h"
#include "platform/base/format.h"

namespace sandboxd::mqueue {

namespace {
constexpr uint64_t kStatusSize = 80;  // what stat(2) says of every queue
constexpr uint64_t kPerMessage = 48, kPerPriority = 48;
}  // namespace

// getrlimit(2), RLIMIT_MSGQUEUE, "since Linux 3.5".
std::optional<uint64_t> Limits::Bytes() const {
  const auto count = static_cast<uint64_t>(messages);
  auto text = CheckedMul<uint64_t>(count, static_cast<uint64_t>(message_size));
  auto overhead = CheckedMul<uint64_t>(count, kPerMessage);
  if (!text || !overhead) return std::nullopt;
  auto sum = CheckedAdd<uint64_t>(*text, *overhead);
  if (!sum) return std::nullopt;
  return CheckedAdd<uint64_t>(*sum, std::min<uint64_t>(count, kPriorities) * kPerPriority);
}

MessageQueue::MessageQueue(tmpfs::TmpfsSuperblock& fs, const vfs::NewNode& node)
    : TmpfsInode(fs, node, 1), creator_(node.uid) {}

MessageQueue::~MessageQueue() {
  MutexLock lock(queue_mutex_);
  static_cast<MqueueSuperblock&>(fs()).QueueGone(*this, limits_);
}

Result<Ref<vfs::File>> MessageQueue::Open(vfs::Caller&, const vfs::Path& path, int flags) {
  return Ref<vfs::File>(MakeRef<QueueFile>(path, flags));
}

Result<vfs::Attr> MessageQueue::GetAttr() {
  vfs::Attr attr = TRY(TmpfsInode::GetAttr());
  attr.size = kStatusSize;
  return attr;
}

Limits MessageQueue::limits() const {
  MutexLock lock(queue_mutex_);
  return limits_;
}

void MessageQueue::SetLimits(const Limits& limits) {
  MutexLock lock(queue_mutex_);
  limits_ = limits;
}

size_t MessageQueue::count() const {
  MutexLock lock(queue_mutex_);
  return count_;
}

Result<void> MessageQueue::Send(vfs::Caller& c, Message& message) {
  Ref<Listener> told;
  {
    MutexLock lock(queue_mutex_);
    if (count_ >= static_cast<uint64_t>(limits_.messages)) return Errno::kEAGAIN;
    bytes_ += message.text.size();
    messages_[message.priority].push_back(std::move(message.text));
    // mq_notify(3): only when the queue was empty and nobody waits in mq_receive(3); then the
    // registration is used up.
    if (count_++ == 0 && receivers_ == 0) told = std::move(listener_);
  }
  queue_.Notify(EPOLLIN);
  if (told != nullptr) told->Deliver(c);
  return Ok();
}

Result<Message> MessageQueue::Receive() {
  Message taken;
  {
    MutexLock lock(queue_mutex_);
    if (messages_.empty()) return Errno::kEAGAIN;
    auto highest = std::prev(messages_.end());
    taken = {std::move(highest->second.front()), highest->first};
    highest->second.pop_front();
    if (highest->second.empty()) messages_.erase(highest);
    count_--;
    bytes_ -= taken.text.size();
  }
  queue_.Notify(EPOLLOUT);
  return taken;
}

MessageQueue::Receiving::Receiving(MessageQueue& queue) : queue_(queue) {
  MutexLock lock(queue_.queue_mutex_);
  queue_.receivers_++;
}

MessageQueue::Receiving::~Receiving() {
  MutexLock lock(queue_.queue_mutex_);
  queue_.receivers_--;
}

Result<void> MessageQueue::Listen(Ref<Listener> listener) {
  MutexLock lock(queue_mutex_);
  if (listener_ != nullptr) return Errno::kEBUSY;
  listener_ = std::move(listener);
  return Ok();
}

void MessageQueue::StopListening(int32_t process) {
  Ref<Listener> gone;
  MutexLock lock(queue_mutex_);
  if (listener_ != nullptr && listener_->process == process) gone = std::move(listener_);
}

std::string MessageQueue::StatusLine() const {
  MutexLock lock(queue_mutex_);
  const bool listening = listener_ != nullptr;
  return StrFormat("QSIZE:%-10llu NOTIFY:%-5d SIGNO:%-5d NOTIFY_PID:%-6d\n",
                   static_cast<unsigned long long>(bytes_), listening ? listener_->method : 0,
                   listening && listener_->method == SIGEV_SIGNAL ? listener_->signo : 0,
                   listening ? listener_->pid : 0);
}

wait::EventMask MessageQueue::Poll(wait::EventMask interest) const {
  MutexLock lock(queue_mutex_);
  wait::EventMask ready = 0;
  if (count_ > 0) ready |= EPOLLIN;
  if (count_ < static_cast<uint64_t>(limits_.messages)) ready |= EPOLLOUT;
  return ready & interest;
}

Result<size_t> QueueFile::ReadAt(vfs::Caller&, mm::IoSink& dst, int64_t offset) {
  const std::string line = messages().StatusLine();
  if (static_cast<uint64_t>(offset) >= line.size()) return size_t{0};
  auto rest = std::string_view(line).substr(static_cast<size_t>(offset));
  return dst.Put(std::as_bytes(std::span(rest)));
}

}  // namespace sandboxd::mqueue
