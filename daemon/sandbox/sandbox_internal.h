// What the files of Sandbox share.
#pragma once

#include "daemon/sandbox/sandbox.h"

namespace sandboxd::daemon {

// Numbers the descriptors that are there and adds them to `fds`.
void FillStdio(ProcessStreams::KernelEnds& ends, control::Stdio& stdio, std::vector<UniqueFd>& fds);

// See Sandbox::Begin.
class Sandbox::Operation {
 public:
  explicit Operation(Sandbox& sandbox) : sandbox_(Ref<Sandbox>(&sandbox)) {}
  ~Operation() {
    MutexLock lock(sandbox_->mutex_);
    sandbox_->busy_ = false;
    sandbox_->idle_.NotifyAll();
  }
  Operation(const Operation&) = delete;
  Operation& operator=(const Operation&) = delete;

 private:
  Ref<Sandbox> sandbox_;
};

}  // namespace sandboxd::daemon
