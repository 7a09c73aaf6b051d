// Attributes of files and of the file system.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <climits>
#include <cstring>

#include "gofer/server/session.h"

namespace sandboxd::gofer {
namespace {

Result<timespec> ToTimespec(uint32_t valid, uint32_t set, uint32_t to, const Time& time) {
  if ((valid & set) == 0) return timespec{0, UTIME_OMIT};
  if ((valid & to) == 0) return timespec{0, UTIME_NOW};
  if (time.nanos >= 1'000'000'000) return Errno::kEINVAL;
  return timespec{static_cast<time_t>(time.seconds), static_cast<long>(time.nanos)};
}

}  // namespace

Result<Rgetattr> Session::Handle(const Tgetattr& request) {
  Ref<Node> node = TRY(fids_.GetNode(request.fid));
  Stat stat = TRY(host_.StatOf(node->fd()));
  return Rgetattr{.valid = request.request_mask & kGetattrAll, .qid = stat.qid, .attr = stat.attr};
}

Result<Rstat> Session::Handle(const Tstat& request) {
  Ref<Node> node = TRY(fids_.GetNode(request.fid));
  return Rstat{TRY(host_.StatOf(node->fd()))};
}

// Size before owner before mode: a change of size or owner clears the set-id bits, the mode has the
// last word.
Result<Rsetattr> Session::Handle(const Tsetattr& request) {
  TRY(CheckWritable());
  if ((request.valid & ~kSetKnownBits) != 0) return Errno::kEINVAL;
  Fid* fid = TRY(fids_.Get(request.fid));
  const Node& node = *fid->node;
  std::string path = PathOf(node);
  if ((request.valid & kSetSize) != 0) {
    if (S_ISDIR(node.mode())) return Errno::kEISDIR;
    if (!S_ISREG(node.mode()) || request.size > INT64_MAX) return Errno::kEINVAL;
    off_t size = static_cast<off_t>(request.size);
    TRY(CheckHost(fid->open.valid() && fid->writable ? ::ftruncate(fid->open.get(), size)
                                                     : ::truncate(path.c_str(), size)));
  }
  if ((request.valid & (kSetUid | kSetGid)) != 0) {
    uint32_t uid = (request.valid & kSetUid) != 0 ? request.uid : kNoUid;
    uint32_t gid = (request.valid & kSetGid) != 0 ? request.gid : kNoUid;
    TRY(CheckHost(::fchownat(node.fd(), "", uid, gid, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW)));
  }
  if ((request.valid & kSetMode) != 0) {
    TRY(CheckHost(::fchmodat(AT_FDCWD, path.c_str(), request.mode & 07777, 0)));
  }
  if ((request.valid & (kSetAtime | kSetMtime)) != 0) {
    timespec times[2] = {TRY(ToTimespec(request.valid, kSetAtime, kSetAtimeTo, request.atime)),
                         TRY(ToTimespec(request.valid, kSetMtime, kSetMtimeTo, request.mtime))};
    TRY(CheckHost(::utimensat(AT_FDCWD, path.c_str(), times, 0)));
  }
  return Rsetattr{};
}

Result<Rstatfs> Session::Handle(const Tstatfs& request) {
  Ref<Node> node = TRY(fids_.GetNode(request.fid));
  struct statfs fs;
  TRY(CheckHost(::fstatfs(node->fd(), &fs)));
  uint64_t fsid = 0;
  static_assert(sizeof(fs.f_fsid) == sizeof(fsid));
  std::memcpy(&fsid, &fs.f_fsid, sizeof(fsid));
  return Rstatfs{.type = static_cast<uint32_t>(fs.f_type),
                 .bsize = static_cast<uint32_t>(fs.f_bsize),
                 .blocks = fs.f_blocks,
                 .bfree = fs.f_bfree,
                 .bavail = fs.f_bavail,
                 .files = fs.f_files,
                 .ffree = fs.f_ffree,
                 .fsid = fsid,
                 .namelen = static_cast<uint32_t>(fs.f_namelen)};
}

Result<Rreadlink> Session::Handle(const Treadlink& request) {
  Ref<Node> node = TRY(fids_.GetNode(request.fid));
  if (!S_ISLNK(node->mode())) return Errno::kEINVAL;
  char target[PATH_MAX];
  ssize_t n = ::readlinkat(node->fd(), "", target, sizeof(target));
  if (n < 0) return LastError();
  return Rreadlink{std::string(target, static_cast<size_t>(n))};
}

}  // namespace sandboxd::gofer
