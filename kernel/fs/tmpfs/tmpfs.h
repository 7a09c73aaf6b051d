// tmpfs(5): a file system in memory.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <string_view>

#include "kernel/fs/tmpfs/memory_files.h"
#include "kernel/vfs/inode.h"
#include "kernel/vfs/vfs.h"

namespace sandboxd::tmpfs {

// tmpfs(5), "Mount options".
struct Options {
  uint64_t max_pages = 0;   // 0: no limit
  uint64_t max_inodes = 0;  // 0: no limit
  uint32_t mode = 01777;    // of the root
  vfs::KUid uid;
  vfs::KGid gid;
};

// Parses "size=64m,mode=755". EINVAL for what tmpfs does not know.
Result<Options> ParseOptions(std::string_view text, Options defaults);

class TmpfsDirectory;
class TmpfsInode;

class TmpfsSuperblock : public vfs::Superblock {
 public:
  TmpfsSuperblock(std::string type_name, const Options& options, MemoryFiles& memory);

  std::string_view type_name() const override { return type_name_; }
  Ref<vfs::Inode> RootInode() override;
  Result<vfs::FsStat> StatFs() override;
  std::string OptionsString() const override;
  Result<void> Remount(std::string_view options) override;

  MemoryFiles& memory() { return memory_; }
  uint64_t NextIno() { return next_ino_.fetch_add(1, std::memory_order_relaxed); }
  // Pages that files hold. TakePages gives false if the limit does not allow them.
  bool TakePages(uint64_t n);
  void ForcePages(uint64_t n) { used_pages_.fetch_add(n, std::memory_order_relaxed); }
  void ReturnPages(uint64_t n) { used_pages_.fetch_sub(n, std::memory_order_relaxed); }
  bool TakeInode();
  void ReturnInode() { used_inodes_.fetch_sub(1, std::memory_order_relaxed); }

  // The inode behind a new name that is no folder and no symlink; it has been counted by TakeInode.
  // What mqueue makes differently.
  virtual Result<Ref<TmpfsInode>> NewNamed(const vfs::NewNode& node);
  // Are there folders, links and renames? EPERM if not.
  virtual bool is_flat() const { return false; }

  // A regular file without a name: memfd_create(2), O_TMPFILE. ENOSPC.
  Result<Ref<vfs::Inode>> NewUnnamed(const vfs::NewNode& node);

 protected:
  ~TmpfsSuperblock() override;

 private:
  const std::string type_name_;
  MemoryFiles& memory_;  // outlives every file system
  const Options initial_;
  // relaxed: counters of their own
  std::atomic<uint64_t> max_pages_, max_inodes_;
  std::atomic<uint64_t> used_pages_{0}, used_inodes_{0}, next_ino_{1};
  Ref<TmpfsDirectory> root_;
};

class TmpfsType final : public vfs::FilesystemType {
 public:
  explicit TmpfsType(MemoryFiles& memory = HostMemoryFiles()) : memory_(memory) {}
  std::string_view name() const override { return "tmpfs"; }
  bool user_mountable() const override { return true; }
  Result<Ref<vfs::Superblock>> Mount(vfs::Caller& c, std::string_view source,
                                     std::string_view options) override;

 private:
  MemoryFiles& memory_;
};

// memfd_create(2): files of an internal tmpfs. For Vfs::SetMemfdOpener.
vfs::Vfs::MemfdOpener MakeMemfdOpener(vfs::Vfs& vfs, MemoryFiles& memory = HostMemoryFiles());

}  // namespace sandboxd::tmpfs
