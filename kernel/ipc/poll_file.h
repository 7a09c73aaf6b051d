// Asking a file what is ready, in poll(2)'s words. Files answer with EPOLLIN and EPOLLOUT; their
// other names, EPOLLRDNORM and EPOLLWRNORM, are added here.
#pragma once

#include <sys/epoll.h>

#include "kernel/vfs/file.h"

namespace sandboxd::ipc {

constexpr wait::EventMask WithAliases(wait::EventMask events) {
  if ((events & (EPOLLIN | EPOLLRDNORM)) != 0) events |= EPOLLIN | EPOLLRDNORM;
  if ((events & (EPOLLOUT | EPOLLWRNORM)) != 0) events |= EPOLLOUT | EPOLLWRNORM;
  return events;
}

// Which of `interest` hold now, EPOLLERR and EPOLLHUP always included.
inline wait::EventMask PollFile(vfs::File& file, wait::EventMask interest) {
  interest |= EPOLLERR | EPOLLHUP;
  return WithAliases(file.Poll(WithAliases(interest))) & interest;
}

}  // namespace sandboxd::ipc
