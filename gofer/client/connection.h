// Requests and responses over one socket, many in flight. There is no thread of its own: of the
// callers that wait, one reads and hands each response to the caller it belongs to.
#pragma once

#include <array>
#include <vector>

#include "gofer/protocol/codec.h"
#include "platform/base/mutex.h"
#include "platform/base/result.h"
#include "platform/base/unique_fd.h"

namespace sandboxd::gofer {

// A response and the descriptor that came with it.
struct Reply {
  std::vector<std::byte> frame;
  UniqueFd donated;
};

// Thread-safe. Calls block, uninterruptibly, until the gofer answers or goes away; hold no lock of
// a lower rank than kGoferClient that the gofer's answer could depend on (there is none: the gofer
// never calls back).
class Connection {
 public:
  static constexpr size_t kMaxInFlight = 32;
  // Requests in flight never fill the socket's buffer (212992 bytes by default), so that a send
  // does not block while nobody reads responses.
  static constexpr size_t kMaxBytesInFlight = 80 * 1024;

  explicit Connection(UniqueFd socket) : socket_(std::move(socket)) {}
  ~Connection();

  // Sends one encoded frame, whose tag is filled in here, and waits for the response to it. EIO
  // once the connection is broken.
  Result<Reply> Exchange(std::vector<std::byte> frame) EXCLUDES(mutex_, send_mutex_);
  // The same, for a request whose response nobody needs: returns when it has been sent.
  Result<void> Post(std::vector<std::byte> frame) EXCLUDES(mutex_, send_mutex_);

  // The largest frame to accept, from the version negotiation on.
  void SetMessageSize(uint32_t size) EXCLUDES(mutex_);

 private:
  enum class SlotState { kFree, kSending, kWaiting, kPosted, kDone };
  // A tag is the index of its slot.
  struct Slot {
    SlotState state = SlotState::kFree;
    size_t request_size = 0;
    Reply reply;
    CondVar changed;
  };

  Result<uint16_t> TakeSlot(size_t request_size) REQUIRES(mutex_);
  bool HasRoom(size_t request_size) const REQUIRES(mutex_);
  void FreeSlot(Slot& slot) REQUIRES(mutex_);
  Result<uint16_t> Send(std::vector<std::byte>& frame, SlotState then)
      EXCLUDES(mutex_, send_mutex_);
  // Waits a step for something to change: reads one response if nobody is reading.
  void WaitOrRead(CondVar& changed) REQUIRES(mutex_);
  void ReadOne() REQUIRES(mutex_);
  void Deliver(uint16_t tag, Reply reply) REQUIRES(mutex_);
  void PassOnReading() REQUIRES(mutex_);
  void Break(Errno why) REQUIRES(mutex_);

  const UniqueFd socket_;

  // Keeps the bytes of two requests apart. Taken without mutex_.
  Mutex send_mutex_{LockRank::kGoferClient};

  Mutex mutex_{LockRank::kGoferClient};
  std::array<Slot, kMaxInFlight> slots_ GUARDED_BY(mutex_);
  CondVar slot_freed_;
  size_t bytes_in_flight_ GUARDED_BY(mutex_) = 0;
  size_t waiting_for_slot_ GUARDED_BY(mutex_) = 0;
  bool reading_ GUARDED_BY(mutex_) = false;  // some thread is in ReceiveFrame, without mutex_
  bool broken_ GUARDED_BY(mutex_) = false;
  uint32_t message_size_ GUARDED_BY(mutex_) = kMinMessageSize;
};

}  // namespace sandboxd::gofer
