#include "kernel/task/nsfs.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <sys/stat.h>

#include "kernel/creds/credentials.h"
#include "kernel/task/pid_namespace.h"
#include "kernel/task/task.h"
#include "kernel/vfs/mount.h"
#include "platform/base/format.h"

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x00000080
#endif

namespace sandboxd::task {
namespace {

vfs::Attr AttrOf(uint64_t ino, uint32_t mode) {
  vfs::Attr a;
  a.ino = ino;
  a.mode = mode;
  a.atime = a.mtime = a.ctime = vfs::Time::NowCoarse();
  return a;
}

class NsInode final : public vfs::Inode {
 public:
  NsInode(vfs::Superblock& sb, Ref<creds::Namespace> ns)
      : Inode(sb, ns->number(), S_IFREG | 0444),
        ns_(std::move(ns)),
        attr_(AttrOf(ns_->number(), S_IFREG | 0444)) {}
  Result<vfs::Attr> GetAttr() override { return attr_; }
  Result<Ref<vfs::File>> Open(vfs::Caller&, const vfs::Path& path, int flags) override {
    return Ref<vfs::File>(MakeRef<NsFile>(path, flags, ns_));
  }

 private:
  const Ref<creds::Namespace> ns_;
  const vfs::Attr attr_;
};

class RootInode final : public vfs::Inode {
 public:
  explicit RootInode(vfs::Superblock& sb) : Inode(sb, 1, S_IFDIR | 0555) {}
  Result<vfs::Attr> GetAttr() override { return AttrOf(1, S_IFDIR | 0555); }
};

class NsSuperblock final : public vfs::Superblock {
 public:
  std::string_view type_name() const override { return "nsfs"; }
  Ref<vfs::Inode> RootInode() override { return MakeRef<task::RootInode>(*this); }
  Result<vfs::FsStat> StatFs() override {
    vfs::FsStat s;
    s.type = NSFS_MAGIC;
    return s;
  }
  bool internal_bindable() const override { return true; }
};

// A parent or owner is shown to those inside it, or above.
bool IsVisible(const creds::UserNamespace& ns, vfs::Caller& c) {
  return c.credentials()->user_ns->IsAncestorOfOrSame(ns);
}

Result<Ref<creds::Namespace>> ParentOf(creds::Namespace& ns, vfs::Caller& c) {
  auto* task = static_cast<Task*>(c.task());
  if (ns.kind() == CLONE_NEWUSER) {
    auto* parent = static_cast<creds::UserNamespace&>(ns).parent();
    if (parent == nullptr || !IsVisible(*parent, c)) return Errno::kEPERM;
    return Ref<creds::Namespace>(const_cast<creds::UserNamespace*>(parent));
  }
  if (ns.kind() == CLONE_NEWPID) {
    PidNamespace* parent = static_cast<PidNamespace&>(ns).parent();
    if (parent == nullptr || !task->pid_ns()->IsAncestorOfOrSame(*parent)) return Errno::kEPERM;
    return Ref<creds::Namespace>(parent);
  }
  return Errno::kEINVAL;
}

Result<Ref<creds::Namespace>> OwnerOf(creds::Namespace& ns, vfs::Caller& c) {
  auto* task = static_cast<Task*>(c.task());
  const creds::UserNamespace* owner = ns.owner_ns();
  if (owner == nullptr && ns.kind() != CLONE_NEWUSER) {
    owner = task->kernel().init_user_ns().get();  // a container's own mount namespace
  }
  if (owner == nullptr || !IsVisible(*owner, c)) return Errno::kEPERM;
  return Ref<creds::Namespace>(const_cast<creds::UserNamespace*>(owner));
}

}  // namespace

NsFile::NsFile(vfs::Path path, int flags, Ref<creds::Namespace> ns)
    : File(std::move(path), flags), ns_(std::move(ns)) {}

std::string NsFile::Describe() const { return NamespaceName(*ns_); }

Result<uint64_t> NsFile::Ioctl(vfs::Caller& c, uint32_t command, uint64_t argument) {
  auto* task = static_cast<Task*>(c.task());
  if (task == nullptr) return Errno::kENOTTY;
  auto open = [&](Ref<creds::Namespace> other) -> Result<uint64_t> {
    vfs::Path place = NamespacePath(task->kernel(), other);
    auto file = MakeRef<NsFile>(std::move(place), O_RDONLY, std::move(other));
    FdNum fd = TRY(c.files().Install(std::move(file), /*cloexec=*/true, task->fd_limit()));
    return static_cast<uint64_t>(fd.value);
  };
  switch (command) {
    case NS_GET_USERNS:
      return open(TRY(OwnerOf(*ns_, c)));
    case NS_GET_PARENT:
      return open(TRY(ParentOf(*ns_, c)));
    case NS_GET_NSTYPE:
      return static_cast<uint64_t>(ns_->kind());
    case NS_GET_OWNER_UID: {
      if (ns_->kind() != CLONE_NEWUSER) return Errno::kEINVAL;
      creds::KUid owner = static_cast<creds::UserNamespace&>(*ns_).owner();
      TRY(c.memory().Write<uint32_t>(UserAddr(argument),
                                     c.credentials()->user_ns->FromKUid(owner)));
      return uint64_t{0};
    }
    default:
      return Errno::kENOTTY;
  }
}

Ref<vfs::Mount> NewNsfsMount() {
  return MakeRef<vfs::Mount>(MakeRef<NsSuperblock>(), Ref<vfs::Dentry>(), vfs::kMountNoSuid,
                             "nsfs");
}

vfs::Path NamespacePath(Kernel& kernel, Ref<creds::Namespace> ns) {
  std::string name = NamespaceName(*ns);
  auto inode = MakeRef<NsInode>(*kernel.nsfs()->superblock(), std::move(ns));
  return vfs::Path(kernel.nsfs(), vfs::Dentry::MakeRoot(std::move(inode), std::move(name)));
}

std::string NamespaceName(const creds::Namespace& ns) {
  const char* type = "?";
  switch (ns.kind()) {
    case CLONE_NEWCGROUP:
      type = "cgroup";
      break;
    case CLONE_NEWIPC:
      type = "ipc";
      break;
    case CLONE_NEWNS:
      type = "mnt";
      break;
    case CLONE_NEWNET:
      type = "net";
      break;
    case CLONE_NEWPID:
      type = "pid";
      break;
    case CLONE_NEWTIME:
      type = "time";
      break;
    case CLONE_NEWUSER:
      type = "user";
      break;
    case CLONE_NEWUTS:
      type = "uts";
      break;
  }
  return StrFormat("%s:[%llu]", type, static_cast<unsigned long long>(ns.number()));
}

}  // namespace sandboxd::task
