// File: an open file description (struct file): what an fd refers to; shared by dup and fork.
//
// Operations never block: one that can't go on returns EAGAIN, whatever O_NONBLOCK says, and the
// system call layer waits on Poll/AddWaiter and tries again (kernel/syscalls/blocking_io.h). A
// transfer that moved anything returns the count.
#pragma once

#include <atomic>
#include <functional>
#include <string>
#include <string_view>

#include "kernel/mm/io.h"
#include "kernel/mm/mappable.h"
#include "kernel/vfs/attr.h"
#include "kernel/vfs/path.h"
#include "kernel/wait/wait_queue.h"
#include "platform/base/mutex.h"
#include "platform/base/ref.h"
#include "platform/base/result.h"

namespace sandboxd::vfs {

class Caller;
class Inode;
class PipeEnd;  // what splice(2) sees of a pipe (pipe_end.h)

// What getdents(2) collects. Returns false when it has no room for the entry (which is then offered
// again next time).
struct DirEntry {
  std::string_view name;
  uint64_t ino = 0;
  uint8_t type = 0;         // DT_*
  int64_t next_offset = 0;  // lseek position behind this entry (d_off)
};
using DirSink = std::function<bool(const DirEntry&)>;

struct ReadWriteOptions {
  bool append = false;     // RWF_APPEND
  bool no_append = false;  // RWF_NOAPPEND
  bool sync = false;       // O_SYNC, RWF_SYNC
  bool data_sync = false;  // O_DSYNC, RWF_DSYNC
  // Out, optional: where the write ended. Set by an appending WriteAt, whose place the caller can't
  // know.
  int64_t* end = nullptr;
};

// Somebody who watches a file without holding it (epoll) and must let go when its last reference is
// dropped, before its destructor runs.
class LastReferenceHook {
 public:
  virtual void OnLastReference() = 0;

 protected:
  ~LastReferenceHook() = default;
};

// May a regular file be written at `offset`? The number of bytes of `count` that RLIMIT_FSIZE
// allows; EFBIG, with SIGXFSZ sent, if none (setrlimit(2)). For WriteAt of file systems.
Result<uint64_t> LimitWrite(Caller& c, int64_t offset, uint64_t count);

// May a file grow to `size` (truncate(2), fallocate(2))? EFBIG, with SIGXFSZ sent, if RLIMIT_FSIZE
// says no.
Result<void> LimitSize(Caller& c, uint64_t size);

class File : public RefCounted {
 public:
  const Path& path() const { return path_; }
  Inode* inode() const;  // never null: anonymous files have an inode on the internal file system
  // O_ACCMODE, O_APPEND, O_NONBLOCK, O_DIRECT, O_PATH, O_LARGEFILE… as F_GETFL reports.
  int flags() const { return flags_.load(std::memory_order_relaxed); }
  bool readable() const;
  bool writable() const;
  bool nonblocking() const;
  bool is_path_only() const;  // O_PATH
  // F_SETFL: O_APPEND, O_ASYNC, O_DIRECT, O_NOATIME, O_NONBLOCK only. A subclass may refuse.
  virtual Result<void> SetStatusFlags(int flags);

  // The waiting half of open(2): a fifo's EAGAIN until somebody holds its other end. The system
  // call layer waits on AddWaiter and asks again unless O_NONBLOCK (sys_open.cc). Everything else:
  // Ok.
  virtual Result<void> FinishOpen(Caller& c);

  // Is there a file position (lseek, pread)? If not, pread and lseek give ESPIPE.
  virtual bool seekable() const { return false; }

  // --- data. The caller has checked readable()/writable(). ---
  // At the file position, which moves by what was transferred. The default keeps the position
  // around ReadAt/WriteAt.
  virtual Result<size_t> Read(Caller& c, mm::IoSink& dst);
  virtual Result<size_t> Write(Caller& c, mm::IoSource& src, const ReadWriteOptions& options = {});
  // At an offset; ESPIPE unless seekable. Offset is ≥ 0.
  virtual Result<size_t> ReadAt(Caller& c, mm::IoSink& dst, int64_t offset);
  virtual Result<size_t> WriteAt(Caller& c, mm::IoSource& src, int64_t offset,
                                 const ReadWriteOptions& options = {});
  // lseek(2); `whence` may be SEEK_DATA or SEEK_HOLE.
  virtual Result<int64_t> Seek(Caller& c, int64_t offset, int whence);
  virtual Result<void> ReadDir(Caller& c, const DirSink& sink);                    // ENOTDIR
  virtual Result<uint64_t> Ioctl(Caller& c, uint32_t command, uint64_t argument);  // ENOTTY
  virtual Result<void> Truncate(Caller& c, uint64_t size);
  virtual Result<void> Allocate(Caller& c, int mode, int64_t offset,
                                int64_t length);  // fallocate(2)
  virtual Result<void> Sync(bool data_only);
  virtual Result<Attr> GetAttr();

  // What mmap(2) maps; ENODEV if nothing; null for fresh anonymous memory (/dev/zero).
  // `prot`/`flags` as of mmap.
  virtual Result<Ref<mm::Mappable>> Mmap(Caller& c, int prot, int flags);

  // --- readiness ---
  // Which of `interest` (and EPOLLERR, EPOLLHUP) hold now. Default: always readable and writable.
  virtual wait::EventMask Poll(wait::EventMask interest);
  // May this file be put into an epoll set (EPERM if not: regular files and directories)?
  virtual bool pollable() const { return false; }
  virtual void AddWaiter(wait::WaitEntry& entry, wait::EventMask mask, bool exclusive = false);

  // An fd of this file was closed by `c`. (The FdTable has dropped the POSIX locks.)
  virtual void OnFdClosed(Caller& c);

  // Does a blocking write(2) go on until everything is written? Pipes, stream sockets, terminals.
  virtual bool continues_writes() const { return false; }

  // Pipes and fifos: their end, for splice(2) and tee(2). Null for other files.
  virtual PipeEnd* pipe_end() { return nullptr; }

  // "pipe:[123]", "socket:[5]", "anon_inode:[eventfd]" for /proc/PID/fd; "" means the path.
  virtual std::string Describe() const { return ""; }
  // Extra lines of /proc/PID/fdinfo/N.
  virtual std::string FdInfo() const { return ""; }

  // Says which class this is, where one is looked for (FileAs below): RTTI is off.
  virtual const void* type_tag() const { return nullptr; }

  // The one hook of this file; owned and serialized by kernel/ipc's epoll. Set while the caller
  // holds a reference.
  void set_last_reference_hook(LastReferenceHook* hook) {
    last_reference_hook_.store(hook, std::memory_order_release);  // pairs with OnZeroReferences
  }
  LastReferenceHook* last_reference_hook() const {
    return last_reference_hook_.load(std::memory_order_acquire);
  }

  int64_t position() const { return position_.load(std::memory_order_relaxed); }

  // F_SETOWN and F_SETSIG: opaque to the vfs, used by O_ASYNC files.
  struct AsyncOwner {
    int type = 0;  // F_OWNER_*
    int32_t pid = 0;
    int signo = 0;
  };
  AsyncOwner async_owner() const;
  void set_async_owner(const AsyncOwner& owner);

 protected:
  // `flags` as open(2) got them; those that only concern opening are forgotten.
  File(Path path, int flags);
  ~File() override;  // drops the OFD and flock locks of this description

  // The position lock: held over a whole read or write at the position, user memory access
  // included, as Linux does (f_pos_lock; the stated exception to rule 23: nothing else is taken
  // under it by user memory access).
  Mutex position_mutex_{LockRank::kFileDescription};
  std::atomic<int64_t> position_{0};  // written under position_mutex_

 private:
  void OnZeroReferences() const override {
    if (LastReferenceHook* hook = last_reference_hook()) hook->OnLastReference();
    delete this;
  }

  const Path path_;
  std::atomic<LastReferenceHook*> last_reference_hook_{nullptr};
  std::atomic<int> flags_;  // relaxed: an independent word
  mutable Mutex async_mutex_{LockRank::kLeaf};
  AsyncOwner async_owner_ GUARDED_BY(async_mutex_);
};

// `file` as a T if it is one, else null. T has `static constexpr char kTypeTag` and returns its
// address from type_tag().
template <typename T>
T* FileAs(File& file) {
  return file.type_tag() == &T::kTypeTag ? static_cast<T*>(&file) : nullptr;
}

}  // namespace sandboxd::vfs
