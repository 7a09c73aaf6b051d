// Attributes, permissions and the target of a symlink.
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <optional>

#include "kernel/fs/gofer/attr.h"
#include "kernel/fs/gofer/inode.h"

namespace sandboxd::gofer_fs {
namespace {

vfs::Time ToVfs(const timespec& t) {
  return {static_cast<int64_t>(t.tv_sec), static_cast<uint32_t>(t.tv_nsec)};
}

constexpr uint32_t kSetIdBits = S_ISUID | S_ISGID;

}  // namespace

vfs::Attr ToVfs(const gofer::Stat& stat) {
  const gofer::Attr& a = stat.attr;
  vfs::Attr attr;
  attr.ino = stat.qid.path;
  attr.mode = a.mode;
  attr.nlink = static_cast<uint32_t>(a.nlink);
  attr.uid = vfs::KUid(a.uid);
  attr.gid = vfs::KGid(a.gid);
  attr.rdev = vfs::DeviceNumber::Decode(a.rdev);
  attr.size = a.size;
  attr.blocks = a.blocks;
  attr.blksize = static_cast<uint32_t>(a.blksize);
  attr.atime = ToVfs(a.atime);
  attr.mtime = ToVfs(a.mtime);
  attr.ctime = ToVfs(a.ctime);
  if (a.btime != gofer::Time{}) attr.btime = ToVfs(a.btime);
  return attr;
}

Result<vfs::Attr> GoferInode::GetAttr() {
  Ref<HostFile> host;
  {
    MutexLock lock(mutex_);
    bool changing = written_ || writable_mappings_ != 0;
    bool known = IsKnown() && !size_stale_;
    if (known && !changing) return attr_;
    // Before we ask: a write from now on is noted again.
    written_ = false;
    if (known) host = read_write_;
  }
  return host ? RefreshFromHost(*host) : RefreshFromGofer();
}

// Only what a write changes: the host shows ids to this process in its own user namespace.
Result<vfs::Attr> GoferInode::RefreshFromHost(const HostFile& file) {
  struct stat host;
  if (::fstat(file.fd(), &host) != 0) return FromHostErrno(errno);
  MutexLock lock(mutex_);
  attr_.size = static_cast<uint64_t>(host.st_size);
  attr_.blocks = static_cast<uint64_t>(host.st_blocks);
  attr_.atime = ToVfs(host.st_atim);
  attr_.mtime = ToVfs(host.st_mtim);
  attr_.ctime = ToVfs(host.st_ctim);
  return attr_;
}

Result<vfs::Attr> GoferInode::RefreshFromGofer() {
  Result<Ref<SharedFid>> fid = Fid();
  if (!fid.ok()) {
    // Without a name and never opened, it can't be reached, nor can it change any more. A gofer
    // that is gone is another matter.
    if (!fid.Is(Errno::kENOENT) && !fid.Is(Errno::kESTALE)) return fid.error();
    MutexLock lock(mutex_);
    return attr_;
  }
  gofer::Stat stat = TRY(client().GetStat((*fid)->handle));
  MutexLock lock(mutex_);
  TakeStat(stat);
  return attr_;
}

Result<void> GoferInode::CheckPermission(const creds::Credentials& c, int mask) {
  {
    MutexLock lock(mutex_);
    if (IsKnown()) return vfs::CheckModeBits(c, attr_.mode, attr_.uid, attr_.gid, mask);
  }
  return Inode::CheckPermission(c, mask);
}

Result<void> GoferInode::SetSize(uint64_t size) {
  if (!IsRegular()) return IsDirectory() ? Errno::kEISDIR : Errno::kEINVAL;
  if (size > INT64_MAX) return Errno::kEFBIG;
  Ref<HostFile> host = TRY(Host(HostAccess::kReadAndWrite));
  if (::ftruncate(host->fd(), static_cast<off_t>(size)) != 0) return FromHostErrno(errno);
  MutexLock lock(mutex_);
  written_ = true;
  return Ok();
}

Result<void> GoferInode::SetAttr(const vfs::SetAttr& set) {
  std::optional<uint32_t> mode = set.mode;
  if (set.size) {
    TRY(SetSize(*set.size));
    // The host has dropped set-id bits, which the vfs would have told us to drop.
    MutexLock lock(mutex_);
    if (!mode && (attr_.mode & kSetIdBits) != 0) mode = attr_.mode & 07777;
  }
  gofer::Tsetattr change;
  if (mode) change.valid |= gofer::kSetMode, change.mode = *mode;
  if (set.uid) change.valid |= gofer::kSetUid, change.uid = set.uid->value;
  if (set.gid) change.valid |= gofer::kSetGid, change.gid = set.gid->value;
  if (set.atime) {
    change.valid |= gofer::kSetAtime | gofer::kSetAtimeTo;
    change.atime = FromVfs(*set.atime);
  }
  if (set.mtime) {
    change.valid |= gofer::kSetMtime | gofer::kSetMtimeTo;
    change.mtime = FromVfs(*set.mtime);
  }
  if (change.valid == 0) return Ok();
  Ref<SharedFid> fid = TRY(Fid());
  TRY(client().SetAttr(fid->handle, change));
  MutexLock lock(mutex_);
  if (mode) attr_.mode = type() | (*mode & 07777);
  if (set.uid) attr_.uid = *set.uid;
  if (set.gid) attr_.gid = *set.gid;
  if (set.atime) attr_.atime = *set.atime;
  if (set.mtime) attr_.mtime = *set.mtime;
  attr_.ctime = vfs::Time::NowCoarse();
  return Ok();
}

Result<void> GoferInode::NoteWrite(const creds::Credentials& caller) {
  vfs::SetAttr set;
  {
    MutexLock lock(mutex_);
    written_ = true;
    if ((attr_.mode & kSetIdBits) == 0) return Ok();
    set.mode = vfs::ModeAfterWrite(caller, attr_.mode) & 07777;
  }
  return SetAttr(set);
}

void GoferInode::AddWritableMapping() {
  MutexLock lock(mutex_);
  ++writable_mappings_;
}

void GoferInode::RemoveWritableMapping() {
  MutexLock lock(mutex_);
  --writable_mappings_;
  written_ = true;
}

Result<std::string> GoferInode::ReadLink(vfs::Caller&) {
  if (!IsSymlink()) return Errno::kEINVAL;
  {
    MutexLock lock(mutex_);
    if (link_target_) return *link_target_;
  }
  Ref<SharedFid> fid = TRY(Fid());
  std::string target = TRY(client().ReadLink(fid->handle));
  Ref<SharedFid> released;
  MutexLock lock(mutex_);
  link_target_ = target;  // for good: a symlink can't be changed, only replaced by another one
  // Not needed again as long as there is a name to find it by.
  if (fs_.exclusive() && place_.parent) released = std::move(fid_);
  return target;
}

}  // namespace sandboxd::gofer_fs
