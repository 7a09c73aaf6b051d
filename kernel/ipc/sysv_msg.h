// System V message queues (msgop(2), msgctl(2)).
#pragma once

#include <sys/msg.h>

#include <deque>
#include <string>

#include "kernel/ipc/sysv_object.h"

namespace sandboxd::ipc {

inline constexpr size_t kMaxMessage = 8192;          // MSGMAX
inline constexpr uint64_t kMaxMessageQueue = 16384;  // MSGMNB

class MessageQueue final : public SysvObject {
 public:
  struct Message {
    int64_t type = 0;
    std::string text;
  };
  std::deque<Message> messages GUARDED_BY(mutex);
  uint64_t bytes GUARDED_BY(mutex) = 0;
  uint64_t max_bytes GUARDED_BY(mutex) = kMaxMessageQueue;
  int64_t send_time GUARDED_BY(mutex) = 0;
  int64_t receive_time GUARDED_BY(mutex) = 0;
  int32_t last_sender GUARDED_BY(mutex) = 0;
  int32_t last_receiver GUARDED_BY(mutex) = 0;

  // EAGAIN if it is full; EIDRM. `message` is moved away on success.
  Result<void> Send(Message& message, int32_t pid);
  // The first that `type` and the MSG_EXCEPT flag choose. EAGAIN if there is none, E2BIG if it is
  // longer than `max` without MSG_NOERROR; EIDRM.
  Result<Message> Receive(int64_t type, size_t max, int flags, int32_t pid);
  // MSG_COPY: a copy of the message at `position`. ENOMSG.
  Result<Message> Copy(int64_t position, size_t max, int flags);
  void Remove();
};

}  // namespace sandboxd::ipc
