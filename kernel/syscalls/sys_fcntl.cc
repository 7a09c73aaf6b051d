// fcntl(2) and flock(2).
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/file.h>

#include "kernel/fs/pipe/pipe.h"
#include "kernel/syscalls/blocking_io.h"
#include "kernel/syscalls/families.h"
#include "kernel/vfs/file_locks.h"
#include "kernel/vfs/inode.h"

namespace sandboxd::syscalls {
namespace {

using vfs::FileLocks;
using vfs::LockOwner;
using vfs::LockRange;
using vfs::LockType;
using vfs::RecordLock;

// Waits until `attempt` is no longer refused by another's lock.
template <typename Attempt>
Result<void> WaitForLock(Task& t, FileLocks& locks, bool wait, Attempt&& attempt) {
  Result<void> first = attempt();
  if (!wait || !first.Is(Errno::kEAGAIN)) return first;
  wait::BlockerEntry entry(t);
  locks.queue().Add(entry, EPOLLIN);
  for (;;) {
    Result<void> result = attempt();
    if (!result.Is(Errno::kEAGAIN)) return result;
    TRY(t.Block({}));
  }
}

// --- record locks ---

Result<LockRange> RangeOf(vfs::File& file, const struct flock& l) {
  int64_t base = 0;
  switch (l.l_whence) {
    case SEEK_SET:
      break;
    case SEEK_CUR:
      base = file.position();
      break;
    case SEEK_END:
      base = static_cast<int64_t>(TRY(file.GetAttr()).size);
      break;
    default:
      return Errno::kEINVAL;
  }
  auto start = CheckedAdd<int64_t>(base, l.l_start);
  if (!start) return Errno::kEOVERFLOW;
  // fcntl(2): l_len 0 is to the end of the file, a negative one lies before l_start.
  if (l.l_len == 0)
    return *start < 0 ? Result<LockRange>(Errno::kEINVAL)
                      : Result<LockRange>(LockRange{*start, INT64_MAX});
  auto end = CheckedAdd<int64_t>(*start, l.l_len);
  if (!end) return Errno::kEOVERFLOW;
  LockRange range = l.l_len > 0 ? LockRange{*start, *end} : LockRange{*end, *start};
  if (range.start < 0) return Errno::kEINVAL;
  return range;
}

Result<RecordLock> ToRecordLock(Task& t, vfs::File& file, const struct flock& l, bool ofd) {
  RecordLock lock;
  lock.range = TRY(RangeOf(file, l));
  switch (l.l_type) {
    case F_RDLCK:
      lock.type = LockType::kRead;
      break;
    case F_WRLCK:
      lock.type = LockType::kWrite;
      break;
    case F_UNLCK:
      lock.type = LockType::kUnlock;
      break;
    default:
      return Errno::kEINVAL;
  }
  lock.owner = ofd ? LockOwner{LockOwner::Kind::kOfd, &file}
                   : LockOwner{LockOwner::Kind::kPosix, &t.files()};
  lock.pid = ofd ? -1 : t.tgid().value;
  return lock;
}

Result<void> GetLock(Task& t, vfs::File& file, UserAddr addr, bool ofd) {
  struct flock l = TRY(t.memory().Read<struct flock>(addr));
  if (ofd && l.l_pid != 0) return Errno::kEINVAL;
  if (l.l_type == F_UNLCK && !ofd) return Errno::kEINVAL;
  RecordLock wanted = TRY(ToRecordLock(t, file, l, ofd));
  auto held = file.inode()->locks().FindConflict(wanted);
  if (held) {
    l.l_type = held->type == LockType::kWrite ? F_WRLCK : F_RDLCK;
    l.l_whence = SEEK_SET;
    l.l_start = held->range.start;
    l.l_len = held->range.end == INT64_MAX ? 0 : held->range.end - held->range.start;
    l.l_pid = held->pid;
  } else {
    l.l_type = F_UNLCK;
  }
  return t.memory().Write(addr, l);
}

Result<void> SetLock(Task& t, vfs::File& file, UserAddr addr, bool ofd, bool wait) {
  struct flock l = TRY(t.memory().Read<struct flock>(addr));
  if (ofd && l.l_pid != 0) return Errno::kEINVAL;
  RecordLock lock = TRY(ToRecordLock(t, file, l, ofd));
  if (lock.type == LockType::kRead && !file.readable()) return Errno::kEBADF;
  if (lock.type == LockType::kWrite && !file.writable()) return Errno::kEBADF;
  FileLocks& locks = file.inode()->locks();
  const void* waiter = wait ? &t : nullptr;
  Result<void> result = WaitForLock(t, locks, wait, [&] { return locks.SetRecord(lock, waiter); });
  if (wait && !result.ok()) FileLocks::ForgetWait(waiter);
  return result;
}

// --- flags and owners ---

Result<void> SetFlags(Task& t, vfs::File& file, int flags) {
  if ((flags & O_NOATIME) != 0 && (file.flags() & O_NOATIME) == 0) {
    vfs::Attr attr = TRY(file.GetAttr());
    if (!vfs::OwnerOrCapable(*t.credentials(), attr.uid, attr.gid)) return Errno::kEPERM;
  }
  return file.SetStatusFlags(flags);
}

struct OwnerEx {  // struct f_owner_ex
  int32_t type;
  int32_t pid;
};
constexpr int kOwnerThread = 0, kOwnerProcess = 1, kOwnerGroup = 2;  // F_OWNER_*

// Is there such a thread, process or group? 0 stands for nobody.
bool OwnerExists(Task& t, OwnerEx owner) {
  if (owner.pid == 0) return true;
  const Ref<task::PidNamespace> ns = t.pid_ns();
  MutexLock lock(t.kernel().tree_mutex());
  const Tid id(owner.pid);
  switch (owner.type) {
    case kOwnerThread:
      return ns->FindTask(id) != nullptr;
    case kOwnerProcess:
      return ns->FindGroup(id) != nullptr;
    default:
      return ns->FindProcessGroup(id) != nullptr;
  }
}

Result<void> SetOwner(Task& t, vfs::File& file, OwnerEx owner) {
  if (owner.type < kOwnerThread || owner.type > kOwnerGroup) return Errno::kEINVAL;
  if (!OwnerExists(t, owner)) return Errno::kESRCH;
  vfs::File::AsyncOwner now = file.async_owner();
  now.type = owner.type;
  now.pid = owner.pid;
  file.set_async_owner(now);
  return Ok();
}

Result<uint64_t> OwnerCommand(Task& t, vfs::File& file, int command, uint64_t arg) {
  vfs::File::AsyncOwner owner = file.async_owner();
  switch (command) {
    case F_GETOWN:
      return static_cast<uint64_t>(
          static_cast<int64_t>(owner.type == kOwnerGroup ? -owner.pid : owner.pid));
    case F_SETOWN: {
      int32_t who = static_cast<int32_t>(arg);
      if (who == INT32_MIN) return Errno::kEINVAL;
      TRY(SetOwner(t, file, who < 0 ? OwnerEx{kOwnerGroup, -who} : OwnerEx{kOwnerProcess, who}));
      return uint64_t{0};
    }
    case F_GETOWN_EX:
      TRY(t.memory().Write(UserAddr(arg), OwnerEx{owner.type, owner.pid}));
      return uint64_t{0};
    case F_SETOWN_EX:
      TRY(SetOwner(t, file, TRY(t.memory().Read<OwnerEx>(UserAddr(arg)))));
      return uint64_t{0};
    case F_GETSIG:
      return static_cast<uint64_t>(owner.signo);
    default:  // F_SETSIG
      if (arg > 64) return Errno::kEINVAL;
      owner.signo = static_cast<int>(arg);
      file.set_async_owner(owner);
      return uint64_t{0};
  }
}

Result<uint64_t> DupCommand(Task& t, Ref<vfs::File> file, uint64_t from, bool cloexec) {
  int32_t first = static_cast<int32_t>(from);
  if (first < 0 || static_cast<uint64_t>(first) >= t.fd_limit()) return Errno::kEINVAL;
  FdNum fd = TRY(t.files().Install(std::move(file), cloexec, t.fd_limit(), FdNum(first)));
  return static_cast<uint64_t>(fd.value);
}

Result<uint64_t> LockCommand(Task& t, vfs::File& file, int command, UserAddr arg) {
  bool ofd = command == F_OFD_GETLK || command == F_OFD_SETLK || command == F_OFD_SETLKW;
  if (command == F_GETLK || command == F_OFD_GETLK) {
    TRY(GetLock(t, file, arg, ofd));
  } else {
    bool wait = command == F_SETLKW || command == F_OFD_SETLKW;
    TRY(SetLock(t, file, arg, ofd, wait));
  }
  return uint64_t{0};
}

Result<uint64_t> PipeCommand(Task& t, vfs::File& file, int command, uint64_t arg) {
  auto* end = vfs::FileAs<pipe::PipeFile>(file);
  if (end == nullptr) return Errno::kEBADF;
  if (command == F_GETPIPE_SZ) return uint64_t{end->Capacity()};
  return uint64_t{TRY(end->SetCapacity(t, static_cast<uint32_t>(arg)))};
}

Result<uint64_t> SealCommand(vfs::File& file, int command, uint64_t arg) {
  if (command == F_GET_SEALS) return static_cast<uint64_t>(TRY(file.inode()->GetSeals()));
  if (!file.writable()) return Errno::kEPERM;
  TRY(file.inode()->AddSeals(static_cast<int>(arg)));
  return uint64_t{0};
}

Result<uint64_t> SysFcntl(Task& t, FdNum fd, int32_t command, uint64_t arg) {
  Ref<vfs::File> file = TRY(t.files().Get(fd));
  switch (command) {
    case F_DUPFD:
    case F_DUPFD_CLOEXEC:
      return DupCommand(t, std::move(file), arg, command == F_DUPFD_CLOEXEC);
    case F_GETFD:
      return static_cast<uint64_t>(TRY(t.files().GetCloexec(fd)) ? FD_CLOEXEC : 0);
    case F_SETFD:
      TRY(t.files().SetCloexec(fd, (arg & FD_CLOEXEC) != 0));
      return uint64_t{0};
    case F_GETFL:
      return static_cast<uint64_t>(file->flags());
    default:
      break;
  }
  // open(2), O_PATH: everything else needs a real open.
  if (file->is_path_only()) return Errno::kEBADF;
  switch (command) {
    case F_SETFL:
      TRY(SetFlags(t, *file, static_cast<int>(arg)));
      return uint64_t{0};
    case F_GETLK:
    case F_SETLK:
    case F_SETLKW:
    case F_OFD_GETLK:
    case F_OFD_SETLK:
    case F_OFD_SETLKW:
      return LockCommand(t, *file, command, UserAddr(arg));
    case F_GETOWN:
    case F_SETOWN:
    case F_GETOWN_EX:
    case F_SETOWN_EX:
    case F_GETSIG:
    case F_SETSIG:
      return OwnerCommand(t, *file, command, arg);
    case F_GETPIPE_SZ:
    case F_SETPIPE_SZ:
      return PipeCommand(t, *file, command, arg);
    case F_ADD_SEALS:
    case F_GET_SEALS:
      return SealCommand(*file, command, arg);
    case F_GETLEASE:
      return uint64_t{F_UNLCK};
    case F_SETLEASE:
      // Nobody here breaks leases, so none is given: as if the file were open elsewhere.
      return Errno::kEAGAIN;
    default:
      return Errno::kEINVAL;
  }
}

Result<void> SysFlock(Task& t, FdNum fd, int32_t operation) {
  LockType type;
  switch (operation & ~LOCK_NB) {
    case LOCK_SH:
      type = LockType::kRead;
      break;
    case LOCK_EX:
      type = LockType::kWrite;
      break;
    case LOCK_UN:
      type = LockType::kUnlock;
      break;
    default:
      return Errno::kEINVAL;
  }
  Ref<vfs::File> file = TRY(t.files().GetForIo(fd));
  FileLocks& locks = file->inode()->locks();
  LockOwner owner{LockOwner::Kind::kFlock, file.get()};
  return WaitForLock(t, locks, (operation & LOCK_NB) == 0,
                     [&] { return locks.SetFlock(owner, type, t.tgid().value); });
}

constexpr Row kRows[] = {
    Partial<SysFcntl>(SYS_fcntl, "fcntl",
                      "F_SETLEASE is EAGAIN, F_NOTIFY EINVAL; F_SETOWN and O_ASYNC send no SIGIO"),
    Full<SysFlock>(SYS_flock, "flock"),
};

}  // namespace

std::span<const Row> FcntlRows() { return kRows; }

}  // namespace sandboxd::syscalls
