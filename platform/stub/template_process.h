// The template: a process with nothing mapped but our own region, from which every fresh address
// space is forked.
//
// It starts as a fork of the kernel process, leaves all of its memory and descriptors behind, gives
// up its rights (capabilities, new privileges, system calls), and then runs nothing but the loop in
// snippets_stub.S. What it forks are children of the kernel process.
#pragma once

#include <sys/types.h>

#include <memory>

#include "platform/base/mutex.h"
#include "platform/base/unique_fd.h"
#include "platform/stub/layout.h"
#include "platform/stub/machine.h"

namespace sandboxd::platform::stub {

class TemplateProcess {
 public:
  // Call while the process has one thread, with the user and the namespaces that the kernel process
  // will keep: a stub with another user can't be traced.
  // For Kind::kMachine, /dev/kvm and what its machines are made from.
  static Result<std::unique_ptr<TemplateProcess>> Start(Kind kind, int kvm_fd = -1,
                                                        const MachineState* machine = nullptr);
  // Kills and reaps the template. Stubs live on.
  ~TemplateProcess();
  TemplateProcess(const TemplateProcess&) = delete;
  TemplateProcess& operator=(const TemplateProcess&) = delete;

  const Layout& layout() const { return layout_; }

  // A new stub with one thread: parked, or for Kind::kFree, waiting for its first turn in slot 0 of
  // `shared_memory`. EAGAIN and ENOMEM as fork(2); EIO if the template is gone. Any thread, one
  // after the other.
  Result<pid_t> Spawn(int shared_memory = -1);
  // The same in two steps: the template works in between. Nothing else is ordered then, and it is
  // for the caller to see to that.
  Result<void> Order(int shared_memory);
  Result<pid_t> Receive();

 private:
  TemplateProcess(pid_t pid, UniqueFd socket, Layout layout)
      : pid_(pid), socket_(std::move(socket)), layout_(layout) {}

  Result<void> OrderLocked(int shared_memory) REQUIRES(mutex_);
  Result<pid_t> ReceiveLocked() REQUIRES(mutex_);

  const pid_t pid_;
  Mutex mutex_{LockRank::kLeaf};
  const UniqueFd socket_;  // one request and its answer at a time, under mutex_
  const Layout layout_;
};

}  // namespace sandboxd::platform::stub
