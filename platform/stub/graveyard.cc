#include "platform/stub/graveyard.h"

#include <sys/wait.h>

#include <cerrno>
#include <csignal>

namespace sandboxd::platform::stub {
namespace {

// Every process of the group. With WNOHANG: true if none is left.
bool Reap(pid_t leader, int options) {
  for (;;) {
    const pid_t pid = waitpid(-leader, nullptr, __WALL | options);
    if (pid == 0) return false;
    if (pid < 0 && errno == ECHILD) return true;
  }
}

}  // namespace

Graveyard::~Graveyard() {
  for (pid_t leader : leaders_) Reap(leader, 0);
}

void Graveyard::Bury(pid_t leader) {
  kill(-leader, SIGKILL);
  MutexLock lock(mutex_);
  std::erase_if(leaders_, [](pid_t pid) { return Reap(pid, WNOHANG); });
  leaders_.push_back(leader);
  if (leaders_.size() > kCapacity) {
    Reap(leaders_.front(), 0);
    leaders_.pop_front();
  }
}

}  // namespace sandboxd::platform::stub
