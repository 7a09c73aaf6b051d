// What an inode holds of its file in the gofer and on the host. Shared by reference, so that the
// inode can forget its own while somebody still uses it.
#pragma once

#include "gofer/client/client.h"
#include "platform/base/ref.h"
#include "platform/base/unique_fd.h"

namespace sandboxd::gofer_fs {

class SharedFid final : public RefCounted {
 public:
  explicit SharedFid(gofer::FidHandle fid) : handle(std::move(fid)) {}
  const gofer::FidHandle handle;
};

// A donated host descriptor of a regular file.
class HostFile final : public RefCounted {
 public:
  explicit HostFile(UniqueFd fd) : fd_(std::move(fd)) {}
  int fd() const { return fd_.get(); }

 private:
  const UniqueFd fd_;
};

enum class HostAccess : uint8_t {
  kRead,      // reading; a descriptor that can write too will do
  kReadOnly,  // a descriptor that can't write: it is handed to a stub
  kReadAndWrite,
};

}  // namespace sandboxd::gofer_fs
