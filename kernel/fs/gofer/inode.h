// A file of a gofer's tree.
#pragma once

#include <functional>
#include <list>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "gofer/client/client.h"
#include "kernel/fs/gofer/handles.h"
#include "kernel/fs/gofer/superblock.h"
#include "kernel/vfs/inode.h"
#include "kernel/wait/wait_queue.h"
#include "platform/base/mutex.h"

namespace sandboxd::gofer_fs {

// The entries of a directory as they were at one moment, "." and ".." among them.
class Listing final : public RefCounted {
 public:
  struct Entry {
    std::string name;
    uint64_t ino = 0;
    uint8_t type = 0;
  };
  std::vector<Entry> entries;
};

class GoferInode final : public vfs::Inode {
 public:
  // --- vfs::Inode ---
  Result<vfs::Attr> GetAttr() override;
  Result<void> SetAttr(const vfs::SetAttr& set) override;
  Result<void> CheckPermission(const creds::Credentials& c, int mask) override;
  Result<Ref<vfs::Inode>> Lookup(std::string_view name) override;
  bool DentryStillValid(std::string_view name, vfs::Inode* cached) override;
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
  Result<std::string> ReadLink(vfs::Caller& c) override;
  Result<Ref<vfs::File>> Open(vfs::Caller& c, const vfs::Path& path, int flags) override;
  Result<std::string> GetXattr(std::string_view name) override;
  Result<void> SetXattr(std::string_view name, std::string_view value, int flags) override;
  Result<void> RemoveXattr(std::string_view name) override;
  Result<std::vector<std::string>> ListXattr() override;

  // --- for open files and mappings ---
  // A host descriptor of a regular file, at most one round trip. ENOENT if it lost its name before
  // it was ever opened.
  Result<Ref<HostFile>> Host(HostAccess access);
  Result<Ref<SharedFid>> Fid();
  Result<Ref<Listing>> List();
  // Bytes or blocks of the host file changed through a host descriptor. `caller` wrote them: set-id
  // bits go, unless its capabilities keep them (the host always drops them).
  Result<void> NoteWrite(const creds::Credentials& caller);
  void AddWritableMapping();
  void RemoveWritableMapping();
  // Held over a write to the host file, so that appends know their place. Not over user memory.
  Mutex& write_mutex() RETURN_CAPABILITY(write_mutex_) { return write_mutex_; }

 private:
  friend class GoferSuperblock;
  template <typename T, typename... Args>
  friend Ref<T> sandboxd::MakeRef(Args&&...);
  struct Place {
    Ref<GoferInode> parent;  // null: no name that we know
    std::string name;
  };

  GoferInode(GoferSuperblock& superblock, const gofer::Stat& stat);
  ~GoferInode() override;

  GoferSuperblock& fs() const { return fs_; }
  gofer::Client& client() const { return fs_.client(); }
  static GoferInode& Cast(vfs::Inode& inode) { return static_cast<GoferInode&>(inode); }
  bool IsSameFile(const gofer::Stat& stat) const;

  // inode.cc
  void Found(gofer::File file, Ref<GoferInode> parent, std::string_view name);
  Ref<SharedFid> Install(gofer::FidHandle fid);
  void InstallHost(HostAccess access, Ref<HostFile> file);
  Place place() const;
  bool TryForgetHandles();
  void TakeStat(const gofer::Stat& stat) REQUIRES(mutex_);
  // May attr_ be believed without asking?
  bool IsKnown() const REQUIRES(mutex_);
  Nanos FreshUntil() const;

  // inode_attr.cc
  Result<vfs::Attr> RefreshFromHost(const HostFile& file);
  Result<vfs::Attr> RefreshFromGofer();
  Result<void> SetSize(uint64_t size);

  // inode_dir.cc
  Result<Ref<vfs::Inode>> Make(std::string_view name, const gofer::NewFile& file);
  Result<void> ListShared(Listing& listing);
  Result<std::vector<gofer::DirEntryStat>> ListExclusive(Listing& listing);
  void Foreknow(std::vector<gofer::DirEntryStat> entries, uint64_t version, uint64_t lookups);
  std::optional<gofer::Stat> TakeForeknown(std::string_view name);
  // A name of this directory was asked for, or made, and has an inode now if it exists.
  void NoteLookup(std::string_view name);
  // Is the name known to be missing, by a listing that still holds?
  bool IsKnownMissing(std::string_view name) const;
  bool IsWorthListing() const;
  // Entries came or went, at `when`; `links` of them are subdirectories.
  void NoteEntriesChanged(const vfs::Time& when, int links);
  void NameRemoved(const GoferInode& parent, std::string_view name, const vfs::Time& when);
  void NameAdded(Ref<GoferInode> parent, std::string_view name, const vfs::Time& when);
  void NameMoved(Ref<GoferInode> parent, std::string_view name, const vfs::Time& when);

  GoferSuperblock& fs_;  // the same object as superblock()
  const GoferSuperblock::Key key_;
  const gofer::Time birth_;

  Mutex write_mutex_{LockRank::kInode};

  mutable Mutex mutex_{LockRank::kInode};
  vfs::Attr attr_ GUARDED_BY(mutex_);
  bool stale_ GUARDED_BY(mutex_) = false;    // the gofer knows better than attr_
  Nanos fresh_until_ GUARDED_BY(mutex_);     // kShared: CLOCK_MONOTONIC
  bool written_ GUARDED_BY(mutex_) = false;  // the host file knows size, blocks and times better
  // Of a directory: its size is what its file system makes of the entries that came or went.
  bool size_stale_ GUARDED_BY(mutex_) = false;
  int writable_mappings_ GUARDED_BY(mutex_) = 0;
  Place place_ GUARDED_BY(mutex_);
  Ref<SharedFid> fid_ GUARDED_BY(mutex_);  // a directory and a nameless file always have one
  Ref<HostFile> read_only_ GUARDED_BY(mutex_);
  Ref<HostFile> read_write_ GUARDED_BY(mutex_);
  Ref<Listing> listing_ GUARDED_BY(mutex_);
  // kExclusive: attributes that came with a listing, of names that were not looked up since. Only
  // of files that had no inode then and have no other name, so that nothing can have changed them.
  std::map<std::string, gofer::Stat, std::less<>> foreknown_ GUARDED_BY(mutex_);
  uint64_t lookups_ GUARDED_BY(mutex_) = 0;  // that asked the gofer
  uint64_t listing_version_ GUARDED_BY(mutex_) = 0;
  std::optional<std::string> link_target_ GUARDED_BY(mutex_);
  std::vector<std::string> missing_xattrs_ GUARDED_BY(mutex_);

  // Guarded by fs_.mutex_: our place in its recent_ list.
  std::optional<std::list<GoferInode*>::iterator> recent_;
};

}  // namespace sandboxd::gofer_fs
