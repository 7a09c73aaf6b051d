#include "kernel/vfs/walker.h"

#include <linux/openat2.h>
#include <sys/stat.h>

namespace sandboxd::vfs {

namespace {
constexpr int kMaxLinks = 40;      // path_resolution(7)
constexpr size_t kPathMax = 4096;  // with the NUL
constexpr size_t kNameMax = 255;

std::string_view SkipSlashes(std::string_view s) {
  size_t n = s.find_first_not_of('/');
  return n == std::string_view::npos ? std::string_view() : s.substr(n);
}
}  // namespace

Walker::Walker(Caller& c, const At& at) : c_(c), options_(at), creds_(c.credentials()) {}

Result<void> Walker::Start(std::string_view path) {
  if (path.size() >= kPathMax) return Errno::kENAMETOOLONG;
  rest_ = path;
  bool absolute = !path.empty() && path[0] == '/';
  if (absolute && (options_.resolve & RESOLVE_BENEATH) != 0) return Errno::kEXDEV;
  bool scoped = (options_.resolve & (RESOLVE_BENEATH | RESOLVE_IN_ROOT)) != 0;
  if (!absolute || scoped) at_ = options_.start ? options_.start : c_.cwd();
  root_ = scoped ? at_ : c_.root();
  if (absolute) at_ = root_;
  return Ok();
}

Result<void> Walker::Walk(std::string_view path) {
  TRY(Start(path));
  if (path.empty()) return options_.allow_empty ? Ok() : Result<void>(Errno::kENOENT);
  TRY(Run(/*to_parent=*/false));
  if (options_.require_directory && !at_.dentry->inode()->IsDirectory()) return Errno::kENOTDIR;
  return Ok();
}

Result<void> Walker::WalkParent(std::string_view path) {
  if (path.empty()) return Errno::kENOENT;
  TRY(Start(path));
  return Run(/*to_parent=*/true);
}

Result<bool> Walker::FollowLast(const Path& link) {
  if (TRY(Expand(link, trailing_slash_ ? "/" : "", /*is_last=*/true))) return false;
  TRY(Run(/*to_parent=*/true));
  return true;
}

Result<Path> Walker::CrossDown(Path path) {
  if (path.dentry->mount_count() == 0) return path;
  Path below = c_.mount_namespace()->CrossDown(path);
  if (below.mount != path.mount.get() && (options_.resolve & RESOLVE_NO_XDEV) != 0)
    return Errno::kEXDEV;
  return below;
}

Result<void> Walker::DotDot() {
  for (;;) {
    if (at_ == root_) {
      if ((options_.resolve & RESOLVE_BENEATH) != 0) return Errno::kEXDEV;
      break;
    }
    if (at_.dentry != at_.mount->root()) {
      if (Ref<Dentry> up = at_.dentry->parent()) at_.dentry = std::move(up);
      break;
    }
    Path place = at_.mount->place();
    if (!place) break;
    if ((options_.resolve & RESOLVE_NO_XDEV) != 0) return Errno::kEXDEV;
    at_ = std::move(place);
  }
  at_ = TRY(CrossDown(std::move(at_)));
  return Ok();
}

// proc(5), /proc/sys/fs/protected_symlinks = 1: in a sticky world-writable directory only links of
// one's own, or of the directory's owner, are followed.
Result<void> Walker::CheckMayFollow(Inode& link) {
  Attr dir = TRY(at_.dentry->inode()->GetAttr());
  if ((dir.mode & (S_ISVTX | S_IWOTH)) != (S_ISVTX | S_IWOTH)) return Ok();
  Attr attr = TRY(link.GetAttr());
  if (attr.uid == creds_->fsuid || attr.uid == dir.uid) return Ok();
  return Errno::kEACCES;
}

Result<bool> Walker::Expand(const Path& link, std::string_view after, bool is_last) {
  Inode& inode = *link.dentry->inode();
  if (++links_ > kMaxLinks) return Errno::kELOOP;
  if ((options_.resolve & RESOLVE_NO_SYMLINKS) != 0) return Errno::kELOOP;
  if ((link.mount->flags() & kMountNoSymfollow) != 0) return Errno::kELOOP;
  if (is_last) TRY(CheckMayFollow(inode));
  Path magic = TRY(inode.FollowMagic(c_));
  if (magic) {
    if ((options_.resolve & RESOLVE_NO_MAGICLINKS) != 0) return Errno::kELOOP;
    if ((options_.resolve & (RESOLVE_BENEATH | RESOLVE_IN_ROOT)) != 0) return Errno::kEXDEV;
    if ((options_.resolve & RESOLVE_NO_XDEV) != 0 && magic.mount != at_.mount.get())
      return Errno::kEXDEV;
    at_ = std::move(magic);
    rest_ = after;
    return true;
  }
  std::string text = TRY(inode.ReadLink(c_));
  if (text.empty()) return Errno::kENOENT;
  if (text[0] == '/') {
    if ((options_.resolve & RESOLVE_BENEATH) != 0) return Errno::kEXDEV;
    if ((options_.resolve & RESOLVE_NO_XDEV) != 0 && root_.mount != at_.mount.get())
      return Errno::kEXDEV;
    at_ = root_;
  }
  text.append(after);  // `after` may point into buffer_
  buffer_ = std::move(text);
  rest_ = buffer_;
  return false;
}

Result<void> Walker::Run(bool to_parent) {
  last_ = {};
  trailing_slash_ = false;
  for (;;) {
    rest_ = SkipSlashes(rest_);
    if (rest_.empty()) return Ok();
    size_t length = rest_.find('/');
    std::string_view name = rest_.substr(0, length);
    std::string_view after =
        length == std::string_view::npos ? std::string_view() : rest_.substr(length);
    bool is_last = SkipSlashes(after).empty();
    bool slash = is_last && !after.empty();

    Inode& dir = *at_.dentry->inode();
    if (!dir.IsDirectory()) return Errno::kENOTDIR;
    TRY(dir.CheckPermission(*creds_, kMayExec));
    if (name.size() > kNameMax) return Errno::kENAMETOOLONG;
    if (is_last && to_parent) {
      last_ = name;
      trailing_slash_ = slash;
      return Ok();
    }
    if (name == ".") {
      rest_ = after;
      continue;
    }
    if (name == "..") {
      TRY(DotDot());
      rest_ = after;
      continue;
    }
    Ref<Dentry> child = TRY(at_.dentry->Lookup(name));
    if (child->negative()) return Errno::kENOENT;
    if (child->inode()->IsSymlink()) {
      if (!is_last || slash || options_.follow_last) {
        bool jumped = TRY(Expand(Path(at_.mount, std::move(child)), after, is_last));
        if (jumped && (!is_last || slash) && !at_.dentry->inode()->IsDirectory())
          return Errno::kENOTDIR;
        continue;
      }
    } else if ((!is_last || slash) && !child->inode()->IsDirectory()) {
      return Errno::kENOTDIR;
    }
    if (child->mount_count() > 0) {
      at_ = TRY(CrossDown(Path(at_.mount, std::move(child))));
    } else {
      at_.dentry = std::move(child);
    }
    rest_ = after;
  }
}

Result<Path> Vfs::Resolve(Caller& c, std::string_view path, const At& at) const {
  Walker walker(c, at);
  TRY(walker.Walk(path));
  return walker.TakeAt();
}

Result<Vfs::Parent> Vfs::ResolveParent(Caller& c, std::string_view path, const At& at) const {
  Walker walker(c, at);
  TRY(walker.WalkParent(path));
  return Parent{walker.at(), std::string(walker.last()), walker.trailing_slash()};
}

}  // namespace sandboxd::vfs
