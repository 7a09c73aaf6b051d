// Open files.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "gofer/server/session.h"

namespace sandboxd::gofer {
namespace {

// The flags of open(2) that a client may choose; O_CREAT and its like have messages of their own,
// and the others have no meaning for a description that is used with pread and pwrite.
constexpr uint32_t kOpenFlags =
    O_ACCMODE | O_TRUNC | O_APPEND | O_SYNC | O_DSYNC | O_DIRECT | O_NOATIME;

bool WantsWrite(uint32_t flags) {
  return (flags & O_ACCMODE) != O_RDONLY || (flags & O_TRUNC) != 0;
}

Result<struct flock> ToFlock(LockType type, uint64_t start, uint64_t length) {
  if (type > LockType::kUnlock || start > INT64_MAX || length > INT64_MAX) return Errno::kEINVAL;
  constexpr short kTypes[] = {F_RDLCK, F_WRLCK, F_UNLCK};
  struct flock lock {};
  lock.l_type = kTypes[static_cast<size_t>(type)];
  lock.l_whence = SEEK_SET;
  lock.l_start = static_cast<off_t>(start);
  lock.l_len = static_cast<off_t>(length);
  return lock;
}

}  // namespace

Result<UniqueFd> Session::OpenNode(const Node& node, uint32_t flags) const {
  flags &= kOpenFlags;
  if ((flags & O_ACCMODE) == O_ACCMODE) return Errno::kEINVAL;
  if (S_ISLNK(node.mode())) return Errno::kELOOP;
  if (!S_ISREG(node.mode()) && !S_ISDIR(node.mode())) return Errno::kENXIO;
  if (WantsWrite(flags)) {
    if (S_ISDIR(node.mode())) return Errno::kEISDIR;
    TRY(CheckWritable());
  }
  return host_.Reopen(node.fd(), flags);
}

Result<Rlopen> Session::Handle(const Tlopen& request) {
  Fid* fid = TRY(fids_.Get(request.fid));
  if ((fid->open.valid() && !fid->close_at_end) || fid->xattr) return Errno::kEINVAL;
  fid->close_at_end = false;
  fid->dir_offset = 0;
  fid->open = TRY(OpenNode(*fid->node, request.flags));
  fid->writable = (request.flags & O_ACCMODE) != O_RDONLY;
  // A directory stays ours: with a descriptor of one, the client could walk by itself.
  if (extended_ && S_ISREG(fid->node->mode())) Donate(fid->open.get());
  return Rlopen{.qid = fid->node->qid(), .iounit = msize_ - kIoHeaderSize};
}

Result<Rlcreate> Session::Handle(const Tlcreate& request) {
  TRY(CheckWritable());
  Fid* fid = TRY(fids_.Get(request.fid));
  if (fid->open.valid() || fid->xattr) return Errno::kEINVAL;
  Tmake make{.name = request.name,
             .mode = (request.mode & 07777) | S_IFREG,
             .uid = attach_uid_,
             .gid = request.gid,
             .flags = request.flags};
  UniqueFd opened;
  Ref<Node> node = TRY(MakeNode(fid->node, make, opened));
  fid->node = std::move(node);
  fid->open = std::move(opened);
  fid->writable = (request.flags & O_ACCMODE) != O_RDONLY;
  if (extended_) Donate(fid->open.get());
  return Rlcreate{.qid = fid->node->qid(), .iounit = msize_ - kIoHeaderSize};
}

Result<Ropenfd> Session::Handle(const Topenfd& request) {
  Ref<Node> node = TRY(fids_.GetNode(request.fid));
  if (S_ISDIR(node->mode())) return Errno::kEISDIR;
  Donate(TRY(OpenNode(*node, request.flags)));
  return Ropenfd{.has_fd = true};
}

Result<Rread> Session::Handle(const Tread& request) {
  Fid* fid = TRY(fids_.Get(request.fid));
  size_t count = std::min(request.count, msize_ - kIoHeaderSize);
  if (fid->xattr && !fid->xattr->writing) {
    ConstBytes value = fid->xattr->value;
    value = value.subspan(std::min<uint64_t>(request.offset, value.size()));
    return Rread{.data = {value.first(std::min(count, value.size()))}};
  }
  if (!fid->open.valid()) return Errno::kEBADF;
  if (request.offset > INT64_MAX) return Errno::kEINVAL;
  data_.resize(count);
  ssize_t n = ::pread(fid->open.get(), data_.data(), count, static_cast<off_t>(request.offset));
  if (n < 0) return LastError();
  return Rread{.data = {ConstBytes(data_).first(static_cast<size_t>(n))}};
}

Result<Rwrite> Session::Handle(const Twrite& request) {
  TRY(CheckWritable());
  Fid* fid = TRY(fids_.Get(request.fid));
  ConstBytes data = request.data.bytes;
  if (fid->xattr && fid->xattr->writing) {
    // In order and no more than was announced.
    XattrIo& xattr = *fid->xattr;
    if (request.offset != xattr.value.size()) return Errno::kEINVAL;
    if (data.size() > xattr.size - xattr.value.size()) return Errno::kENOSPC;
    xattr.value.insert(xattr.value.end(), data.begin(), data.end());
    return Rwrite{.count = static_cast<uint32_t>(data.size())};
  }
  if (!fid->open.valid()) return Errno::kEBADF;
  if (request.offset > INT64_MAX) return Errno::kEINVAL;
  ssize_t n =
      ::pwrite(fid->open.get(), data.data(), data.size(), static_cast<off_t>(request.offset));
  if (n < 0) return LastError();
  return Rwrite{.count = static_cast<uint32_t>(n)};
}

Result<Rfsync> Session::Handle(const Tfsync& request) {
  Fid* fid = TRY(fids_.Get(request.fid));
  int fd = fid->open.get();
  UniqueFd reopened;
  if (fd < 0) {
    reopened = TRY(OpenNode(*fid->node, O_RDONLY));
    fd = reopened.get();
  }
  TRY(CheckHost(request.datasync != 0 ? ::fdatasync(fd) : ::fsync(fd)));
  return Rfsync{};
}

// Locks belong to the fid's open file description, so a disconnect releases them. They never block:
// the client asks again.
Result<Rlock> Session::Handle(const Tlock& request) {
  Fid* fid = TRY(fids_.Get(request.fid));
  if (!fid->open.valid()) return Errno::kEBADF;
  struct flock lock = TRY(ToFlock(request.type, request.start, request.length));
  if (::fcntl(fid->open.get(), F_OFD_SETLK, &lock) == 0) return Rlock{};
  if (errno == EAGAIN || errno == EACCES) return Rlock{.status = LockStatus::kBlocked};
  return LastError();
}

Result<Rgetlock> Session::Handle(const Tgetlock& request) {
  Fid* fid = TRY(fids_.Get(request.fid));
  if (!fid->open.valid()) return Errno::kEBADF;
  struct flock lock = TRY(ToFlock(request.type, request.start, request.length));
  TRY(CheckHost(::fcntl(fid->open.get(), F_OFD_GETLK, &lock)));
  Rgetlock response{.type = request.type,
                    .start = request.start,
                    .length = request.length,
                    .proc_id = request.proc_id,
                    .client_id = request.client_id};
  if (lock.l_type == F_UNLCK) {
    response.type = LockType::kUnlock;
    return response;
  }
  response.type = lock.l_type == F_WRLCK ? LockType::kWrite : LockType::kRead;
  response.start = static_cast<uint64_t>(lock.l_start);
  response.length = static_cast<uint64_t>(lock.l_len);
  response.proc_id = 0;  // a description of another fid or of another program: no one we could name
  response.client_id.clear();
  return response;
}

}  // namespace sandboxd::gofer
