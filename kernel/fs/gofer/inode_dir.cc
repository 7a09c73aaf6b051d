// The operations of a directory. The vfs calls them with the directory's mutex held.
//
// What they change of attributes is worked out here rather than asked for: the host stamps the same
// coarse clock that we read.
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <sys/stat.h>

#include <utility>

#include "kernel/fs/gofer/attr.h"
#include "kernel/fs/gofer/inode.h"

namespace sandboxd::gofer_fs {
namespace {

// Directories with more entries than this are listed anew for each open.
constexpr size_t kMaxCachedListing = 1024;

}  // namespace

Result<Ref<vfs::Inode>> GoferInode::Lookup(std::string_view name) {
  if (!IsDirectory()) return Errno::kENOTDIR;
  Ref<SharedFid> fid = TRY(Fid());
  gofer::File file = TRY(client().Walk(fid->handle, name));
  return Ref<vfs::Inode>(fs_.InodeOf(std::move(file), Ref<GoferInode>(this), name));
}

bool GoferInode::DentryStillValid(std::string_view name, vfs::Inode* cached) {
  if (fs_.exclusive()) return true;
  if (cached != nullptr && cached->IsDirectory()) {
    MutexLock lock(Cast(*cached).mutex_);
    if (Cast(*cached).IsKnown()) return true;
  }
  Result<Ref<SharedFid>> fid = Fid();
  if (!fid.ok()) return false;
  Result<gofer::File> file = client().Walk((*fid)->handle, name);
  if (!file.ok()) return cached == nullptr && file.Is(Errno::kENOENT);
  if (cached == nullptr || !Cast(*cached).IsSameFile(file->stat)) return false;
  Cast(*cached).Found(std::move(*file), Ref<GoferInode>(this), name);
  return true;
}

Result<Ref<vfs::Inode>> GoferInode::Make(std::string_view name, const gofer::NewFile& file) {
  Ref<SharedFid> fid = TRY(Fid());
  gofer::OpenedFile made = TRY(client().Make(fid->handle, name, file));
  vfs::Time when = ToVfs(made.stat.attr.ctime);
  Ref<GoferInode> parent(name.empty() ? nullptr : this);
  gofer::FidHandle own = std::move(made.fid);
  Ref<GoferInode> inode = fs_.InodeOf({gofer::FidHandle(), made.stat}, std::move(parent), name);
  // What was just made is about to be used.
  inode->Install(std::move(own));
  if (made.host.valid()) {
    inode->InstallHost(HostAccess::kReadAndWrite, MakeRef<HostFile>(std::move(made.host)));
  }
  if (!name.empty()) NoteEntriesChanged(when, S_ISDIR(file.mode) ? 1 : 0);
  return Ref<vfs::Inode>(std::move(inode));
}

Result<Ref<vfs::Inode>> GoferInode::Create(std::string_view name, const vfs::NewNode& node) {
  return Make(name, {.mode = node.mode,
                     .uid = node.uid.value,
                     .gid = node.gid.value,
                     .rdev = node.rdev.Encode(),
                     .flags = O_RDWR | O_EXCL});
}

Result<Ref<vfs::Inode>> GoferInode::Mkdir(std::string_view name, const vfs::NewNode& node) {
  return Make(
      name, {.mode = S_IFDIR | (node.mode & 07777), .uid = node.uid.value, .gid = node.gid.value});
}

Result<Ref<vfs::Inode>> GoferInode::Symlink(std::string_view name, std::string_view target,
                                            const vfs::NewNode& node) {
  return Make(
      name,
      {.mode = S_IFLNK | 0777, .uid = node.uid.value, .gid = node.gid.value, .target = target});
}

Result<Ref<vfs::Inode>> GoferInode::Tmpfile(const vfs::NewNode& node) {
  return Make("", {.mode = S_IFREG | (node.mode & 07777),
                   .uid = node.uid.value,
                   .gid = node.gid.value,
                   .flags = O_RDWR | O_TMPFILE});
}

Result<void> GoferInode::Link(std::string_view name, vfs::Inode& target) {
  GoferInode& file = Cast(target);
  Ref<SharedFid> dir = TRY(Fid());
  Ref<SharedFid> fid = TRY(file.Fid());
  TRY(client().Link(dir->handle, name, fid->handle));
  vfs::Time when = vfs::Time::NowCoarse();
  file.NameAdded(Ref<GoferInode>(this), name, when);
  NoteEntriesChanged(when, 0);
  return Ok();
}

Result<void> GoferInode::Unlink(std::string_view name, vfs::Inode& victim) {
  GoferInode& file = Cast(victim);
  Ref<SharedFid> dir = TRY(Fid());
  // If this is not its last name, it must stay reachable: which others it has, we may not know.
  bool more_names = TRY(file.GetAttr()).nlink > 1;
  Ref<SharedFid> held;
  if (more_names) held = TRY(file.Fid());
  TRY(client().Unlink(dir->handle, name, 0));
  vfs::Time when = vfs::Time::NowCoarse();
  file.NameRemoved(*this, name, when);
  NoteEntriesChanged(when, 0);
  return Ok();
}

Result<void> GoferInode::Rmdir(std::string_view name, vfs::Inode& victim) {
  Ref<SharedFid> dir = TRY(Fid());
  TRY(client().Unlink(dir->handle, name, AT_REMOVEDIR));
  vfs::Time when = vfs::Time::NowCoarse();
  Cast(victim).NameRemoved(*this, name, when);
  NoteEntriesChanged(when, -1);
  return Ok();
}

Result<void> GoferInode::Rename(std::string_view old_name, vfs::Inode& moved, vfs::Inode& new_dir,
                                std::string_view new_name, vfs::Inode* replaced, unsigned flags) {
  if ((flags & ~unsigned{RENAME_NOREPLACE | RENAME_EXCHANGE}) != 0) return Errno::kEINVAL;
  GoferInode& to = Cast(new_dir);
  GoferInode& file = Cast(moved);
  GoferInode* other = replaced != nullptr ? &Cast(*replaced) : nullptr;
  Ref<SharedFid> from_fid = TRY(Fid());
  Ref<SharedFid> to_fid = TRY(to.Fid());
  // Somebody may be about to open either of them: not by a name that means another file by then.
  Ref<SharedFid> file_fid = TRY(file.Fid());
  Ref<SharedFid> other_fid;
  if (other != nullptr) other_fid = TRY(other->Fid());
  TRY(client().Rename(from_fid->handle, old_name, to_fid->handle, new_name, flags));

  vfs::Time when = vfs::Time::NowCoarse();
  bool exchange = (flags & RENAME_EXCHANGE) != 0;
  int moved_links = file.IsDirectory() ? 1 : 0;
  int other_links = other != nullptr && other->IsDirectory() ? 1 : 0;
  file.NameMoved(Ref<GoferInode>(&to), new_name, when);
  if (other != nullptr && exchange) other->NameMoved(Ref<GoferInode>(this), old_name, when);
  if (other != nullptr && !exchange) other->NameRemoved(to, new_name, when);
  NoteEntriesChanged(when, (exchange ? other_links : 0) - moved_links);
  to.NoteEntriesChanged(when, moved_links - other_links);
  return Ok();
}

void GoferInode::NoteEntriesChanged(const vfs::Time& when, int links) {
  Ref<Listing> dropped;
  MutexLock lock(mutex_);
  attr_.mtime = attr_.ctime = when;
  // Some file systems (btrfs) count no subdirectories: 1 for any directory.
  if (attr_.nlink >= 2) attr_.nlink = static_cast<uint32_t>(static_cast<int>(attr_.nlink) + links);
  dropped = std::move(listing_);
  ++listing_version_;
}

void GoferInode::NameRemoved(const GoferInode& parent, std::string_view name,
                             const vfs::Time& when) {
  Ref<GoferInode> dropped;
  bool last = false;
  {
    MutexLock lock(mutex_);
    if (place_.parent == &parent && place_.name == name) dropped = std::move(place_.parent);
    attr_.ctime = when;
    attr_.nlink = IsDirectory() || attr_.nlink == 0 ? 0 : attr_.nlink - 1;
    last = attr_.nlink == 0;
  }
  if (last) fs_.Forget(*this);
}

void GoferInode::NameAdded(Ref<GoferInode> parent, std::string_view name, const vfs::Time& when) {
  {
    MutexLock lock(mutex_);
    attr_.ctime = when;
    ++attr_.nlink;
    if (!place_.parent) {
      place_.parent = std::move(parent);
      place_.name = name;
    }
  }
  fs_.Remember(*this);
}

void GoferInode::NameMoved(Ref<GoferInode> parent, std::string_view name, const vfs::Time& when) {
  MutexLock lock(mutex_);
  attr_.ctime = when;
  std::swap(place_.parent, parent);
  place_.name = name;
  // The old parent goes with `parent`, after the lock.
}

Result<Ref<Listing>> GoferInode::List() {
  uint64_t version = 0;
  {
    MutexLock lock(mutex_);
    if (fs_.exclusive() && listing_) return listing_;
    version = listing_version_;
  }
  Ref<SharedFid> fid = TRY(Fid());
  auto listing = MakeRef<Listing>();
  uint64_t offset = 0;
  for (;;) {
    std::vector<gofer::DirEntry> some = TRY(client().ReadDir(fid->handle, offset));
    if (some.empty()) break;
    offset = some.back().offset;
    for (gofer::DirEntry& entry : some) {
      uint64_t entry_ino = entry.name == "." ? ino() : entry.qid.path;
      listing->entries.push_back({std::move(entry.name), entry_ino, entry.type});
    }
  }
  MutexLock lock(mutex_);
  if (listing->entries.size() <= kMaxCachedListing && version == listing_version_) {
    listing_ = listing;
  }
  return listing;
}

}  // namespace sandboxd::gofer_fs
