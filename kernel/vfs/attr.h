// What stat(2) reports and chmod/chown/utimens change.
#pragma once

#include <cstdint>
#include <optional>

#include "kernel/creds/credentials.h"
#include "platform/base/types.h"

namespace sandboxd::vfs {

using creds::KGid;
using creds::KUid;

struct Time {  // since the epoch, CLOCK_REALTIME
  int64_t sec = 0;
  uint32_t nsec = 0;
  static Time Now();
  static Time NowCoarse();
  constexpr auto operator<=>(const Time&) const = default;
};

// makedev(3) without the C library's encoding; EncodeDev gives st_dev/st_rdev's.
struct DeviceNumber {
  uint32_t major = 0;
  uint32_t minor = 0;
  constexpr auto operator<=>(const DeviceNumber&) const = default;
  uint64_t Encode() const;  // huge encoding of struct stat (makedev)
  static DeviceNumber Decode(uint64_t dev);
};

struct Attr {
  uint64_t ino = 0;
  uint32_t mode = 0;  // S_IFMT | permissions
  uint32_t nlink = 1;
  KUid uid;
  KGid gid;
  DeviceNumber rdev;
  uint64_t size = 0;    // bytes
  uint64_t blocks = 0;  // 512-byte units
  uint32_t blksize = 4096;
  Time atime, mtime, ctime;
  std::optional<Time> btime;
  uint64_t attributes = 0;  // STATX_ATTR_*
};

// The fields that are set are changed; permission has been checked and mode bits (setgid clearing
// …) settled by the caller.
struct SetAttr {
  std::optional<uint32_t> mode;  // permission bits
  std::optional<KUid> uid;
  std::optional<KGid> gid;
  std::optional<uint64_t> size;
  std::optional<Time> atime, mtime;
};

struct FsStat {      // struct statfs without the padding
  int64_t type = 0;  // *_SUPER_MAGIC
  uint64_t block_size = 4096, blocks = 0, blocks_free = 0, blocks_available = 0, files = 0,
           files_free = 0;
  uint64_t fsid = 0;
  uint64_t name_max = 255;
};

}  // namespace sandboxd::vfs
