// A file that a client has reached: what a fid refers to.
#pragma once

#include <string>

#include "gofer/protocol/types.h"
#include "gofer/server/host.h"
#include "platform/base/ref.h"
#include "platform/base/result.h"
#include "platform/base/unique_fd.h"

namespace sandboxd::gofer {

// Used by the thread of one session only, except for its reference count.
class Node : public RefCounted {
 public:
  // The root of an attach point.
  Node(UniqueFd fd, const Stat& stat) : fd_(std::move(fd)), stat_(stat) {}
  Node(UniqueFd fd, const Stat& stat, Ref<Node> parent, std::string name)
      : fd_(std::move(fd)), stat_(stat), parent_(std::move(parent)), name_(std::move(name)) {}

  int fd() const { return fd_.get(); }  // O_PATH
  // As it was when the client walked here; the type and the qid's path never change.
  const Stat& stat() const { return stat_; }
  uint32_t mode() const { return stat_.attr.mode; }
  const Qid& qid() const { return stat_.qid; }

  // Where it was found. It may have been renamed or removed since (see CheckEntry). Null for a root
  // and for an unnamed file.
  const Ref<Node>& parent() const { return parent_; }
  const std::string& name() const { return name_; }
  void SetEntry(Ref<Node> parent, std::string name) {
    parent_ = std::move(parent);
    name_ = std::move(name);
  }

  // Whether parent()/name() still leads here: ESTALE otherwise.
  Result<void> CheckEntry(const Host& host) const;

 private:
  const UniqueFd fd_;
  const Stat stat_;
  Ref<Node> parent_;
  std::string name_;
};

// What `name` leads to in `dir`.
Result<Ref<Node>> Walk(const Host& host, const Ref<Node>& dir, const std::string& name);

}  // namespace sandboxd::gofer
