// Attributes between the gofer's form and the vfs's.
#pragma once

#include "gofer/protocol/types.h"
#include "kernel/vfs/attr.h"

namespace sandboxd::gofer_fs {

inline vfs::Time ToVfs(const gofer::Time& t) {
  return {static_cast<int64_t>(t.seconds), static_cast<uint32_t>(t.nanos)};
}
inline gofer::Time FromVfs(const vfs::Time& t) { return {static_cast<uint64_t>(t.sec), t.nsec}; }

vfs::Attr ToVfs(const gofer::Stat& stat);

}  // namespace sandboxd::gofer_fs
