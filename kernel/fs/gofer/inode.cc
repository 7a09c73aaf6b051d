// What an inode holds, and how it gets it.
#include "kernel/fs/gofer/inode.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <utility>

#include "kernel/fs/gofer/attr.h"
#include "kernel/fs/gofer/dir_file.h"
#include "kernel/fs/gofer/regular_file.h"

namespace sandboxd::gofer_fs {
namespace {

// kShared: for how long what the gofer said is believed. For a file it only joins the questions
// that one system call asks: its name is looked up anew by each. For a directory it spares a path
// walk most of its questions.
constexpr Nanos kFileFresh = std::chrono::milliseconds(1);
constexpr Nanos kDirectoryFresh = std::chrono::milliseconds(20);

}  // namespace

GoferInode::GoferInode(GoferSuperblock& superblock, const gofer::Stat& stat)
    : Inode(superblock, stat.qid.path, stat.attr.mode),
      fs_(superblock),
      key_(stat.dev, stat.ino),
      birth_(stat.attr.btime),
      attr_(ToVfs(stat)),
      fresh_until_(FreshUntil()) {}

GoferInode::~GoferInode() {
  fs_.Remove(*this);
  if (!foreknown_.empty()) fs_.ReleaseForeknown(foreknown_.size());
  // No lock: nobody else has us.
  bool nameless = attr_.nlink == 0;
  fid_.Reset();
  read_only_.Reset();
  read_write_.Reset();
  // A program may make a tree of any depth, whose last reference is its leaf's: no recursion.
  Ref<GoferInode> up = std::move(place_.parent);
  while (up) {
    Ref<GoferInode> next;
    {
      MutexLock lock(up->mutex_);
      // Somebody who finds it in the table counts first, then gives it its place, under this lock.
      if (up->ref_count_hint() == 1) next = std::move(up->place_.parent);
    }
    up = std::move(next);
  }
  // Its space is given back now, not when the next batch of fids is.
  if (nameless) client().FlushReleased();
}

bool GoferInode::IsSameFile(const gofer::Stat& stat) const {
  return key_ == GoferSuperblock::Key(stat.dev, stat.ino) && (stat.attr.mode & S_IFMT) == type() &&
         stat.attr.btime == birth_;
}

void GoferInode::TakeStat(const gofer::Stat& stat) {
  attr_ = ToVfs(stat);
  stale_ = size_stale_ = false;
  fresh_until_ = FreshUntil();
}

bool GoferInode::IsKnown() const {
  return !stale_ && (fs_.exclusive() || wait::MonotonicNow() < fresh_until_);
}

Nanos GoferInode::FreshUntil() const {
  if (fs_.exclusive()) return Nanos::max();
  return wait::MonotonicNow() + (IsDirectory() ? kDirectoryFresh : kFileFresh);
}

// Was found or made as `name` in `parent`. A directory keeps its fid: everything below is reached
// by it. A symlink keeps it until it has been read. Others are opened by their name.
void GoferInode::Found(gofer::File file, Ref<GoferInode> parent, std::string_view name) {
  Ref<GoferInode> old_parent;
  bool keep = IsDirectory() || parent == nullptr || !fs_.exclusive();
  {
    MutexLock lock(mutex_);
    if (!fs_.exclusive()) TakeStat(file.stat);
    keep = keep || (IsSymlink() && !link_target_);
    old_parent = std::exchange(place_.parent, std::move(parent));
    place_.name = name;
  }
  if (keep && file.fid.valid()) Install(std::move(file.fid));
}

GoferInode::Place GoferInode::place() const {
  MutexLock lock(mutex_);
  return place_;
}

Ref<SharedFid> GoferInode::Install(gofer::FidHandle fid) {
  auto made = MakeRef<SharedFid>(std::move(fid));
  Ref<SharedFid> ours;
  {
    MutexLock lock(mutex_);
    if (!fid_) fid_ = made;
    ours = fid_;
  }
  if (!IsDirectory()) fs_.Touch(*this);
  return ours;
}

void GoferInode::InstallHost(HostAccess access, Ref<HostFile> file) {
  MutexLock lock(mutex_);
  Ref<HostFile>& slot = access == HostAccess::kReadAndWrite ? read_write_ : read_only_;
  if (!slot) slot = std::move(file);
}

Result<Ref<SharedFid>> GoferInode::Fid() {
  Place at;
  {
    MutexLock lock(mutex_);
    if (fid_) return fid_;
    at = place_;
  }
  if (!at.parent) return Errno::kENOENT;
  Ref<SharedFid> dir = TRY(at.parent->Fid());
  gofer::File file = TRY(client().Walk(dir->handle, at.name));
  if (!IsSameFile(file.stat)) return Errno::kESTALE;
  return Install(std::move(file.fid));
}

Result<Ref<HostFile>> GoferInode::Host(HostAccess access) {
  Place at;
  Ref<SharedFid> fid;
  {
    MutexLock lock(mutex_);
    if (access != HostAccess::kReadAndWrite && read_only_) return read_only_;
    if (access != HostAccess::kReadOnly && read_write_) return read_write_;
    at = place_;
    fid = fid_;
  }
  const uint32_t flags = access == HostAccess::kReadAndWrite ? O_RDWR : O_RDONLY;
  UniqueFd host;
  if (fid) {
    host = TRY(client().Open(fid->handle, flags));
  } else {
    if (!at.parent) return Errno::kENOENT;
    Ref<SharedFid> dir = TRY(at.parent->Fid());
    gofer::OpenedFile opened = TRY(client().WalkOpen(dir->handle, {at.name}, flags));
    if (!IsSameFile(opened.stat)) return Errno::kESTALE;
    host = std::move(opened.host);
    Install(std::move(opened.fid));
  }
  auto file = MakeRef<HostFile>(std::move(host));
  InstallHost(access, file);
  fs_.Touch(*this);
  return file;
}

// Gives up fid and host descriptors if they can be had again by the file's name and nobody uses
// them.
bool GoferInode::TryForgetHandles() {
  Ref<SharedFid> fid;
  Ref<HostFile> read_only, read_write;
  MutexLock lock(mutex_);
  auto used = [](const auto& ref) { return ref && ref->ref_count_hint() > 1; };
  if (!place_.parent || attr_.nlink == 0 || IsDirectory()) return false;
  if (used(fid_) || used(read_only_) || used(read_write_) || writable_mappings_ != 0) return false;
  stale_ = stale_ || written_;
  written_ = false;
  // Released after the lock, which is declared later.
  fid = std::move(fid_);
  read_only = std::move(read_only_);
  read_write = std::move(read_write_);
  return true;
}

Result<Ref<vfs::File>> GoferInode::Open(vfs::Caller&, const vfs::Path& path, int flags) {
  if (IsDirectory()) return Ref<vfs::File>(MakeRef<DirFile>(path, flags, Ref<GoferInode>(this)));
  if (!IsRegular()) return Errno::kENXIO;
  // O_ACCMODE 3 checks for both rights and gives neither.
  bool write = (flags & O_ACCMODE) == O_WRONLY || (flags & O_ACCMODE) == O_RDWR;
  Ref<HostFile> host = TRY(Host(write ? HostAccess::kReadAndWrite : HostAccess::kRead));
  return Ref<vfs::File>(MakeRef<RegularFile>(path, flags, Ref<GoferInode>(this), std::move(host)));
}

}  // namespace sandboxd::gofer_fs
