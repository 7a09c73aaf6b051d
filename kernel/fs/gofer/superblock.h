// The file system of a gofer's tree: the sandbox's root, and each mount from the host.
#pragma once

#include <list>
#include <map>
#include <memory>
#include <utility>

#include "gofer/client/client.h"
#include "kernel/vfs/inode.h"
#include "platform/base/mutex.h"
#include "platform/base/ref.h"
#include "platform/base/result.h"
#include "platform/base/unique_fd.h"

namespace sandboxd::gofer_fs {

class GoferInode;

// kExclusive: nobody else changes the tree while the sandbox runs, so what was learned stays true:
// a cached stat, a missing name and a second open ask nobody. kShared: every lookup and stat asks
// the gofer.
enum class Sharing : uint8_t { kExclusive, kShared };

// `socket` is connected to a sandbox-gofer. EIO if it went away, EPROTONOSUPPORT if it is another
// server.
Result<Ref<vfs::Superblock>> Connect(UniqueFd socket, Sharing sharing);

class GoferSuperblock final : public vfs::Superblock {
 public:
  static Result<Ref<GoferSuperblock>> Create(UniqueFd socket, Sharing sharing);

  std::string_view type_name() const override { return "9p"; }
  Ref<vfs::Inode> RootInode() override;
  Result<vfs::FsStat> StatFs() override;
  // sync(2): everything written so far is on disk.
  Result<void> Sync() override;
  std::string OptionsString() const override;

  gofer::Client& client() { return *client_; }
  bool exclusive() const { return sharing_ == Sharing::kExclusive; }

  // The inode of a file that was found or made as `name` in `parent` (null: the root, or no name).
  // One file has one inode, whatever its names. Keeps the fid or lets go of it, as the inode sees
  // fit.
  Ref<GoferInode> InodeOf(gofer::File file, Ref<GoferInode> parent, std::string_view name);
  // The file has no name any more: another one may get its host inode number.
  void Forget(GoferInode& inode);
  // It got one again (linkat of an O_TMPFILE file).
  void Remember(GoferInode& inode);

  // Is there an inode for this file now?
  bool IsInUse(const gofer::Stat& stat);
  // Room for attributes that nobody has asked for yet, across all directories.
  size_t ReserveForeknown(size_t wanted);
  void ReleaseForeknown(size_t n);

  // `inode`, which is no directory, has a fid or host descriptors that it could do without: the one
  // touched longest ago beyond a bound gives up its own.
  void Touch(GoferInode& inode);

 private:
  friend class GoferInode;
  static constexpr size_t kMaxCachedHandles = 1024;
  static constexpr size_t kMaxForeknown = 16384;  // about 3 MiB
  using Key = std::pair<uint64_t, uint64_t>;      // the host's device and inode number

  GoferSuperblock(std::unique_ptr<gofer::Client> client, Sharing sharing);
  ~GoferSuperblock() override;
  // From the inode's destructor.
  void Remove(GoferInode& inode);

  const std::unique_ptr<gofer::Client> client_;
  const Sharing sharing_;
  Ref<GoferInode> root_;  // set once by Create

  Mutex mutex_{LockRank::kFileSystem};
  // Borrowed: an inode takes itself out before it goes.
  std::map<Key, GoferInode*> inodes_ GUARDED_BY(mutex_);
  std::list<GoferInode*> recent_ GUARDED_BY(mutex_);  // last touched first
  size_t foreknown_ GUARDED_BY(mutex_) = 0;
};

}  // namespace sandboxd::gofer_fs
