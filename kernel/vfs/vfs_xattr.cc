// Extended attributes (xattr(7)): who may see and change which namespace of names.
#include <linux/capability.h>
#include <sys/inotify.h>
#include <sys/stat.h>

#include "kernel/vfs/vfs.h"
#include "kernel/vfs/vfs_internal.h"

namespace sandboxd::vfs {

namespace {

constexpr std::string_view kUser = "user.", kTrusted = "trusted.", kSecurity = "security.",
                           kSystem = "system.";
constexpr size_t kMaxValue = 65536;

bool KnownNamespace(std::string_view name) {
  for (std::string_view prefix : {kUser, kTrusted, kSecurity, kSystem}) {
    if (name.starts_with(prefix)) return true;
  }
  return false;
}

Result<void> CheckXattr(const creds::Credentials& creds, Inode& inode, std::string_view name,
                        bool write) {
  if (!KnownNamespace(name)) return Errno::kEOPNOTSUPP;
  if (name.starts_with(kTrusted)) {
    if (!creds.CapableInit(CAP_SYS_ADMIN)) return write ? Errno::kEPERM : Errno::kENODATA;
    return Ok();
  }
  if (name.starts_with(kSecurity)) {
    if (!write) return Ok();
    int cap = name == "security.capability" ? CAP_SETFCAP : CAP_SYS_ADMIN;
    return creds.CapableInit(cap) ? Ok() : Result<void>(Errno::kEPERM);
  }
  if (name.starts_with(kSystem)) {
    Attr attr = TRY(inode.GetAttr());
    if (write && !OwnerOrCapable(creds, attr.uid, attr.gid)) return Errno::kEPERM;
    return Ok();
  }
  if (!inode.IsRegular() && !inode.IsDirectory()) return write ? Errno::kEPERM : Errno::kENODATA;
  if (write && inode.IsDirectory()) {
    Attr attr = TRY(inode.GetAttr());
    if ((attr.mode & S_ISVTX) != 0 && !OwnerOrCapable(creds, attr.uid, attr.gid))
      return Errno::kEPERM;
  }
  return inode.CheckPermission(creds, write ? kMayWrite : kMayRead);
}

}  // namespace

Result<std::string> Vfs::GetXattr(Caller& c, const Path& path, std::string_view name) {
  Inode& inode = *path.dentry->inode();
  TRY(CheckXattr(*c.credentials(), inode, name, /*write=*/false));
  return inode.GetXattr(name);
}

Result<void> Vfs::SetXattr(Caller& c, const Path& path, std::string_view name,
                           std::string_view value, int flags) {
  if (value.size() > kMaxValue) return Errno::kE2BIG;
  TRY(WantWrite(*path.mount));
  Inode& inode = *path.dentry->inode();
  TRY(CheckXattr(*c.credentials(), inode, name, /*write=*/true));
  TRY(inode.SetXattr(name, value, flags));
  Notify(path, IN_ATTRIB);
  return Ok();
}

Result<void> Vfs::RemoveXattr(Caller& c, const Path& path, std::string_view name) {
  TRY(WantWrite(*path.mount));
  Inode& inode = *path.dentry->inode();
  TRY(CheckXattr(*c.credentials(), inode, name, /*write=*/true));
  TRY(inode.RemoveXattr(name));
  Notify(path, IN_ATTRIB);
  return Ok();
}

Result<std::vector<std::string>> Vfs::ListXattr(Caller& c, const Path& path) {
  std::vector<std::string> names = TRY(path.dentry->inode()->ListXattr());
  if (!c.credentials()->CapableInit(CAP_SYS_ADMIN)) {
    std::erase_if(names, [](const std::string& n) { return n.starts_with(kTrusted); });
  }
  return names;
}

}  // namespace sandboxd::vfs
