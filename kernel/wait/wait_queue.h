// Wait queues: who wants to know when an object becomes ready.
//
// The pattern of every blocking operation: operations on objects never block, they return EAGAIN;
// the caller registers on the object's queue, tries again, and sleeps in its Blocker until it is
// woken:
//
//   BlockerEntry entry(blocker);
//   queue.Add(entry, EPOLLIN);
//   for (;;) {
//     auto r = TryRead();
//     if (!r.Is(Errno::kEAGAIN)) return r;
//     TRY(blocker.Block(deadline));
//   }                       // ~BlockerEntry leaves the queue
#pragma once

#include <cstdint>
#include <mutex>
#include <optional>

#include "platform/base/result.h"
#include "platform/base/types.h"

namespace sandboxd::wait {

// EPOLLIN, EPOLLOUT, EPOLLPRI, EPOLLERR, EPOLLHUP, EPOLLRDHUP … (epoll_ctl(2)); equal to the POLL*
// values.
using EventMask = uint32_t;

class WaitQueue;

// A registration. Derive from it to be told; it may be in at most one queue.
class WaitEntry {
 public:
  WaitEntry() = default;
  WaitEntry(const WaitEntry&) = delete;
  WaitEntry& operator=(const WaitEntry&) = delete;
  virtual ~WaitEntry();  // leaves the queue; a subclass with state that OnEvent uses must call
                         // Leave() in its own destructor
  void Leave();
  bool queued() const { return queue_ != nullptr; }

 protected:
  // Called with the queue's lock held, from any thread: must not block, take ranked locks below
  // kWaitQueue, or touch this queue. Returns true if this registration consumed the event, for
  // WakeMode::kOneExclusive.
  virtual bool OnEvent(EventMask events) = 0;

 private:
  friend class WaitQueue;
  WaitQueue* queue_ = nullptr;  // written by the owner's thread and under the queue's lock
  WaitEntry* next_ = nullptr;
  WaitEntry* prev_ = nullptr;
  EventMask mask_ = 0;
  bool exclusive_ = false;
};

// Outlives its entries' membership: the object that holds a queue is kept alive by whoever waits on
// it.
class WaitQueue {
 public:
  WaitQueue() = default;
  ~WaitQueue();
  WaitQueue(const WaitQueue&) = delete;
  WaitQueue& operator=(const WaitQueue&) = delete;

  // Events outside `mask` are not reported, except EPOLLERR and EPOLLHUP, which always are.
  // Exclusive entries stand behind the others; a Notify wakes at most one of them.
  void Add(WaitEntry& entry, EventMask mask, bool exclusive = false);
  void Notify(EventMask events);
  bool empty() const;

 private:
  friend class WaitEntry;
  // Not ranked: queues nest when epoll instances watch each other, which epoll_ctl keeps free of
  // cycles. A leaf for all else.
  mutable std::mutex mutex_;
  WaitEntry* head_ = nullptr;
  WaitEntry* tail_ = nullptr;
};

// A point on the host's CLOCK_MONOTONIC; nullopt waits for ever.
using Deadline = std::optional<Nanos>;
Nanos MonotonicNow();

// The one way in which a task sleeps. Task implements it; unit tests use their own.
class Blocker {
 public:
  // Returns when Wake() has been called since the last Block() returned (so a wake that comes first
  // is not lost). ETIMEDOUT when the deadline passes, ERESTARTSYS when a signal, a stop or a kill
  // wants the task. Never called with a lock held.
  virtual Result<void> Block(Deadline deadline) = 0;
  // Any thread, any lock held; cheap.
  virtual void Wake() = 0;

 protected:
  ~Blocker() = default;
};

class BlockerEntry final : public WaitEntry {
 public:
  explicit BlockerEntry(Blocker& blocker) : blocker_(blocker) {}
  ~BlockerEntry() override { Leave(); }

 protected:
  bool OnEvent(EventMask) override {
    blocker_.Wake();
    return true;
  }

 private:
  Blocker& blocker_;
};

}  // namespace sandboxd::wait
