#include "kernel/fs/mqueue/mqueue.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <sys/stat.h>

#include "kernel/vfs/caller.h"
#include "kernel/vfs/mount.h"

namespace sandboxd::mqueue {

namespace {

constexpr int64_t kMagic = 0x19800202;  // MQUEUE_MAGIC
constexpr size_t kMaxName = 255;
// /proc/sys/fs/mqueue, and what CAP_SYS_RESOURCE may go up to (mq_overview(7)).
constexpr size_t kMaxQueues = 256;
constexpr int64_t kMaxMessages = 10, kMaxSize = 8192;
constexpr int64_t kHardMaxMessages = 65536, kHardMaxSize = 16 * 1024 * 1024;

tmpfs::Options RootOptions() {
  tmpfs::Options options;
  options.mode = 01777;
  return options;
}

Result<void> CheckName(std::string_view name) {
  if (name.empty()) return Errno::kENOENT;
  if (name.size() > kMaxName) return Errno::kENAMETOOLONG;
  if (name == "." || name == ".." || name.find('/') != std::string_view::npos) {
    return Errno::kEACCES;
  }
  return Ok();
}

Result<uint64_t> CheckLimits(const Limits& limits, bool privileged) {
  if (limits.messages <= 0 || limits.message_size <= 0) return Errno::kEINVAL;
  if (limits.messages > (privileged ? kHardMaxMessages : kMaxMessages) ||
      limits.message_size > (privileged ? kHardMaxSize : kMaxSize)) {
    return Errno::kEINVAL;
  }
  auto bytes = limits.Bytes();
  if (!bytes) return Errno::kEOVERFLOW;
  return *bytes;
}

}  // namespace

MqueueSuperblock::MqueueSuperblock(tmpfs::MemoryFiles& memory)
    : TmpfsSuperblock(MqueueType::kName, RootOptions(), memory) {}

Result<vfs::FsStat> MqueueSuperblock::StatFs() {
  vfs::FsStat s;
  s.type = kMagic;
  return s;
}

Result<Ref<tmpfs::TmpfsInode>> MqueueSuperblock::NewNamed(const vfs::NewNode& node) {
  if (!S_ISREG(node.mode)) return Errno::kEPERM;
  // mq_open(3) has asked already; a file made with creat(2) counts, but is never refused.
  {
    MutexLock lock(mutex_);
    bytes_[node.uid] += *Limits{}.Bytes();
    queues_++;
  }
  return Ref<tmpfs::TmpfsInode>(MakeRef<MessageQueue>(*this, node));
}

Result<void> MqueueSuperblock::Charge(vfs::KUid owner, uint64_t bytes, uint64_t limit,
                                      bool privileged) {
  MutexLock lock(mutex_);
  if (queues_ > kMaxQueues && !privileged) return Errno::kENOSPC;
  uint64_t& used = bytes_[owner];
  if (used > limit || bytes > limit - used) return Errno::kEMFILE;
  used += bytes;
  return Ok();
}

void MqueueSuperblock::Uncharge(vfs::KUid owner, uint64_t bytes) {
  MutexLock lock(mutex_);
  bytes_[owner] -= bytes;
}

void MqueueSuperblock::QueueGone(MessageQueue& queue, const Limits& limits) {
  MutexLock lock(mutex_);
  queues_--;
  auto used = bytes_.find(queue.creator());
  if (used == bytes_.end()) return;
  used->second -= limits.Bytes().value_or(0);
  if (used->second == 0) bytes_.erase(used);
}

MqueueType::MqueueType(vfs::Vfs& vfs, tmpfs::MemoryFiles& memory) : vfs_(vfs) {
  Ref<vfs::Superblock> superblock = MakeRef<MqueueSuperblock>(memory);
  mount_ = MUST(vfs.NewMount(std::move(superblock),
                             vfs::kMountNoSuid | vfs::kMountNoDev | vfs::kMountNoExec,
                             kName));  // never fails
}

Result<Ref<vfs::Superblock>> MqueueType::Mount(vfs::Caller&, std::string_view,
                                               std::string_view options) {
  if (!options.empty()) return Errno::kEINVAL;
  return mount_->superblock();
}

vfs::At MqueueType::InRoot() const {
  vfs::At at;
  at.start = vfs::Path(mount_, mount_->root());
  at.follow_last = false;
  return at;
}

Result<Ref<vfs::File>> MqueueType::Create(vfs::Caller& c, const std::string& name,
                                          const OpenRequest& request) {
  auto& fs = static_cast<MqueueSuperblock&>(*mount_->superblock());
  const creds::CredRef creds = c.credentials();
  const bool privileged = creds->CapableInit(CAP_SYS_RESOURCE);
  const Limits limits = request.limits.value_or(Limits());
  const uint64_t bytes = TRY(CheckLimits(limits, privileged));
  TRY(fs.Charge(creds->fsuid, bytes, request.max_bytes, privileged));
  auto file = vfs_.Open(c, name, InRoot(), {request.flags | O_EXCL, request.mode & 0777});
  // The queue itself was charged for the default limits when it was made; now it has its own.
  fs.Uncharge(creds->fsuid, file.ok() ? *Limits{}.Bytes() : bytes);
  if (file.ok()) static_cast<QueueFile&>(**file).messages().SetLimits(limits);
  return file;
}

Result<Ref<vfs::File>> MqueueType::OpenQueue(vfs::Caller& c, std::string_view name,
                                             const OpenRequest& request) {
  TRY(CheckName(name));
  if ((request.flags & O_ACCMODE) == O_ACCMODE) return Errno::kEINVAL;
  const std::string own_name(name);
  MutexLock lock(open_mutex_);
  auto found = vfs_.Resolve(c, own_name, InRoot());
  if (found.Is(Errno::kENOENT) && (request.flags & O_CREAT) != 0) {
    return Create(c, own_name, request);
  }
  if (!found.ok()) return found.error();
  if ((request.flags & (O_CREAT | O_EXCL)) == (O_CREAT | O_EXCL)) return Errno::kEEXIST;
  return vfs_.OpenPath(c, *found, request.flags & ~(O_CREAT | O_EXCL));
}

Result<void> MqueueType::Unlink(vfs::Caller& c, std::string_view name) {
  TRY(CheckName(name));
  return vfs_.Unlink(c, name, InRoot());
}

}  // namespace sandboxd::mqueue
