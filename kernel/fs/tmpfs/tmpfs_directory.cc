#include "kernel/fs/tmpfs/tmpfs_directory.h"

#include <dirent.h>
#include <linux/fs.h>
#include <sys/stat.h>

#include "kernel/fs/tmpfs/tmpfs_regular.h"
#include "kernel/vfs/mount.h"

namespace sandboxd::tmpfs {

namespace {

constexpr uint64_t kEntrySize = 20;  // what Linux's tmpfs counts for each name in st_size

class DirectoryFile final : public vfs::File {
 public:
  DirectoryFile(vfs::Path path, int flags) : File(std::move(path), flags) {}
  bool seekable() const override { return true; }

  Result<void> ReadDir(vfs::Caller&, const vfs::DirSink& sink) override {
    auto& dir = static_cast<TmpfsDirectory&>(*inode());
    uint64_t parent_ino = ParentIno();  // asks dentries, whose locks come before the position's
    MutexLock lock(position_mutex_);
    int64_t at = position();
    if (at == 0) {
      if (!sink({".", dir.ino(), DT_DIR, 1})) return Ok();
      position_.store(at = 1, std::memory_order_relaxed);
    }
    if (at == 1) {
      if (!sink({"..", parent_ino, DT_DIR, 2})) return Ok();
      position_.store(at = 2, std::memory_order_relaxed);
    }
    dir.List(static_cast<uint64_t>(at), sink, &at);
    position_.store(at, std::memory_order_relaxed);
    dir.TouchAtime(path().mount->flags());
    return Ok();
  }

 private:
  uint64_t ParentIno() const {
    if (path().dentry == path().mount->root()) {
      vfs::Path place = path().mount->place();
      return place ? place.dentry->inode()->ino() : inode()->ino();
    }
    Ref<vfs::Dentry> up = path().dentry->parent();
    return up != nullptr ? up->inode()->ino() : inode()->ino();
  }
};

}  // namespace

Result<Ref<vfs::Inode>> TmpfsDirectory::Lookup(std::string_view name) {
  MutexLock lock(mutex_);
  auto it = entries_.find(name);
  if (it == entries_.end()) return Errno::kENOENT;
  return Ref<vfs::Inode>(it->second.inode);
}

Result<void> TmpfsDirectory::Insert(std::string_view name, Ref<TmpfsInode> inode) {
  MutexLock lock(mutex_);
  if (dead_) return Errno::kENOENT;
  auto [it, inserted] = entries_.try_emplace(std::string(name));
  if (!inserted) return Errno::kEEXIST;
  uint64_t cookie = next_cookie_++;
  bool directory = inode->IsDirectory();
  it->second = {std::move(inode), cookie};
  by_cookie_.emplace(cookie, it);
  attr_.size = entries_.size() * kEntrySize;
  if (directory) attr_.nlink++;
  TouchLocked();
  return Ok();
}

Ref<TmpfsInode> TmpfsDirectory::Erase(std::string_view name) {
  MutexLock lock(mutex_);
  auto it = entries_.find(name);
  if (it == entries_.end()) return nullptr;
  Ref<TmpfsInode> inode = std::move(it->second.inode);
  by_cookie_.erase(it->second.cookie);
  entries_.erase(it);
  attr_.size = entries_.size() * kEntrySize;
  if (inode->IsDirectory()) attr_.nlink--;
  TouchLocked();
  return inode;
}

void TmpfsDirectory::SwapEntry(std::string_view name, Ref<TmpfsInode> inode) {
  MutexLock lock(mutex_);
  auto it = entries_.find(name);
  if (it == entries_.end()) return;
  attr_.nlink += (inode->IsDirectory() ? 1 : 0) - (it->second.inode->IsDirectory() ? 1 : 0);
  std::swap(it->second.inode, inode);
  TouchLocked();
  // The old inode is held by the vfs, which is exchanging it.
}

Result<Ref<vfs::Inode>> TmpfsDirectory::Create(std::string_view name, const vfs::NewNode& node) {
  if (!fs().TakeInode()) return Errno::kENOSPC;
  auto made = fs().NewNamed(node);
  if (!made.ok()) {
    fs().ReturnInode();
    return made.error();
  }
  Ref<TmpfsInode> inode = std::move(*made);
  TRY(Insert(name, inode));
  return Ref<vfs::Inode>(std::move(inode));
}

Result<Ref<vfs::Inode>> TmpfsDirectory::Mkdir(std::string_view name, const vfs::NewNode& node) {
  if (fs().is_flat()) return Errno::kEPERM;
  if (!fs().TakeInode()) return Errno::kENOSPC;
  Ref<TmpfsInode> inode = MakeRef<TmpfsDirectory>(fs(), node);
  TRY(Insert(name, inode));
  return Ref<vfs::Inode>(std::move(inode));
}

Result<Ref<vfs::Inode>> TmpfsDirectory::Symlink(std::string_view name, std::string_view target,
                                                const vfs::NewNode& node) {
  if (fs().is_flat()) return Errno::kEPERM;
  if (!fs().TakeInode()) return Errno::kENOSPC;
  Ref<TmpfsInode> inode = MakeRef<TmpfsSymlink>(fs(), node, target);
  TRY(Insert(name, inode));
  return Ref<vfs::Inode>(std::move(inode));
}

Result<Ref<vfs::Inode>> TmpfsDirectory::Tmpfile(const vfs::NewNode& node) {
  if (fs().is_flat()) return Errno::kEOPNOTSUPP;
  return fs().NewUnnamed(node);
}

Result<void> TmpfsDirectory::Link(std::string_view name, vfs::Inode& target) {
  if (fs().is_flat()) return Errno::kEPERM;
  auto& inode = static_cast<TmpfsInode&>(target);
  TRY(Insert(name, Ref<TmpfsInode>(&inode)));
  inode.AddLinks(1);
  return Ok();
}

Result<void> TmpfsDirectory::Unlink(std::string_view name, vfs::Inode& victim) {
  Ref<TmpfsInode> gone = Erase(name);
  if (gone == nullptr) return Errno::kENOENT;
  static_cast<TmpfsInode&>(victim).AddLinks(-1);
  return Ok();
}

Result<void> TmpfsDirectory::Kill() {
  MutexLock lock(mutex_);
  if (!entries_.empty()) return Errno::kENOTEMPTY;
  dead_ = true;
  attr_.nlink = 0;
  attr_.ctime = vfs::Time::NowCoarse();
  return Ok();
}

Result<void> TmpfsDirectory::Rmdir(std::string_view name, vfs::Inode& victim) {
  TRY(static_cast<TmpfsDirectory&>(victim).Kill());
  Erase(name);
  return Ok();
}

Result<void> TmpfsDirectory::Rename(std::string_view old_name, vfs::Inode& moved,
                                    vfs::Inode& new_dir, std::string_view new_name,
                                    vfs::Inode* replaced, unsigned flags) {
  if (fs().is_flat()) return Errno::kEPERM;
  if ((flags & RENAME_WHITEOUT) != 0) return Errno::kEINVAL;
  auto& target_dir = static_cast<TmpfsDirectory&>(new_dir);
  auto& inode = static_cast<TmpfsInode&>(moved);
  if ((flags & RENAME_EXCHANGE) != 0) {
    auto& other = static_cast<TmpfsInode&>(*replaced);
    SwapEntry(old_name, Ref<TmpfsInode>(&other));
    target_dir.SwapEntry(new_name, Ref<TmpfsInode>(&inode));
    inode.AddLinks(0);
    other.AddLinks(0);
    return Ok();
  }
  Ref<TmpfsInode> gone;
  if (replaced != nullptr) {
    if (replaced->IsDirectory()) TRY(static_cast<TmpfsDirectory&>(*replaced).Kill());
    gone = target_dir.Erase(new_name);
    if (!replaced->IsDirectory()) static_cast<TmpfsInode&>(*replaced).AddLinks(-1);
  }
  Ref<TmpfsInode> mover = Erase(old_name);
  if (mover == nullptr) return Errno::kENOENT;
  Result<void> in = target_dir.Insert(new_name, mover);
  if (!in.ok()) {
    // The new directory died meanwhile: back to where it was.
    TRY(Insert(old_name, std::move(mover)));
    return in;
  }
  inode.AddLinks(0);
  return Ok();
}

Result<Ref<vfs::File>> TmpfsDirectory::Open(vfs::Caller&, const vfs::Path& path, int flags) {
  return Ref<vfs::File>(MakeRef<DirectoryFile>(path, flags));
}

void TmpfsDirectory::List(uint64_t cookie, const vfs::DirSink& sink, int64_t* position) {
  MutexLock lock(mutex_);
  for (auto it = by_cookie_.lower_bound(cookie); it != by_cookie_.end(); ++it) {
    const auto& [name, entry] = *it->second;
    int64_t next = static_cast<int64_t>(it->first) + 1;
    uint8_t type = static_cast<uint8_t>(IFTODT(entry.inode->type()));
    if (!sink({name, entry.inode->ino(), type, next})) return;
    *position = next;
  }
}

void TmpfsDirectory::TakeEntries(std::vector<Ref<TmpfsInode>>& out) {
  MutexLock lock(mutex_);
  by_cookie_.clear();
  for (auto& [name, entry] : entries_) out.push_back(std::move(entry.inode));
  entries_.clear();
}

}  // namespace sandboxd::tmpfs
