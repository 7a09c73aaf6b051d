// mount(2), umount2(2), pivot_root(2).
#include <sys/mount.h>

#include "kernel/syscalls/families.h"
#include "kernel/syscalls/paths.h"
#include "kernel/vfs/mount.h"

namespace sandboxd::syscalls {
namespace {

// A string argument that may be null: "".
Result<std::string> ReadOptional(Task& t, UserAddr addr) {
  if (addr.null()) return std::string();
  Result<std::string> text = t.memory().ReadCString(addr, kPageSize);
  if (text.Is(Errno::kENAMETOOLONG)) return Errno::kEINVAL;
  return text;
}

Result<void> SysMount(Task& t, UserCStr source, UserPath target, UserCStr type, uint64_t flags,
                      UserAddr data) {
  std::string type_name = TRY(ReadOptional(t, type));
  std::string source_name = TRY(ReadOptional(t, source));
  std::string options = TRY(ReadOptional(t, data));
  vfs::Path where = TRY(ResolveUserPath(t, kCwd, target, Follow::kYes));
  Ref<vfs::MountNamespace> ns = t.mount_namespace();
  return t.kernel().vfs().Mount(t, *ns, source_name, where, type_name, flags, options);
}

Result<void> SysUmount2(Task& t, UserPath target, int32_t flags) {
  if ((flags & ~(MNT_FORCE | MNT_DETACH | MNT_EXPIRE | UMOUNT_NOFOLLOW)) != 0)
    return Errno::kEINVAL;
  Follow follow = (flags & UMOUNT_NOFOLLOW) != 0 ? Follow::kNo : Follow::kYes;
  vfs::Path place = TRY(ResolveUserPath(t, kCwd, target, follow));
  if (place.dentry != place.mount->root()) return Errno::kEINVAL;
  Ref<vfs::MountNamespace> ns = t.mount_namespace();
  if (!ns->MayChange(*t.credentials())) return Errno::kEPERM;
  if ((flags & MNT_EXPIRE) != 0 && (flags & (MNT_FORCE | MNT_DETACH)) != 0) return Errno::kEINVAL;
  return ns->Unmount(place, flags);
}

Result<void> SysPivotRoot(Task& t, UserPath new_root, UserPath put_old) {
  Ref<vfs::MountNamespace> ns = t.mount_namespace();
  if (!ns->MayChange(*t.credentials())) return Errno::kEPERM;
  vfs::Path fresh = TRY(ResolveUserPath(t, kCwd, new_root, Follow::kYes));
  vfs::Path old = TRY(ResolveUserPath(t, kCwd, put_old, Follow::kYes));
  if (!fresh.dentry->inode()->IsDirectory() || !old.dentry->inode()->IsDirectory())
    return Errno::kENOTDIR;
  vfs::Path before = t.root();
  TRY(ns->PivotRoot(fresh, old));
  // pivot_root(2): tasks whose root or cwd was the old root move to the new one.
  for (const Ref<task::ThreadGroup>& group : t.kernel().ThreadGroups()) {
    for (const Ref<Task>& task : group->Tasks()) {
      Ref<task::FsContext> fs = task->fs();
      if (fs == nullptr) continue;
      if (fs->root() == before) fs->set_root(fresh);
      if (fs->cwd() == before) fs->set_cwd(fresh);
    }
  }
  return Ok();
}

constexpr Row kRows[] = {
    Partial<SysMount>(SYS_mount, "mount", "every mount is private: propagation changes nothing"),
    Full<SysUmount2>(SYS_umount2, "umount2"),
    Full<SysPivotRoot>(SYS_pivot_root, "pivot_root"),
};

}  // namespace

std::span<const Row> MountRows() { return kRows; }

}  // namespace sandboxd::syscalls
