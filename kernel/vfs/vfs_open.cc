// open(2).
#include <fcntl.h>
#include <linux/capability.h>
#include <sys/inotify.h>
#include <sys/stat.h>

#include "kernel/vfs/vfs.h"
#include "kernel/vfs/vfs_internal.h"
#include "kernel/vfs/walker.h"

namespace sandboxd::vfs {

namespace {

constexpr int kTmpfileFlag = O_TMPFILE & ~O_DIRECTORY;

// A description made with O_PATH: names a place, refuses everything else.
class PathFile final : public File {
 public:
  PathFile(Path path, int flags) : File(std::move(path), flags) {}
};

// The rights that an open with these flags needs. O_ACCMODE 3 asks for both and gives neither.
int AccessMask(int flags) {
  static constexpr int kByMode[] = {kMayRead, kMayWrite, kMayRead | kMayWrite,
                                    kMayRead | kMayWrite};
  int mask = kByMode[flags & O_ACCMODE];
  return (flags & O_TRUNC) != 0 ? mask | kMayWrite : mask;
}

Result<void> MayOpen(const creds::Credentials& creds, const Path& path, int flags) {
  Inode& inode = *path.dentry->inode();
  int mask = AccessMask(flags);
  switch (inode.type()) {
    case S_IFLNK:
      return Errno::kELOOP;
    case S_IFDIR:
      if ((mask & kMayWrite) != 0) return Errno::kEISDIR;
      break;
    case S_IFCHR:
    case S_IFBLK:
      if ((path.mount->flags() & kMountNoDev) != 0) return Errno::kEACCES;
      break;
    case S_IFREG:
      if ((mask & kMayWrite) != 0 && path.mount->read_only()) return Errno::kEROFS;
      break;
    default:
      break;
  }
  TRY(inode.CheckPermission(creds, mask));
  if ((flags & O_NOATIME) != 0) {
    Attr attr = TRY(inode.GetAttr());
    if (!OwnerOrCapable(creds, attr.uid, attr.gid)) return Errno::kEPERM;
  }
  return Ok();
}

// proc(5), protected_regular and protected_fifos: O_CREAT does not open another's file in a sticky
// directory that others may write to.
Result<void> CheckStickyCreate(const creds::Credentials& creds, Inode& dir, Inode& file) {
  if (!file.IsRegular() && file.type() != S_IFIFO) return Ok();
  Attr d = TRY(dir.GetAttr());
  if ((d.mode & S_ISVTX) == 0) return Ok();
  Attr f = TRY(file.GetAttr());
  if (f.uid == d.uid || f.uid == creds.fsuid) return Ok();
  bool group_writable_counts = file.IsRegular();  // protected_regular = 2, protected_fifos = 1
  if ((d.mode & S_IWOTH) != 0) return Errno::kEACCES;
  if (group_writable_counts && (d.mode & S_IWGRP) != 0) return Errno::kEACCES;
  return Ok();
}

Result<void> TruncateForOpen(const creds::Credentials& creds, Inode& inode) {
  SetAttr set;
  set.size = 0;
  Attr attr = TRY(inode.GetAttr());
  uint32_t mode = ModeAfterWrite(creds, attr.mode);
  if (mode != attr.mode) set.mode = mode & 07777;
  return inode.SetAttr(set);
}

// The type decides who makes the file. `flags` without O_CREAT.
Result<Ref<File>> MakeFile(const Vfs& vfs, Caller& c, const Path& path, int flags) {
  Inode& inode = *path.dentry->inode();
  switch (inode.type()) {
    case S_IFCHR: {
      Attr attr = TRY(inode.GetAttr());
      auto file = vfs.OpenCharDevice(c, path, attr.rdev, flags);
      // Device nodes of file systems that know their devices themselves (devpts).
      return file.Is(Errno::kENXIO) ? inode.Open(c, path, flags) : std::move(file);
    }
    case S_IFBLK:
    case S_IFSOCK:
      return Errno::kENXIO;
    case S_IFIFO:
      return vfs.OpenFifo(c, path, flags);
    default:
      return inode.Open(c, path, flags);
  }
}

Result<Ref<File>> OpenByType(const Vfs& vfs, Caller& c, const Path& path, int flags) {
  Ref<File> file = TRY(MakeFile(vfs, c, path, flags));
  Notify(path, IN_OPEN);
  return file;
}

Result<Ref<File>> OpenTmpfile(const Vfs& vfs, Caller& c, std::string_view path, const At& at,
                              const OpenRequest& request) {
  if ((request.flags & O_DIRECTORY) == 0 || (AccessMask(request.flags) & kMayWrite) == 0)
    return Errno::kEINVAL;
  Path dir = TRY(vfs.Resolve(c, path, at));
  Inode& inode = *dir.dentry->inode();
  if (!inode.IsDirectory()) return Errno::kENOTDIR;
  TRY(WantWrite(*dir.mount));
  creds::CredRef creds = c.credentials();
  TRY(MayCreate(*creds, *dir.dentry));
  NewNode node = TRY(MakeNode(c, *creds, inode, S_IFREG | (request.mode & 07777)));
  Ref<Inode> made;
  {
    MutexLock lock(dir.dentry->dir_mutex());
    made = TRY(inode.Tmpfile(node));
  }
  if ((request.flags & O_EXCL) == 0) made->set_linkable();
  std::string name = "#" + std::to_string(made->ino());
  Path place(dir.mount, Dentry::MakeUnlinked(std::move(made), dir.dentry, std::move(name)));
  return OpenByType(vfs, c, place, request.flags);
}

}  // namespace

Result<Ref<File>> Vfs::OpenPath(Caller& c, const Path& path, int flags) {
  if ((flags & O_PATH) != 0) return Ref<File>(MakeRef<PathFile>(path, flags));
  Inode& inode = *path.dentry->inode();
  if ((flags & O_DIRECTORY) != 0 && !inode.IsDirectory()) return Errno::kENOTDIR;
  // O_TRUNC means something for regular files only; elsewhere it is ignored or wanted write above.
  if (inode.type() == S_IFIFO || inode.type() == S_IFSOCK) flags &= ~O_TRUNC;
  creds::CredRef creds = c.credentials();
  TRY(MayOpen(*creds, path, flags));
  const bool truncate = (flags & O_TRUNC) != 0 && inode.IsRegular();
  if (truncate) TRY(TruncateForOpen(*creds, inode));
  Ref<File> file = TRY(OpenByType(*this, c, path, flags & ~(O_CREAT | O_EXCL)));
  if (truncate) Notify(path, IN_MODIFY);
  return file;
}

Result<Ref<File>> Vfs::Open(Caller& c, std::string_view path, const At& at,
                            const OpenRequest& request) {
  int flags = request.flags;
  if ((flags & O_PATH) != 0) flags &= O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
  // open(2): O_DIRECTORY with O_CREAT; EINVAL as Linux 6.4 settled it.
  if ((flags & kTmpfileFlag) == 0 && (flags & O_CREAT) != 0 && (flags & O_DIRECTORY) != 0)
    return Errno::kEINVAL;
  At where = at;
  if ((flags & O_NOFOLLOW) != 0) where.follow_last = false;
  if ((flags & O_DIRECTORY) != 0) where.require_directory = true;
  if ((flags & kTmpfileFlag) != 0) return OpenTmpfile(*this, c, path, where, request);
  if ((flags & O_CREAT) != 0) return OpenOrCreate(c, path, where, flags, request.mode);
  Path place = TRY(Resolve(c, path, where));
  return OpenPath(c, place, flags);
}

Result<Ref<File>> Vfs::OpenOrCreate(Caller& c, std::string_view path, const At& at, int flags,
                                    uint32_t mode) {
  Walker walker(c, at);
  TRY(walker.WalkParent(path));
  const creds::Credentials& creds = walker.credentials();
  for (;;) {
    if (walker.trailing_slash() || IsSpecialName(walker.last())) return Errno::kEISDIR;
    Dentry& dir = *walker.at().dentry;
    Ref<Dentry> child = TRY(dir.Lookup(walker.last()));
    if (child->negative()) {
      if (dir.inode()->IsVolatile(walker.last())) return Errno::kENOENT;
      Result<Path> made = CreateForOpen(c, walker, mode);
      if (made.Is(Errno::kEAGAIN)) continue;  // somebody was faster: open what is there now
      Path place = TRY(std::move(made));
      return OpenByType(*this, c, place, flags & ~(O_CREAT | O_EXCL | O_TRUNC));
    }
    if ((flags & O_EXCL) != 0) return Errno::kEEXIST;
    Path place = TRY(walker.CrossDown(Path(walker.at().mount, child)));
    Inode& inode = *place.dentry->inode();
    if (inode.IsSymlink()) {
      if (!at.follow_last) return Errno::kELOOP;
      if (TRY(walker.FollowLast(place))) continue;
      return OpenPath(c, walker.at(), flags);
    }
    if (inode.IsDirectory()) return Errno::kEISDIR;
    TRY(CheckStickyCreate(creds, *dir.inode(), inode));
    return OpenPath(c, place, flags);
  }
}

Result<Path> Vfs::CreateForOpen(Caller& c, const Walker& walker, uint32_t mode) {
  const Path& dir = walker.at();
  const creds::Credentials& creds = walker.credentials();
  MutexLock lock(dir.dentry->dir_mutex());
  Ref<Dentry> child = TRY(dir.dentry->LookupLocked(walker.last()));
  if (!child->negative()) return Errno::kEAGAIN;
  TRY(WantWrite(*dir.mount));
  TRY(MayCreate(creds, *dir.dentry));
  Inode& inode = *dir.dentry->inode();
  NewNode node = TRY(MakeNode(c, creds, inode, S_IFREG | (mode & 07777)));
  Result<Ref<Inode>> made = inode.Create(walker.last(), node);
  if (made.Is(Errno::kEAGAIN)) return Errno::kEIO;
  Path place(dir.mount, dir.dentry->AttachChild(walker.last(), TRY(std::move(made))));
  NotifyEntry(inode, walker.last(), IN_CREATE, /*is_directory=*/false);
  return place;
}

}  // namespace sandboxd::vfs
