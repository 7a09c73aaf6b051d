#include "kernel/wait/wait_queue.h"

#include <sys/epoll.h>
#include <time.h>

#include "platform/base/check.h"

namespace sandboxd::wait {

WaitEntry::~WaitEntry() { CHECK(queue_ == nullptr); }

void WaitEntry::Leave() {
  WaitQueue* queue = queue_;
  if (queue == nullptr) return;
  std::lock_guard<std::mutex> lock(queue->mutex_);
  (prev_ != nullptr ? prev_->next_ : queue->head_) = next_;
  (next_ != nullptr ? next_->prev_ : queue->tail_) = prev_;
  next_ = prev_ = nullptr;
  queue_ = nullptr;
}

WaitQueue::~WaitQueue() { CHECK(head_ == nullptr); }

void WaitQueue::Add(WaitEntry& entry, EventMask mask, bool exclusive) {
  CHECK(entry.queue_ == nullptr);
  std::lock_guard<std::mutex> lock(mutex_);
  entry.queue_ = this;
  entry.mask_ = mask | EPOLLERR | EPOLLHUP;
  entry.exclusive_ = exclusive;
  if (exclusive) {
    entry.prev_ = tail_;
    (tail_ != nullptr ? tail_->next_ : head_) = &entry;
    tail_ = &entry;
  } else {
    entry.next_ = head_;
    (head_ != nullptr ? head_->prev_ : tail_) = &entry;
    head_ = &entry;
  }
}

void WaitQueue::Notify(EventMask events) {
  std::lock_guard<std::mutex> lock(mutex_);
  for (WaitEntry* e = head_; e != nullptr; e = e->next_) {
    if ((e->mask_ & events) == 0) continue;
    bool consumed = e->OnEvent(events);
    if (e->exclusive_ && consumed) return;
  }
}

bool WaitQueue::empty() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return head_ == nullptr;
}

Nanos MonotonicNow() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return std::chrono::seconds(now.tv_sec) + Nanos(now.tv_nsec);
}

}  // namespace sandboxd::wait
