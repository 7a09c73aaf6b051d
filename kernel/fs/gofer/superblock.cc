#include "kernel/fs/gofer/superblock.h"

#include <linux/magic.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "kernel/fs/gofer/inode.h"

namespace sandboxd::gofer_fs {

Result<Ref<vfs::Superblock>> Connect(UniqueFd socket, Sharing sharing) {
  return Ref<vfs::Superblock>(TRY(GoferSuperblock::Create(std::move(socket), sharing)));
}

Result<Ref<GoferSuperblock>> GoferSuperblock::Create(UniqueFd socket, Sharing sharing) {
  auto client = TRY(gofer::Client::Connect(std::move(socket)));
  gofer::File root = TRY(client->Attach());
  auto fs = Ref<GoferSuperblock>::Adopt(new GoferSuperblock(std::move(client), sharing));
  fs->root_ = fs->InodeOf(std::move(root), nullptr, "");
  return fs;
}

GoferSuperblock::GoferSuperblock(std::unique_ptr<gofer::Client> client, Sharing sharing)
    : client_(std::move(client)), sharing_(sharing) {}

GoferSuperblock::~GoferSuperblock() {
  root_.Reset();
  // Every inode refers to us.
  CHECK(inodes_.empty());
}

Ref<vfs::Inode> GoferSuperblock::RootInode() { return root_; }

Result<vfs::FsStat> GoferSuperblock::StatFs() {
  Ref<SharedFid> fid = TRY(root_->Fid());
  gofer::Rstatfs host = TRY(client_->StatFs(fid->handle));
  return vfs::FsStat{.type = V9FS_MAGIC,
                     .block_size = host.bsize,
                     .blocks = host.blocks,
                     .blocks_free = host.bfree,
                     .blocks_available = host.bavail,
                     .files = host.files,
                     .files_free = host.ffree,
                     .fsid = host.fsid,
                     .name_max = host.namelen};
}

Result<void> GoferSuperblock::Sync() {
  std::vector<Ref<GoferInode>> inodes;
  {
    MutexLock lock(mutex_);
    for (auto& [key, inode] : inodes_) {
      if (inode->IsRegular() && inode->TryIncRef()) inodes.push_back(Ref<GoferInode>::Adopt(inode));
    }
  }
  for (const Ref<GoferInode>& inode : inodes) {
    Ref<HostFile> file;
    {
      MutexLock lock(inode->mutex_);
      file = inode->read_write_;
    }
    if (file && ::fsync(file->fd()) != 0) return FromHostErrno(errno);
  }
  return Ok();
}

std::string GoferSuperblock::OptionsString() const {
  return exclusive() ? "cache=exclusive" : "cache=shared";
}

Ref<GoferInode> GoferSuperblock::InodeOf(gofer::File file, Ref<GoferInode> parent,
                                         std::string_view name) {
  Ref<GoferInode> inode;
  Ref<GoferInode> replaced;  // released without the lock
  {
    MutexLock lock(mutex_);
    GoferInode*& entry = inodes_[Key(file.stat.dev, file.stat.ino)];
    if (entry != nullptr && entry->TryIncRef()) inode = Ref<GoferInode>::Adopt(entry);
    if (inode && !inode->IsSameFile(file.stat)) replaced = std::move(inode);
    if (!inode) {
      inode = Ref<GoferInode>::Adopt(new GoferInode(*this, file.stat));
      entry = inode.get();
    }
  }
  inode->Found(std::move(file), std::move(parent), name);
  return inode;
}

bool GoferSuperblock::IsInUse(const gofer::Stat& stat) {
  MutexLock lock(mutex_);
  return inodes_.contains(Key(stat.dev, stat.ino));
}

size_t GoferSuperblock::ReserveForeknown(size_t wanted) {
  MutexLock lock(mutex_);
  size_t granted = std::min(wanted, kMaxForeknown - foreknown_);
  foreknown_ += granted;
  return granted;
}

void GoferSuperblock::ReleaseForeknown(size_t n) {
  MutexLock lock(mutex_);
  foreknown_ -= n;
}

void GoferSuperblock::Forget(GoferInode& inode) {
  MutexLock lock(mutex_);
  auto it = inodes_.find(inode.key_);
  if (it != inodes_.end() && it->second == &inode) inodes_.erase(it);
}

void GoferSuperblock::Remember(GoferInode& inode) {
  MutexLock lock(mutex_);
  inodes_.try_emplace(inode.key_, &inode);
}

void GoferSuperblock::Remove(GoferInode& inode) {
  MutexLock lock(mutex_);
  auto it = inodes_.find(inode.key_);
  if (it != inodes_.end() && it->second == &inode) inodes_.erase(it);
  if (inode.recent_) recent_.erase(*inode.recent_);
}

void GoferSuperblock::Touch(GoferInode& inode) {
  Ref<GoferInode> oldest;
  {
    MutexLock lock(mutex_);
    if (inode.recent_) {
      recent_.splice(recent_.begin(), recent_, *inode.recent_);
    } else {
      recent_.push_front(&inode);
      inode.recent_ = recent_.begin();
    }
    if (recent_.size() <= kMaxCachedHandles) return;
    GoferInode* last = recent_.back();
    if (!last->TryIncRef()) return;  // on its way out
    oldest = Ref<GoferInode>::Adopt(last);
    recent_.pop_back();
    last->recent_.reset();
  }
  if (oldest->TryForgetHandles()) return;
  // In use: it counts as touched.
  MutexLock lock(mutex_);
  if (oldest->recent_) return;
  recent_.push_front(oldest.get());
  oldest->recent_ = recent_.begin();
}

}  // namespace sandboxd::gofer_fs
