#include "gofer/client/connection.h"

#include <sys/socket.h>

#include <algorithm>
#include <cstring>

#include "gofer/protocol/socket.h"
#include "platform/base/log.h"

namespace sandboxd::gofer {

Connection::~Connection() {
  MutexLock lock(mutex_);
  CHECK(!reading_);
}

Result<Reply> Connection::Exchange(std::vector<std::byte> frame) {
  uint16_t tag = TRY(Send(frame, SlotState::kWaiting));
  MutexLock lock(mutex_);
  Slot& slot = slots_[tag];
  while (slot.state != SlotState::kDone && !broken_) WaitOrRead(slot.changed);
  bool answered = slot.state == SlotState::kDone;
  Reply reply = std::move(slot.reply);
  FreeSlot(slot);
  PassOnReading();
  if (!answered) return Errno::kEIO;
  return reply;
}

Result<void> Connection::Post(std::vector<std::byte> frame) {
  TRY(Send(frame, SlotState::kPosted));
  return Ok();
}

void Connection::SetMessageSize(uint32_t size) {
  MutexLock lock(mutex_);
  message_size_ = size;
}

Result<uint16_t> Connection::Send(std::vector<std::byte>& frame, SlotState then) {
  uint16_t tag = 0;
  {
    MutexLock lock(mutex_);
    tag = TRY(TakeSlot(frame.size()));
    // From here on the response may arrive.
    slots_[tag].state = then;
  }
  std::memcpy(frame.data() + 5, &tag, sizeof(tag));
  Result<void> sent;
  {
    MutexLock lock(send_mutex_);
    sent = SendFrame(socket_.get(), frame);
  }
  if (sent.ok()) return tag;
  MutexLock lock(mutex_);
  FreeSlot(slots_[tag]);
  Break(sent.error());
  return Errno::kEIO;
}

bool Connection::HasRoom(size_t request_size) const {
  if (bytes_in_flight_ != 0 && bytes_in_flight_ + request_size > kMaxBytesInFlight) return false;
  return std::ranges::any_of(slots_, [](const Slot& s) { return s.state == SlotState::kFree; });
}

Result<uint16_t> Connection::TakeSlot(size_t request_size) {
  ++waiting_for_slot_;
  while (!broken_ && !HasRoom(request_size)) WaitOrRead(slot_freed_);
  --waiting_for_slot_;
  if (broken_) return Errno::kEIO;
  auto slot = std::ranges::find(slots_, SlotState::kFree, &Slot::state);
  slot->state = SlotState::kSending;
  slot->request_size = request_size;
  bytes_in_flight_ += request_size;
  PassOnReading();
  return static_cast<uint16_t>(slot - slots_.begin());
}

void Connection::FreeSlot(Slot& slot) {
  bytes_in_flight_ -= slot.request_size;
  slot.state = SlotState::kFree;
  slot.request_size = 0;
  slot.reply = Reply{};
  if (waiting_for_slot_ != 0) slot_freed_.NotifyAll();
}

void Connection::WaitOrRead(CondVar& changed) {
  if (reading_) {
    changed.Wait(mutex_);
  } else {
    ReadOne();
  }
}

void Connection::ReadOne() {
  reading_ = true;
  uint32_t limit = message_size_;
  mutex_.Unlock();
  Reply reply;
  Result<ReceivedFrame> received = ReceiveFrame(socket_.get(), limit, reply.frame);
  mutex_.Lock();
  reading_ = false;
  if (!received.ok()) {
    Break(received.error());
    return;
  }
  reply.donated = std::move(received->donated);
  Deliver(received->frame.tag, std::move(reply));
}

void Connection::Deliver(uint16_t tag, Reply reply) {
  if (tag >= slots_.size()) return Break(Errno::kEPROTO);
  Slot& slot = slots_[tag];
  switch (slot.state) {
    case SlotState::kPosted:
      FreeSlot(slot);
      return;
    case SlotState::kWaiting:
      slot.reply = std::move(reply);
      slot.state = SlotState::kDone;
      slot.changed.NotifyOne();
      return;
    case SlotState::kFree:
    case SlotState::kSending:
    case SlotState::kDone:
      return Break(Errno::kEPROTO);
  }
}

// A caller that got what it waited for may have been the reader: another one must take over.
void Connection::PassOnReading() {
  if (reading_) return;
  auto waiting = std::ranges::find(slots_, SlotState::kWaiting, &Slot::state);
  if (waiting != slots_.end()) {
    waiting->changed.NotifyOne();
  } else if (waiting_for_slot_ != 0) {
    slot_freed_.NotifyOne();
  }
}

void Connection::Break(Errno why) {
  if (!broken_) LOG_ERROR("connection to the gofer lost: %s", ErrnoMessage(why));
  broken_ = true;
  // Wakes a reader, and tells the gofer.
  ::shutdown(socket_.get(), SHUT_RDWR);
  for (Slot& slot : slots_) slot.changed.NotifyAll();
  slot_freed_.NotifyAll();
}

}  // namespace sandboxd::gofer
