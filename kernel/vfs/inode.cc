#include "kernel/vfs/inode.h"

#include <sys/stat.h>

#include <atomic>

#include "kernel/vfs/file.h"
#include "kernel/vfs/file_locks.h"
#include "kernel/vfs/mount.h"

namespace sandboxd::vfs {

Inode::Inode(Superblock& superblock, uint64_t ino, uint32_t mode)
    : superblock_(&superblock), ino_(ino), type_(mode & S_IFMT) {}

Inode::~Inode() = default;

bool Inode::IsDirectory() const { return type_ == S_IFDIR; }
bool Inode::IsSymlink() const { return type_ == S_IFLNK; }
bool Inode::IsRegular() const { return type_ == S_IFREG; }

Result<void> Inode::SetAttr(const vfs::SetAttr&) { return Errno::kEPERM; }

Result<void> Inode::CheckPermission(const creds::Credentials& c, int mask) {
  Attr attr = TRY(GetAttr());
  return CheckModeBits(c, attr.mode, attr.uid, attr.gid, mask);
}

Result<Ref<Inode>> Inode::Lookup(std::string_view) {
  return IsDirectory() ? Errno::kENOENT : Errno::kENOTDIR;
}
bool Inode::DentryStillValid(std::string_view, Inode*) { return true; }
bool Inode::IsVolatile(std::string_view) const { return false; }
// A directory without the operation: as Linux's vfs answers for a null i_op entry.
Result<Ref<Inode>> Inode::Create(std::string_view, const NewNode&) { return Errno::kEACCES; }
Result<Ref<Inode>> Inode::Mkdir(std::string_view, const NewNode&) { return Errno::kEPERM; }
Result<Ref<Inode>> Inode::Symlink(std::string_view, std::string_view, const NewNode&) {
  return Errno::kEPERM;
}
Result<void> Inode::Link(std::string_view, Inode&) { return Errno::kEPERM; }
Result<void> Inode::Unlink(std::string_view, Inode&) { return Errno::kEPERM; }
Result<void> Inode::Rmdir(std::string_view, Inode&) { return Errno::kEPERM; }
Result<void> Inode::Rename(std::string_view, Inode&, Inode&, std::string_view, Inode*, unsigned) {
  return Errno::kEPERM;
}
Result<Ref<Inode>> Inode::Tmpfile(const NewNode&) { return Errno::kEOPNOTSUPP; }

Result<std::string> Inode::ReadLink(Caller&) { return Errno::kEINVAL; }
Result<Path> Inode::FollowMagic(Caller&) { return Path(); }

Result<Ref<File>> Inode::Open(Caller&, const Path&, int) { return Errno::kENXIO; }

Result<std::string> Inode::GetXattr(std::string_view) { return Errno::kEOPNOTSUPP; }
Result<void> Inode::SetXattr(std::string_view, std::string_view, int) { return Errno::kEOPNOTSUPP; }
Result<void> Inode::RemoveXattr(std::string_view) { return Errno::kEOPNOTSUPP; }
Result<std::vector<std::string>> Inode::ListXattr() { return std::vector<std::string>(); }

Result<int> Inode::GetSeals() { return Errno::kEINVAL; }
Result<void> Inode::AddSeals(int) { return Errno::kEINVAL; }

FileLocks& Inode::locks() {
  MutexLock lock(slots_mutex_);
  if (locks_ == nullptr) locks_ = std::make_unique<FileLocks>();
  return *locks_;
}

FileLocks* Inode::existing_locks() const {
  MutexLock lock(slots_mutex_);
  return locks_.get();
}

Ref<RefCounted> Inode::Attachment(const std::function<Ref<RefCounted>()>& make) {
  MutexLock lock(slots_mutex_);
  if (attachment_ == nullptr) attachment_ = make();
  return attachment_;
}

Ref<RefCounted> Inode::attachment() const {
  MutexLock lock(slots_mutex_);
  return attachment_;
}

void Inode::SetAttachment(Ref<RefCounted> what) {
  {
    MutexLock lock(slots_mutex_);
    std::swap(attachment_, what);
  }
  // The old one goes here, without the lock.
}

std::vector<Ref<InodeWatch>> Inode::Watches() const {
  MutexLock lock(slots_mutex_);
  return watches_;
}

void Inode::AddWatch(Ref<InodeWatch> watch) {
  MutexLock lock(slots_mutex_);
  watches_.push_back(std::move(watch));
  watched_.store(true, std::memory_order_relaxed);
}

Ref<InodeWatch> Inode::RemoveWatch(InodeWatch& watch) {
  Ref<InodeWatch> removed;
  MutexLock lock(slots_mutex_);
  for (auto it = watches_.begin(); it != watches_.end(); ++it) {
    if (it->get() != &watch) continue;
    removed = std::move(*it);
    watches_.erase(it);
    watched_.store(!watches_.empty(), std::memory_order_relaxed);
    break;
  }
  return removed;
}

namespace {
// Anonymous device numbers of file system instances; 0 is never one.
std::atomic<uint32_t> g_next_device{1};
}  // namespace

Superblock::Superblock() : device_{0, g_next_device.fetch_add(1, std::memory_order_relaxed)} {}

Superblock::~Superblock() = default;

Ref<Dentry> Superblock::AddMount() {
  Ref<Inode> root = RootInode();
  MutexLock lock(mounts_mutex_);
  if (mount_count_++ == 0) root_dentry_ = Dentry::MakeRoot(std::move(root));
  return root_dentry_;
}

void Superblock::RemoveMount() {
  Ref<Dentry> root;
  {
    MutexLock lock(mounts_mutex_);
    if (--mount_count_ == 0) root = std::move(root_dentry_);
  }
  if (root) root->DropTree();
}

}  // namespace sandboxd::vfs
