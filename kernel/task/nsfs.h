// nsfs: the files that stand for namespaces (namespaces(7), ioctl_ns(2)): what /proc/PID/ns/* lead
// to. They can be opened, given to setns(2), and bound to a place, which keeps the namespace alive.
#pragma once

#include "kernel/creds/namespace.h"
#include "kernel/task/kernel.h"
#include "kernel/vfs/file.h"

namespace sandboxd::task {

class NsFile final : public vfs::File {
 public:
  static constexpr char kTypeTag = 0;
  NsFile(vfs::Path path, int flags, Ref<creds::Namespace> ns);
  const Ref<creds::Namespace>& ns() const { return ns_; }

  Result<uint64_t> Ioctl(vfs::Caller& c, uint32_t command, uint64_t argument) override;
  std::string Describe() const override;
  const void* type_tag() const override { return &kTypeTag; }

 private:
  const Ref<creds::Namespace> ns_;
};

Ref<vfs::Mount> NewNsfsMount();
// The place of the namespace's file.
vfs::Path NamespacePath(Kernel& kernel, Ref<creds::Namespace> ns);
// "mnt:[4026531840]".
std::string NamespaceName(const creds::Namespace& ns);

}  // namespace sandboxd::task
