// The operations of a directory. The vfs calls them with the directory's mutex held.
//
// What they change of attributes is worked out here rather than asked for: the host stamps the same
// coarse clock that we read.
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <sys/stat.h>

#include <algorithm>
#include <utility>

#include "kernel/fs/gofer/attr.h"
#include "kernel/fs/gofer/inode.h"

namespace sandboxd::gofer_fs {
namespace {

// Directories with more entries than this are listed anew for each open.
constexpr size_t kMaxCachedListing = 1024;
// kExclusive: after so many lookups that asked the gofer, a directory is listed whole, unless it is
// large.
constexpr uint64_t kLookupsToList = 16;
constexpr uint64_t kMaxSizeToList = 64 * 1024;

}  // namespace

Result<Ref<vfs::Inode>> GoferInode::Lookup(std::string_view name) {
  if (!IsDirectory()) return Errno::kENOTDIR;
  if (std::optional<gofer::Stat> stat = TakeForeknown(name)) {
    return Ref<vfs::Inode>(fs_.InodeOf({gofer::FidHandle(), *stat}, Ref<GoferInode>(this), name));
  }
  if (IsKnownMissing(name)) return Errno::kENOENT;
  Ref<SharedFid> fid = TRY(Fid());
  Result<gofer::File> file = client().Walk(fid->handle, name);
  Ref<GoferInode> inode;
  if (file.ok()) inode = fs_.InodeOf(std::move(*file), Ref<GoferInode>(this), name);
  NoteLookup(name);
  // Whoever asks for so many of a directory's names goes on asking. It is only to know more.
  if (IsWorthListing()) (void)List();
  if (!file.ok()) return file.error();
  return Ref<vfs::Inode>(std::move(inode));
}

void GoferInode::NoteLookup(std::string_view name) {
  bool erased = false;
  {
    MutexLock lock(mutex_);
    ++lookups_;
    auto it = foreknown_.find(name);
    erased = it != foreknown_.end();
    if (erased) foreknown_.erase(it);
  }
  if (erased) fs_.ReleaseForeknown(1);
}

bool GoferInode::IsKnownMissing(std::string_view name) const {
  if (!fs_.exclusive()) return false;
  Ref<Listing> listing;
  {
    MutexLock lock(mutex_);
    listing = listing_;
  }
  return listing &&
         std::ranges::find(listing->entries, name, &Listing::Entry::name) == listing->entries.end();
}

bool GoferInode::IsWorthListing() const {
  MutexLock lock(mutex_);
  return fs_.exclusive() && lookups_ == kLookupsToList && attr_.size <= kMaxSizeToList;
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
  size_stale_ = true;
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
  uint64_t version = 0, lookups = 0;
  {
    MutexLock lock(mutex_);
    if (fs_.exclusive() && listing_) return listing_;
    version = listing_version_;
    lookups = lookups_;
  }
  auto listing = MakeRef<Listing>();
  if (!fs_.exclusive()) {
    TRY(ListShared(*listing));
    return listing;
  }
  auto entries = TRY(ListExclusive(*listing));
  Foreknow(std::move(entries), version, lookups);
  MutexLock lock(mutex_);
  if (listing->entries.size() <= kMaxCachedListing && version == listing_version_) {
    listing_ = listing;
  }
  return listing;
}

Result<void> GoferInode::ListShared(Listing& listing) {
  Ref<SharedFid> fid = TRY(Fid());
  for (uint64_t offset = 0;;) {
    std::vector<gofer::DirEntry> some = TRY(client().ReadDir(fid->handle, offset));
    if (some.empty()) return Ok();
    offset = some.back().offset;
    for (gofer::DirEntry& entry : some) {
      uint64_t entry_ino = entry.name == "." ? ino() : entry.qid.path;
      listing.entries.push_back({std::move(entry.name), entry_ino, entry.type});
    }
  }
}

// Gives what may be foreknown: at most as much as a cached listing.
Result<std::vector<gofer::DirEntryStat>> GoferInode::ListExclusive(Listing& listing) {
  Ref<SharedFid> fid = TRY(Fid());
  std::vector<gofer::DirEntryStat> foreknown;
  for (uint64_t offset = 0;;) {
    std::vector<gofer::DirEntryStat> some = TRY(client().ReadDirStat(fid->handle, offset));
    if (some.empty()) return foreknown;
    offset = some.back().entry.offset;
    for (gofer::DirEntryStat& entry : some) {
      const gofer::DirEntry& e = entry.entry;
      listing.entries.push_back({e.name, e.name == "." ? ino() : e.qid.path, e.type});
      if (entry.has_stat && foreknown.size() < kMaxCachedListing) {
        foreknown.push_back(std::move(entry));
      }
    }
  }
}

void GoferInode::Foreknow(std::vector<gofer::DirEntryStat> entries, uint64_t version,
                          uint64_t lookups) {
  std::erase_if(entries, [this](const gofer::DirEntryStat& entry) {
    bool one_name = entry.stat.attr.IsDirectory() || entry.stat.attr.nlink == 1;
    return !one_name || fs_.IsInUse(entry.stat);
  });
  size_t granted = fs_.ReserveForeknown(entries.size());
  size_t kept = 0;
  {
    MutexLock lock(mutex_);
    // A lookup meanwhile may have made an inode since we asked for those in use.
    if (version == listing_version_ && lookups == lookups_) {
      for (size_t i = 0; i < granted; ++i) {
        std::string& name = entries[i].entry.name;
        kept += foreknown_.try_emplace(std::move(name), entries[i].stat).second ? 1 : 0;
      }
    }
  }
  fs_.ReleaseForeknown(granted - kept);
}

std::optional<gofer::Stat> GoferInode::TakeForeknown(std::string_view name) {
  std::optional<gofer::Stat> stat;
  {
    MutexLock lock(mutex_);
    auto it = foreknown_.find(name);
    if (it == foreknown_.end()) return std::nullopt;
    stat = it->second;
    foreknown_.erase(it);
  }
  fs_.ReleaseForeknown(1);
  return stat;
}

}  // namespace sandboxd::gofer_fs
