// Directories of a tmpfs. Internal to tmpfs.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "kernel/fs/tmpfs/tmpfs_inode.h"
#include "kernel/vfs/file.h"

namespace sandboxd::tmpfs {

// The vfs serializes changes of one directory; mutex_ is for readers beside it.
class TmpfsDirectory final : public TmpfsInode {
 public:
  TmpfsDirectory(TmpfsSuperblock& fs, const vfs::NewNode& node) : TmpfsInode(fs, node, 2) {}

  Result<Ref<vfs::Inode>> Lookup(std::string_view name) override;
  Result<Ref<vfs::Inode>> Create(std::string_view name, const vfs::NewNode& node) override;
  Result<Ref<vfs::Inode>> Mkdir(std::string_view name, const vfs::NewNode& node) override;
  Result<Ref<vfs::Inode>> Symlink(std::string_view name, std::string_view target,
                                  const vfs::NewNode& node) override;
  Result<void> Link(std::string_view name, vfs::Inode& target) override;
  Result<void> Unlink(std::string_view name, vfs::Inode& victim) override;
  Result<void> Rmdir(std::string_view name, vfs::Inode& victim) override;
  Result<void> Rename(std::string_view old_name, vfs::Inode& moved, vfs::Inode& new_dir,
                      std::string_view new_name, vfs::Inode* replaced, unsigned flags) override;
  Result<Ref<vfs::Inode>> Tmpfile(const vfs::NewNode& node) override;
  Result<Ref<vfs::File>> Open(vfs::Caller& c, const vfs::Path& path, int flags) override;

  // Offers the entries from `cookie` on to `sink`, under mutex_ (sinks only fill a buffer of ours).
  void List(uint64_t cookie, const vfs::DirSink& sink, int64_t* position);
  // For the end of the file system: gives up the entries without recursion.
  void TakeEntries(std::vector<Ref<TmpfsInode>>& out);

 private:
  struct Entry {
    Ref<TmpfsInode> inode;
    uint64_t cookie = 0;
  };
  using Entries = std::map<std::string, Entry, std::less<>>;
  Result<void> Insert(std::string_view name, Ref<TmpfsInode> inode);
  Ref<TmpfsInode> Erase(std::string_view name);
  // Marks this directory dead if it is empty: ENOTEMPTY otherwise.
  Result<void> Kill();
  void SwapEntry(std::string_view name, Ref<TmpfsInode> inode);

  Entries entries_ GUARDED_BY(mutex_);
  // In the order in which they were made: what a readdir position means survives changes.
  std::map<uint64_t, Entries::iterator> by_cookie_ GUARDED_BY(mutex_);
  uint64_t next_cookie_ GUARDED_BY(mutex_) = 2;  // 0 and 1 are "." and ".."
  bool dead_ GUARDED_BY(mutex_) = false;
};

}  // namespace sandboxd::tmpfs
