// The directory tree: making, linking, renaming, removing.
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <climits>

#include "gofer/server/session.h"

namespace sandboxd::gofer {
namespace {

constexpr uint32_t kCreateFlags =
    O_ACCMODE | O_EXCL | O_TRUNC | O_APPEND | O_SYNC | O_DSYNC | O_DIRECT | O_NOATIME;

bool IsUnnamed(const Tmake& request) { return (request.flags & O_TMPFILE) == O_TMPFILE; }

// Makes the directory, symlink or node that `request` describes.
Result<void> MakeSpecial(int dir, const Tmake& request) {
  const char* name = request.name.c_str();
  switch (request.mode & S_IFMT) {
    case S_IFDIR:
      return CheckHost(::mkdirat(dir, name, request.mode & 07777));
    case S_IFLNK:
      if (request.target.empty()) return Errno::kENOENT;
      if (request.target.find('\0') != std::string::npos) return Errno::kEINVAL;
      if (request.target.size() >= PATH_MAX) return Errno::kENAMETOOLONG;
      return CheckHost(::symlinkat(request.target.c_str(), dir, name));
    case S_IFIFO:
    case S_IFSOCK:
      return CheckHost(::mknodat(dir, name, request.mode & (S_IFMT | 07777), 0));
    case S_IFCHR:
    case S_IFBLK:
      return CheckHost(::mknodat(dir, name, request.mode & (S_IFMT | 07777), request.rdev));
    default:
      return Errno::kEINVAL;
  }
}

void RemoveAgain(int dir, const Tmake& request) {
  if (IsUnnamed(request)) return;
  (void)::unlinkat(dir, request.name.c_str(), S_ISDIR(request.mode) ? AT_REMOVEDIR : 0);
}

}  // namespace

// Whether `name` exists and the client did not insist on a new file: then what it gets is that
// file, opened as Topenfd would.
Result<Ref<Node>> Session::MakeNode(const Ref<Node>& dir, const Tmake& request, UniqueFd& opened) {
  bool regular = S_ISREG(request.mode);
  if (!IsUnnamed(request)) {
    TRY(Host::CheckName(request.name));
    if (regular && (request.flags & O_EXCL) == 0) {
      Result<Ref<Node>> existing = Walk(host_, dir, request.name);
      if (existing.ok()) {
        opened = TRY(OpenNode(**existing, request.flags));
        return existing;
      }
      if (!existing.Is(Errno::kENOENT)) return existing.error();
    }
  } else if (!regular) {
    return Errno::kEINVAL;
  }

  UniqueFd path_fd;
  if (regular) {
    uint32_t flags = request.flags & kCreateFlags;
    if ((flags & O_ACCMODE) == O_ACCMODE) return Errno::kEINVAL;
    // O_EXCL even if the client did not ask: what appeared since we looked is not ours to open.
    flags |= IsUnnamed(request) ? uint32_t{O_TMPFILE} : uint32_t{O_EXCL};
    opened = TRY(host_.Create(dir->fd(), request.name, flags, request.mode));
    path_fd = TRY(host_.Reopen(opened.get(), O_PATH));
  } else {
    TRY(MakeSpecial(dir->fd(), request));
    path_fd = TRY(host_.WalkOne(dir->fd(), request.name));
  }
  Result<void> owned = host_.SetOwner(path_fd.get(), request.uid, request.gid, request.mode);
  if (!owned.ok()) {
    RemoveAgain(dir->fd(), request);
    return owned.error();
  }
  Stat stat = TRY(host_.StatOf(path_fd.get()));
  if (IsUnnamed(request)) return MakeRef<Node>(std::move(path_fd), stat);
  return MakeRef<Node>(std::move(path_fd), stat, dir, request.name);
}

Result<Ref<Node>> Session::Make(const Tmake& request, UniqueFd& opened) {
  TRY(CheckWritable());
  return MakeNode(TRY(fids_.GetNode(request.dfid)), request, opened);
}

Result<Rmake> Session::Handle(const Tmake& request) {
  TRY(CheckWritable());
  if (request.newfid != kNoFid) TRY(fids_.CheckFree(request.newfid));
  UniqueFd opened;
  Ref<Node> node = TRY(Make(request, opened));
  Rmake response{.stat = node->stat(), .has_fd = opened.valid()};
  if (opened.valid()) Donate(std::move(opened));
  if (request.newfid != kNoFid) fids_.Set(request.newfid, Fid{.node = std::move(node)});
  return response;
}

Result<Rmkdir> Session::Handle(const Tmkdir& request) {
  UniqueFd none;
  Tmake make{.dfid = request.dfid,
             .name = request.name,
             .mode = (request.mode & 07777) | S_IFDIR,
             .uid = attach_uid_,
             .gid = request.gid};
  return Rmkdir{TRY(Make(make, none))->qid()};
}

Result<Rsymlink> Session::Handle(const Tsymlink& request) {
  UniqueFd none;
  Tmake make{.dfid = request.dfid,
             .name = request.name,
             .mode = S_IFLNK | 0777,
             .uid = attach_uid_,
             .gid = request.gid,
             .target = request.target};
  return Rsymlink{TRY(Make(make, none))->qid()};
}

Result<Rmknod> Session::Handle(const Tmknod& request) {
  UniqueFd opened;
  Tmake make{.dfid = request.dfid,
             .name = request.name,
             .mode = request.mode,
             .uid = attach_uid_,
             .gid = request.gid,
             .rdev = makedev(request.major, request.minor),
             .flags = O_EXCL};
  // mknod(2): "Zero file type is equivalent to type S_IFREG."
  if ((make.mode & S_IFMT) == 0) make.mode |= S_IFREG;
  if (S_ISDIR(make.mode) || S_ISLNK(make.mode)) return Errno::kEPERM;
  return Rmknod{TRY(Make(make, opened))->qid()};
}

Result<Rlink> Session::Handle(const Tlink& request) {
  TRY(CheckWritable());
  TRY(Host::CheckName(request.name));
  Ref<Node> dir = TRY(fids_.GetNode(request.dfid));
  Ref<Node> node = TRY(fids_.GetNode(request.fid));
  TRY(CheckHost(::linkat(AT_FDCWD, PathOf(*node).c_str(), dir->fd(), request.name.c_str(),
                         AT_SYMLINK_FOLLOW)));
  return Rlink{};
}

Result<Rrename> Session::Handle(const Trename& request) {
  TRY(CheckWritable());
  TRY(Host::CheckName(request.name));
  Ref<Node> node = TRY(fids_.GetNode(request.fid));
  Ref<Node> dir = TRY(fids_.GetNode(request.dfid));
  TRY(node->CheckEntry(host_));
  TRY(CheckHost(
      ::renameat(node->parent()->fd(), node->name().c_str(), dir->fd(), request.name.c_str())));
  // Our picture of the tree may be out of date; it must not become a ring of references.
  for (const Node* up = dir.get(); up != nullptr; up = up->parent().get()) {
    if (up == node.get()) dir.Reset();
    if (!dir) break;
  }
  node->SetEntry(std::move(dir), request.name);
  return Rrename{};
}

Result<Rrename2> Session::Handle(const Trename2& request) {
  TRY(CheckWritable());
  if ((request.flags & ~(RENAME_NOREPLACE | RENAME_EXCHANGE)) != 0) return Errno::kEINVAL;
  TRY(Host::CheckName(request.oldname));
  TRY(Host::CheckName(request.newname));
  Ref<Node> from = TRY(fids_.GetNode(request.olddirfid));
  Ref<Node> to = TRY(fids_.GetNode(request.newdirfid));
  TRY(CheckHost(::renameat2(from->fd(), request.oldname.c_str(), to->fd(), request.newname.c_str(),
                            request.flags)));
  return Rrename2{};
}

Result<Rrenameat> Session::Handle(const Trenameat& request) {
  TRY(Handle(Trename2{.olddirfid = request.olddirfid,
                      .oldname = request.oldname,
                      .newdirfid = request.newdirfid,
                      .newname = request.newname}));
  return Rrenameat{};
}

Result<Runlinkat> Session::Handle(const Tunlinkat& request) {
  TRY(CheckWritable());
  if ((request.flags & ~uint32_t{AT_REMOVEDIR}) != 0) return Errno::kEINVAL;
  TRY(Host::CheckName(request.name));
  Ref<Node> dir = TRY(fids_.GetNode(request.dirfid));
  TRY(CheckHost(::unlinkat(dir->fd(), request.name.c_str(), static_cast<int>(request.flags))));
  return Runlinkat{};
}

Result<Rremove> Session::Handle(const Tremove& request) {
  Ref<Node> node = TRY(fids_.GetNode(request.fid));
  fids_.Erase(request.fid);
  TRY(CheckWritable());
  TRY(node->CheckEntry(host_));
  TRY(CheckHost(::unlinkat(node->parent()->fd(), node->name().c_str(),
                           S_ISDIR(node->mode()) ? AT_REMOVEDIR : 0)));
  return Rremove{};
}

}  // namespace sandboxd::gofer
