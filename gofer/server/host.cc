#include "gofer/server/host.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cerrno>
#include <climits>

namespace sandboxd::gofer {
namespace {

constexpr uint64_t kResolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS;

Result<UniqueFd> OpenBeneath(int dir, const char* name, uint64_t flags, uint64_t mode) {
  open_how how{};
  how.flags = flags | O_CLOEXEC | O_NOFOLLOW;
  how.mode = mode;
  how.resolve = kResolve;
  for (;;) {
    long fd = ::syscall(SYS_openat2, dir, name, &how, sizeof(how));
    // EAGAIN: something was renamed while the host resolved the name.
    if (fd < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    return WrapFd(static_cast<int>(fd));
  }
}

bool HasEffectiveCapability(int capability) {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2] = {};
  if (::syscall(SYS_capget, &header, data) != 0) return false;
  return (data[capability / 32].effective >> (capability % 32) & 1) != 0;
}

Time ToTime(const statx_timestamp& t) { return {static_cast<uint64_t>(t.tv_sec), t.tv_nsec}; }

QidType QidTypeOf(uint32_t mode) {
  if (S_ISDIR(mode)) return QidType::kDirectory;
  return S_ISLNK(mode) ? QidType::kSymlink : QidType::kFile;
}

}  // namespace

Errno LastError() { return FromHostErrno(errno); }

Result<void> CheckHost(int result) {
  if (result < 0) return LastError();
  return Ok();
}

uint64_t DeviceTable::QidPath(uint64_t dev, uint64_t ino) {
  MutexLock lock(mutex_);
  uint64_t index = index_.try_emplace(dev, index_.size()).first->second;
  return ino ^ (index << 48);
}

Host::Host(SelfFds::Where where)
    : self_fds_(where), can_chown_(HasEffectiveCapability(CAP_CHOWN)) {}

Result<void> Host::CheckName(std::string_view name) {
  if (name.empty() || name == "." || name == "..") return Errno::kEINVAL;
  if (name.find('/') != name.npos || name.find('\0') != name.npos) return Errno::kEINVAL;
  if (name.size() > NAME_MAX) return Errno::kENAMETOOLONG;
  return Ok();
}

Result<UniqueFd> Host::WalkOne(int dir, const std::string& name) const {
  TRY(CheckName(name));
  return OpenBeneath(dir, name.c_str(), O_PATH, 0);
}

Result<UniqueFd> Host::Create(int dir, const std::string& name, uint32_t flags,
                              uint32_t mode) const {
  mode &= 07777;
  if ((flags & O_TMPFILE) == O_TMPFILE) return OpenBeneath(dir, ".", flags, mode);
  TRY(CheckName(name));
  return OpenBeneath(dir, name.c_str(), flags | O_CREAT, mode);
}

Result<UniqueFd> Host::Reopen(int fd, uint32_t flags) const {
  std::string path = self_fds_.PathOf(fd);
  for (;;) {
    int opened = ::openat(AT_FDCWD, path.c_str(), static_cast<int>(flags | O_CLOEXEC | O_NOCTTY));
    if (opened < 0 && errno == EINTR) continue;
    return WrapFd(opened);
  }
}

Result<Stat> Host::StatOf(int fd) const { return StatAt(fd, "", AT_EMPTY_PATH); }

Result<Stat> Host::StatEntry(int dir, const char* name) const {
  return StatAt(dir, name, AT_NO_AUTOMOUNT);
}

Result<Stat> Host::StatAt(int dir, const char* name, int flags) const {
  struct statx x;
  TRY(CheckHost(
      ::statx(dir, name, flags | AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS | STATX_BTIME, &x)));
  Stat stat;
  stat.dev = makedev(x.stx_dev_major, x.stx_dev_minor);
  stat.ino = x.stx_ino;
  stat.qid.type = QidTypeOf(x.stx_mode);
  stat.qid.path = devices_.QidPath(stat.dev, stat.ino);
  stat.qid.version = static_cast<uint32_t>(x.stx_mtime.tv_sec) ^ (x.stx_mtime.tv_nsec << 2);
  stat.attr = {.mode = x.stx_mode,
               .uid = x.stx_uid,
               .gid = x.stx_gid,
               .nlink = x.stx_nlink,
               .rdev = makedev(x.stx_rdev_major, x.stx_rdev_minor),
               .size = x.stx_size,
               .blksize = x.stx_blksize,
               .blocks = x.stx_blocks,
               .atime = ToTime(x.stx_atime),
               .mtime = ToTime(x.stx_mtime),
               .ctime = ToTime(x.stx_ctime),
               .btime = ToTime(x.stx_btime)};
  return stat;
}

Result<void> Host::SetOwner(int fd, uint32_t uid, uint32_t gid, uint32_t mode) const {
  Result<void> owned = CheckHost(::fchownat(fd, "", uid, gid, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW));
  // EINVAL: an id that does not exist in our user namespace.
  if (!owned.ok() && can_chown_ && !owned.Is(Errno::kEINVAL)) return owned;
  if ((mode & (S_ISUID | S_ISGID | S_ISVTX)) == 0 || S_ISLNK(mode)) return Ok();
  return CheckHost(::fchmodat(AT_FDCWD, self_fds_.PathOf(fd).c_str(), mode & 07777, 0));
}

}  // namespace sandboxd::gofer
