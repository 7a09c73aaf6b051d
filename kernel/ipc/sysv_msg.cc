#include "kernel/ipc/sysv_msg.h"

#include <sys/epoll.h>

namespace sandboxd::ipc {

Result<void> MessageQueue::Send(Message& message, int32_t pid) {
  {
    MutexLock lock(mutex);
    if (removed) return Errno::kEIDRM;
    if (bytes + message.text.size() > max_bytes || messages.size() + 1 > max_bytes) {
      return Errno::kEAGAIN;
    }
    bytes += message.text.size();
    messages.push_back(std::move(message));
    send_time = SysvNow();
    last_sender = pid;
  }
  queue.Notify(EPOLLIN);
  return Ok();
}

Result<MessageQueue::Message> MessageQueue::Receive(int64_t type, size_t max, int flags,
                                                    int32_t pid) {
  Message taken;
  {
    MutexLock lock(mutex);
    if (removed) return Errno::kEIDRM;
    auto chosen = messages.end();
    for (auto m = messages.begin(); m != messages.end(); ++m) {
      if (type < 0) {
        // msgop(2): "the first message ... with the lowest type less than or equal to |msgtyp|".
        if (m->type <= (type == INT64_MIN ? INT64_MAX : -type) &&
            (chosen == messages.end() || m->type < chosen->type)) {
          chosen = m;
        }
        continue;
      }
      const bool except = (flags & MSG_EXCEPT) != 0;
      if (type == 0 || (except ? m->type != type : m->type == type)) {
        chosen = m;
        break;
      }
    }
    if (chosen == messages.end()) return Errno::kEAGAIN;
    if (chosen->text.size() > max && (flags & MSG_NOERROR) == 0) return Errno::kE2BIG;
    taken = std::move(*chosen);
    messages.erase(chosen);
    bytes -= taken.text.size();
    receive_time = SysvNow();
    last_receiver = pid;
  }
  queue.Notify(EPOLLOUT);
  if (taken.text.size() > max) taken.text.resize(max);
  return taken;
}

Result<MessageQueue::Message> MessageQueue::Copy(int64_t position, size_t max, int flags) {
  MutexLock lock(mutex);
  if (removed) return Errno::kEIDRM;
  if (position < 0 || static_cast<size_t>(position) >= messages.size()) return Errno::kENOMSG;
  const Message& found = messages[static_cast<size_t>(position)];
  if (found.text.size() > max && (flags & MSG_NOERROR) == 0) return Errno::kE2BIG;
  return Message{found.type, found.text.substr(0, max)};
}

void MessageQueue::Remove() {
  {
    MutexLock lock(mutex);
    removed = true;
  }
  queue.Notify(EPOLLIN | EPOLLOUT);
}

}  // namespace sandboxd::ipc
