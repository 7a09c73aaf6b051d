// mount(2).
#include <linux/capability.h>
#include <sys/mount.h>

#include "kernel/vfs/vfs.h"

namespace sandboxd::vfs {

namespace {

constexpr unsigned long kMagicMask = 0xffff0000, kMagic = 0xC0ED0000;
constexpr unsigned long kNoSymfollow = 256;  // MS_NOSYMFOLLOW, younger than our glibc
constexpr unsigned long kPropagation = MS_SHARED | MS_PRIVATE | MS_SLAVE | MS_UNBINDABLE;

uint32_t MountFlagsOf(unsigned long flags) {
  static constexpr struct {
    unsigned long ms;
    uint32_t ours;
  } kTable[] = {{MS_RDONLY, kMountReadOnly},      {MS_NOSUID, kMountNoSuid},
                {MS_NODEV, kMountNoDev},          {MS_NOEXEC, kMountNoExec},
                {MS_NOATIME, kMountNoAtime},      {MS_NODIRATIME, kMountNoDirAtime},
                {kNoSymfollow, kMountNoSymfollow}};
  uint32_t ours = 0;
  for (const auto& row : kTable) {
    if ((flags & row.ms) != 0) ours |= row.ours;
  }
  // mount(2): MS_RELATIME is the default since 2.6.30.
  if ((flags & (MS_NOATIME | MS_STRICTATIME)) == 0) ours |= kMountRelatime;
  return ours;
}

Result<void> ChangePropagation(const Path& where, unsigned long flags) {
  unsigned long kind = flags & kPropagation;
  if ((flags & ~(kPropagation | MS_REC | MS_SILENT)) != 0 || (kind & (kind - 1)) != 0)
    return Errno::kEINVAL;
  // Every mount is private: there are no peer groups that a change could matter to.
  return where.dentry == where.mount->root() ? Ok() : Result<void>(Errno::kEINVAL);
}

Result<void> Remount(const Path& where, unsigned long flags, std::string_view options) {
  if (where.dentry != where.mount->root()) return Errno::kEINVAL;
  if ((flags & MS_BIND) == 0) TRY(where.mount->superblock()->Remount(options));
  where.mount->set_flags(MountFlagsOf(flags));
  return Ok();
}

}  // namespace

Result<void> Vfs::Mount(Caller& c, MountNamespace& ns, std::string_view source, const Path& where,
                        std::string_view type, unsigned long flags, std::string_view options) {
  creds::CredRef creds = c.credentials();
  if (!ns.MayChange(*creds)) return Errno::kEPERM;
  if ((flags & kMagicMask) == kMagic) flags &= ~kMagicMask;
  flags &= ~static_cast<unsigned long>(MS_SILENT);

  if ((flags & MS_REMOUNT) != 0) return Remount(where, flags, options);
  if ((flags & MS_BIND) != 0) {
    if (source.empty()) return Errno::kEINVAL;
    Path from = TRY(Resolve(c, source));
    return ns.Attach(TRY(ns.Bind(from, (flags & MS_REC) != 0)), where);
  }
  if ((flags & kPropagation) != 0) return ChangePropagation(where, flags);
  if ((flags & MS_MOVE) != 0) {
    if (source.empty()) return Errno::kEINVAL;
    Path from = TRY(Resolve(c, source));
    return ns.Move(from, where);
  }
  if (type.empty()) return Errno::kEINVAL;
  FilesystemType* fs = FindFilesystem(type);
  if (fs == nullptr) return Errno::kENODEV;
  if (!fs->user_mountable() && !creds->CapableInit(CAP_SYS_ADMIN)) return Errno::kEPERM;
  Ref<Superblock> superblock = TRY(fs->Mount(c, source, options));
  Ref<vfs::Mount> mount = TRY(NewMount(std::move(superblock), MountFlagsOf(flags),
                                       source.empty() ? "none" : std::string(source)));
  return ns.Attach(std::move(mount), where);
}

}  // namespace sandboxd::vfs
