// Stubs that have been killed and aren't reaped yet: taking a large address space apart takes the
// host a while, for which nobody should wait.
#pragma once

#include <sys/types.h>

#include <deque>

#include "platform/base/mutex.h"

namespace sandboxd::platform::stub {

class Graveyard {
 public:
  // No more than so many wait for being reaped at any time; a further one is waited for.
  static constexpr size_t kCapacity = 8;

  Graveyard() = default;
  // Reaps all.
  ~Graveyard();
  Graveyard(const Graveyard&) = delete;
  Graveyard& operator=(const Graveyard&) = delete;

  // Kills the process group that `leader` leads, and reaps what is dead already. Its number stays
  // taken until it is reaped. Any thread.
  void Bury(pid_t leader);

 private:
  Mutex mutex_{LockRank::kLeaf};
  std::deque<pid_t> leaders_ GUARDED_BY(mutex_);
};

}  // namespace sandboxd::platform::stub
