// KernelCaller: who asks when the kernel itself uses a file (the stdio relay, mounting a
// container's root): root with every capability, no user memory, never blocks.
#pragma once

#include "kernel/vfs/caller.h"
#include "kernel/vfs/fd_table.h"
#include "kernel/vfs/mount.h"

namespace sandboxd::boot {

class KernelCaller final : public vfs::Caller {
 public:
  // Without a namespace only files that are open already can be used.
  KernelCaller();
  KernelCaller(Ref<creds::UserNamespace> user_ns, Ref<vfs::MountNamespace> mounts);

  creds::CredRef credentials() const override { return credentials_; }
  vfs::Path root() const override;
  vfs::Path cwd() const override { return root(); }
  Ref<vfs::MountNamespace> mount_namespace() const override { return mounts_; }
  uint32_t umask() const override { return 0; }
  vfs::FdTable& files() override { return *files_; }
  mm::UserMemory memory() const override;  // CHECK-fails: there is none
  wait::Blocker& blocker() override;       // likewise
  uint64_t file_size_limit() const override { return UINT64_MAX; }
  void SendSignalToSelf(int) override {
  }  // SIGPIPE and SIGXFSZ have no addressee here; the errno says it
  int32_t process_id() const override { return 0; }

 private:
  const creds::CredRef credentials_;
  const Ref<vfs::MountNamespace> mounts_;
  const Ref<vfs::FdTable> files_;
};

}  // namespace sandboxd::boot
