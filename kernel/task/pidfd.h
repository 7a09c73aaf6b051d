// PidFd: a file that names a process and is readable once it has ended (pidfd_open(2)).
#pragma once

#include <string>

#include "kernel/task/kernel.h"
#include "kernel/task/thread_group.h"
#include "kernel/vfs/file.h"

namespace sandboxd::task {

class PidFd final : public vfs::File {
 public:
  static constexpr char kTypeTag = 0;
  PidFd(vfs::Path path, int flags, Ref<ThreadGroup> group);
  const Ref<ThreadGroup>& group() const { return group_; }

  wait::EventMask Poll(wait::EventMask interest) override;
  bool pollable() const override { return true; }
  void AddWaiter(wait::WaitEntry& entry, wait::EventMask mask, bool exclusive) override;
  Result<size_t> Read(vfs::Caller& c, mm::IoSink& dst) override;
  std::string Describe() const override { return "anon_inode:[pidfd]"; }
  std::string FdInfo() const override;
  const void* type_tag() const override { return &kTypeTag; }

 private:
  const Ref<ThreadGroup> group_;
};

// `flags`: PIDFD_NONBLOCK or 0.
Ref<PidFd> MakePidFd(Kernel& kernel, Ref<ThreadGroup> group, int flags);

}  // namespace sandboxd::task
