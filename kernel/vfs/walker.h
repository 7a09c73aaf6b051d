// Walker: one path walk (path_resolution(7)). Internal to the vfs.
#pragma once

#include <string>
#include <string_view>

#include "kernel/vfs/caller.h"
#include "kernel/vfs/mount.h"
#include "kernel/vfs/path.h"
#include "kernel/vfs/vfs.h"

namespace sandboxd::vfs {

class Walker {
 public:
  Walker(Caller& c, const At& at);

  // To the end; at() is the place, which exists.
  Result<void> Walk(std::string_view path);
  // To the folder of the last component: at() and last().
  Result<void> WalkParent(std::string_view path);
  // After WalkParent: last() is the symlink `link`; goes on to the parent of what it leads to.
  // False if the link was a magic one: then at() is its target.
  Result<bool> FollowLast(const Path& link);

  const Path& at() const { return at_; }
  Path TakeAt() { return std::move(at_); }
  std::string_view last() const { return last_; }
  bool trailing_slash() const { return trailing_slash_; }
  const creds::Credentials& credentials() const { return *creds_; }
  // What is mounted on `path`, within the rules of the walk.
  Result<Path> CrossDown(Path path);

 private:
  Result<void> Start(std::string_view path);
  Result<void> Run(bool to_parent);
  Result<void> DotDot();
  // Sets rest_ to the link's text before `after`, or jumps (magic link: true).
  Result<bool> Expand(const Path& link, std::string_view after, bool is_last);
  Result<void> CheckMayFollow(Inode& link);

  Caller& c_;
  const At& options_;
  const creds::CredRef creds_;
  Path root_;
  Path at_;
  std::string buffer_;     // holds rest_ once a symlink was expanded
  std::string_view rest_;  // still to walk
  std::string_view last_;  // in the caller's path or buffer_
  bool trailing_slash_ = false;
  int links_ = 0;
};

}  // namespace sandboxd::vfs
