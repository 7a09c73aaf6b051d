#include <fcntl.h>
#include <linux/capability.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include <bit>

#include "kernel/fs/pipe/pipe.h"
#include "kernel/vfs/caller.h"
#include "kernel/vfs/inode.h"
#include "kernel/vfs/mount.h"

namespace sandboxd::pipe {

namespace {

Pipe::End EndOf(int flags) {
  switch (flags & O_ACCMODE) {
    case O_RDONLY:
      return Pipe::End::kRead;
    case O_WRONLY:
      return Pipe::End::kWrite;
    default:
      return Pipe::End::kBoth;
  }
}

}  // namespace

PipeFile::PipeFile(vfs::Path path, int flags, Ref<Pipe> pipe)
    : File(std::move(path), flags), pipe_(std::move(pipe)), end_(EndOf(flags)) {
  seen_ = pipe_->opens();
  // A writer that is there already counts as seen only once it has gone.
  if (pipe_->kind() == Pipe::Kind::kPipe || pipe_->OtherEndSeen(end_, seen_)) {
    seen_ = {~uint64_t{0}, ~uint64_t{0}};
  }
  pipe_->AddEnd(end_);
}

PipeFile::~PipeFile() { pipe_->RemoveEnd(end_); }

Result<void> PipeFile::FinishOpen(vfs::Caller&) {
  if (nonblocking() || pipe_->OtherEndSeen(end_, seen_)) return Ok();
  return Errno::kEAGAIN;
}

Result<size_t> PipeFile::Read(vfs::Caller&, mm::IoSink& dst) { return pipe_->Read(dst); }

Result<size_t> PipeFile::Write(vfs::Caller&, mm::IoSource& src, const vfs::ReadWriteOptions&) {
  return pipe_->Write(src, (flags() & O_DIRECT) != 0);
}

Result<uint64_t> PipeFile::Ioctl(vfs::Caller& c, uint32_t command, uint64_t argument) {
  if (command != FIONREAD) return Errno::kENOTTY;
  TRY(c.memory().Write<int32_t>(UserAddr(argument), static_cast<int32_t>(pipe_->Available())));
  return uint64_t{0};
}

wait::EventMask PipeFile::Poll(wait::EventMask interest) {
  return pipe_->Poll(end_, seen_) & (interest | EPOLLERR | EPOLLHUP);
}

void PipeFile::AddWaiter(wait::WaitEntry& entry, wait::EventMask mask, bool exclusive) {
  pipe_->queue().Add(entry, mask, exclusive);
}

std::string PipeFile::Describe() const {
  // A fifo has a path of its own.
  if (pipe_->kind() == Pipe::Kind::kFifo) return "";
  return "pipe:[" + std::to_string(inode()->ino()) + "]";
}

Result<size_t> PipeFile::SetCapacity(vfs::Caller& c, uint64_t bytes) {
  if (bytes > (uint64_t{1} << 31)) return Errno::kEINVAL;
  size_t rounded = std::bit_ceil(std::max<size_t>(bytes, kPipeBuf));
  if (rounded > kMaxCapacity && rounded > Capacity() &&
      !c.credentials()->CapableInit(CAP_SYS_RESOURCE)) {
    return Errno::kEPERM;
  }
  TRY(pipe_->SetCapacity(rounded));
  return rounded;
}

Result<PipePair> CreatePipe(vfs::Vfs& vfs, vfs::Caller& c, int flags) {
  vfs::Path path = vfs.AnonymousPath("pipe", S_IFIFO | 0600);
  creds::CredRef creds = c.credentials();
  vfs::SetAttr owner;
  owner.uid = creds->fsuid;
  owner.gid = creds->fsgid;
  TRY(path.dentry->inode()->SetAttr(owner));
  Ref<Pipe> pipe = MakeRef<Pipe>(Pipe::Kind::kPipe);
  // What opens /proc/PID/fd/N finds the same pipe.
  path.dentry->inode()->SetAttachment(pipe);
  int status = flags & (O_NONBLOCK | O_DIRECT);
  Ref<vfs::File> read = MakeRef<PipeFile>(path, O_RDONLY | (status & O_NONBLOCK), pipe);
  Ref<vfs::File> write = MakeRef<PipeFile>(path, O_WRONLY | status, pipe);
  return PipePair{std::move(read), std::move(write)};
}

Result<Ref<vfs::File>> OpenFifo(vfs::Caller&, const vfs::Path& path, int flags) {
  Ref<RefCounted> slot = path.dentry->inode()->Attachment(
      [] { return Ref<RefCounted>(MakeRef<Pipe>(Pipe::Kind::kFifo)); });
  Ref<Pipe> pipe = StaticRefCast<Pipe>(std::move(slot));
  bool only_writes = (flags & O_ACCMODE) == O_WRONLY;
  bool must_wait = only_writes && pipe->kind() == Pipe::Kind::kFifo && !pipe->has_readers();
  if (must_wait && (flags & O_NONBLOCK) != 0) return Errno::kENXIO;
  return Ref<vfs::File>(MakeRef<PipeFile>(path, flags, std::move(pipe)));
}

}  // namespace sandboxd::pipe
