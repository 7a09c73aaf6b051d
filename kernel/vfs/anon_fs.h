// The internal file system of files that have no path: pipes, sockets, eventfds. Internal to the
// vfs.
#pragma once

#include <atomic>

#include "kernel/vfs/inode.h"

namespace sandboxd::vfs {

class AnonSuperblock final : public Superblock {
 public:
  std::string_view type_name() const override { return "anon_inodefs"; }
  Ref<Inode> RootInode() override;
  bool is_internal() const override { return true; }
  Result<FsStat> StatFs() override;
  // `mode`: S_IFMT and permissions; a type of 0 is Linux's anonymous inode.
  Ref<Inode> NewInode(uint32_t mode);

 private:
  std::atomic<uint64_t> next_ino_{2};  // relaxed: only unique
};

}  // namespace sandboxd::vfs
