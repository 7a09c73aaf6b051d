// Mappable: what mm knows of a file.
#pragma once

#include <cstdint>
#include <string>

#include "platform/base/ref.h"
#include "platform/base/result.h"
#include "platform/base/types.h"

namespace sandboxd::mm {

// A host descriptor that can be mapped in a stub. Borrowed: valid as long as the Mappable that gave
// it.
struct HostRange {
  int fd = -1;
  uint64_t offset = 0;  // bytes; where the requested file offset is in `fd`
};

enum class MapAccess : uint8_t { kPrivate, kSharedReadOnly, kSharedWritable };

class Mappable : public RefCounted {
 public:
  // A descriptor whose page cache is the file's content, from `offset` on, for at least `length`
  // bytes or to the file's end. Beyond the file's end the host raises SIGBUS as Linux does. The
  // descriptor has the rights that `access` needs and no more. ENODEV if the file can't be mapped,
  // EACCES if it may not be mapped so.
  virtual Result<HostRange> HostBacking(uint64_t offset, uint64_t length, MapAccess access) = 0;

  // Two mappings with equal identity and offset are the same memory: key of shared futexes and of
  // /proc/PID/maps.
  struct Identity {
    uint64_t device = 0;
    uint64_t inode = 0;
    auto operator<=>(const Identity&) const = default;
  };
  virtual Identity identity() const = 0;
  // As /proc/PID/maps shows it for a task whose root is the sandbox's; "" for anonymous.
  virtual std::string MapsName() const = 0;
  // msync(2) with MS_SYNC.
  virtual Result<void> Sync(uint64_t offset, uint64_t length) = 0;
};

}  // namespace sandboxd::mm
