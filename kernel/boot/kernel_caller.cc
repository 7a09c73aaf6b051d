#include "kernel/boot/kernel_caller.h"

#include <cstdlib>

#include "platform/base/check.h"

namespace sandboxd::boot {

KernelCaller::KernelCaller() : KernelCaller(creds::UserNamespace::CreateInitial(), nullptr) {}

KernelCaller::KernelCaller(Ref<creds::UserNamespace> user_ns, Ref<vfs::MountNamespace> mounts)
    : credentials_(creds::Credentials::Root(std::move(user_ns), creds::CapSet::All())),
      mounts_(std::move(mounts)),
      files_(MakeRef<vfs::FdTable>()) {}

vfs::Path KernelCaller::root() const { return mounts_ ? mounts_->root() : vfs::Path(); }

mm::UserMemory KernelCaller::memory() const {
  CHECK_MSG(false, "the kernel has no user memory");
  abort();
}

wait::Blocker& KernelCaller::blocker() {
  CHECK_MSG(false, "the kernel itself does not block on files");
  abort();
}

}  // namespace sandboxd::boot
