#include "gofer/server/node.h"

namespace sandboxd::gofer {

Result<void> Node::CheckEntry(const Host& host) const {
  if (!parent_) return Errno::kEBUSY;
  UniqueFd there = TRY(host.WalkOne(parent_->fd(), name_));
  Stat stat = TRY(host.StatOf(there.get()));
  if (stat.dev != stat_.dev || stat.ino != stat_.ino) return Errno::kESTALE;
  return Ok();
}

Result<Ref<Node>> Walk(const Host& host, const Ref<Node>& dir, const std::string& name) {
  UniqueFd fd = TRY(host.WalkOne(dir->fd(), name));
  Stat stat = TRY(host.StatOf(fd.get()));
  return MakeRef<Node>(std::move(fd), stat, dir, name);
}

}  // namespace sandboxd::gofer
