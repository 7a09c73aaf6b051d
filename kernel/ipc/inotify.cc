#include "kernel/ipc/inotify.h"

#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>

#include "kernel/vfs/caller.h"
#include "platform/base/format.h"

namespace sandboxd::ipc {

namespace {

// /proc/sys/fs/inotify.
constexpr size_t kMaxEvents = 16384, kMaxWatches = 65536;
constexpr int kMaxInstances = 128;
// What a watch's mask may not ask for but gets told anyway, and what only says how to add it.
constexpr uint32_t kAlways = IN_IGNORED | IN_UNMOUNT | IN_Q_OVERFLOW;

// One sandbox kernel is one process: instances of each user.
Mutex g_instances_mutex{LockRank::kLeaf};
std::map<vfs::KUid, int> g_instances GUARDED_BY(g_instances_mutex);

}  // namespace

InotifyWatch::InotifyWatch(Ref<InotifyQueue> queue, Ref<vfs::Inode> inode, int32_t wd,
                           uint32_t mask)
    : InodeWatch(std::move(inode)), queue_(std::move(queue)), wd_(wd), mask_(mask) {}

InotifyWatch::~InotifyWatch() = default;

void InotifyWatch::OnEvent(const vfs::WatchEvent& event) {
  const uint32_t mask = this->mask();
  if ((event.mask & mask & IN_ALL_EVENTS) == 0) return;
  if (event.unlinked && (mask & IN_EXCL_UNLINK) != 0) return;
  if ((mask & IN_ONESHOT) != 0 && used_.exchange(true, std::memory_order_relaxed)) return;
  queue_->Add({wd_, event.mask, event.cookie, std::string(event.name)});
  if ((mask & IN_ONESHOT) != 0 && vfs::RemoveWatch(*this)) queue_->Forget(wd_);
}

void InotifyWatch::OnInodeGone() { queue_->Forget(wd_); }

// inotify(7): "the name is null-terminated, and may include further null bytes to align subsequent
// reads to a suitable address boundary".
size_t InotifyQueue::Event::size() const {
  constexpr size_t kUnit = sizeof(inotify_event);
  const size_t padded = name.empty() ? 0 : (name.size() + 1 + kUnit - 1) / kUnit * kUnit;
  return kUnit + padded;
}

void InotifyQueue::Add(Event event) {
  {
    MutexLock lock(mutex_);
    if (!events_.empty() && events_.back() == event) return;
    if (events_.size() >= kMaxEvents) {
      if (events_.back().mask == IN_Q_OVERFLOW) return;
      event = {-1, IN_Q_OVERFLOW, 0, ""};
    }
    events_.push_back(std::move(event));
  }
  queue_.Notify(EPOLLIN);
}

void InotifyQueue::Forget(int32_t wd) {
  Ref<InotifyWatch> gone;
  {
    MutexLock lock(mutex_);
    auto found = watches_.find(wd);
    if (found == watches_.end()) return;
    gone = std::move(found->second);
    watches_.erase(found);
  }
  Add({wd, IN_IGNORED, 0, ""});
}

Result<int32_t> InotifyQueue::Watch(const Ref<InotifyQueue>& self, const Ref<vfs::Inode>& inode,
                                    uint32_t mask) {
  const uint32_t kept = mask & (IN_ALL_EVENTS | IN_ONESHOT | IN_EXCL_UNLINK | kAlways);
  Ref<InotifyWatch> watch;
  {
    MutexLock lock(mutex_);
    for (auto& [wd, old] : watches_) {
      if (old->inode() != inode) continue;
      if ((mask & IN_MASK_CREATE) != 0) return Errno::kEEXIST;
      old->set_mask((mask & IN_MASK_ADD) != 0 ? old->mask() | kept : kept);
      return wd;
    }
    if (watches_.size() >= kMaxWatches) return Errno::kENOSPC;
    watch = MakeRef<InotifyWatch>(self, inode, next_wd_++, kept);
    watches_[watch->wd()] = watch;
  }
  vfs::AddWatch(watch);
  return watch->wd();
}

Result<void> InotifyQueue::Remove(int32_t wd) {
  Ref<InotifyWatch> watch;
  {
    MutexLock lock(mutex_);
    auto found = watches_.find(wd);
    if (found == watches_.end()) return Errno::kEINVAL;
    watch = found->second;
  }
  if (!vfs::RemoveWatch(*watch)) return Errno::kEINVAL;  // somebody was faster
  Forget(wd);
  return Ok();
}

void InotifyQueue::RemoveAll() {
  std::map<int32_t, Ref<InotifyWatch>> gone;
  {
    MutexLock lock(mutex_);
    gone.swap(watches_);
  }
  for (auto& [wd, watch] : gone) vfs::RemoveWatch(*watch);
}

Result<std::vector<InotifyQueue::Event>> InotifyQueue::Take(size_t room) {
  std::vector<Event> taken;
  MutexLock lock(mutex_);
  if (events_.empty()) return Errno::kEAGAIN;
  while (!events_.empty() && events_.front().size() <= room) {
    room -= events_.front().size();
    taken.push_back(std::move(events_.front()));
    events_.pop_front();
  }
  if (taken.empty()) return Errno::kEINVAL;
  return taken;
}

size_t InotifyQueue::bytes() const {
  MutexLock lock(mutex_);
  size_t sum = 0;
  for (const Event& event : events_) sum += event.size();
  return sum;
}

bool InotifyQueue::empty() const {
  MutexLock lock(mutex_);
  return events_.empty();
}

std::string InotifyQueue::Describe() const {
  MutexLock lock(mutex_);
  std::string text;
  for (const auto& [wd, watch] : watches_) {
    text +=
        StrFormat("inotify wd:%x ino:%llx sdev:%llx mask:%x ignored_mask:0\n", wd,
                  static_cast<unsigned long long>(watch->inode()->ino()),
                  static_cast<unsigned long long>(watch->inode()->superblock().device().Encode()),
                  watch->mask());
  }
  return text;
}

Result<Ref<Inotify>> Inotify::Create(vfs::Path path, int flags, vfs::KUid owner) {
  {
    MutexLock lock(g_instances_mutex);
    int& count = g_instances[owner];
    if (count >= kMaxInstances) return Errno::kEMFILE;
    count++;
  }
  return MakeRef<Inotify>(std::move(path), flags, owner);
}

Inotify::~Inotify() {
  events_->RemoveAll();
  MutexLock lock(g_instances_mutex);
  g_instances[owner_]--;
}

Result<size_t> Inotify::Read(vfs::Caller&, mm::IoSink& dst) {
  std::string out;
  for (const InotifyQueue::Event& event : TRY(events_->Take(dst.remaining()))) {
    inotify_event header = {};
    header.wd = event.wd;
    header.mask = event.mask;
    header.cookie = event.cookie;
    header.len = static_cast<uint32_t>(event.size() - sizeof(header));
    const size_t at = out.size();
    out.append(reinterpret_cast<const char*>(&header), sizeof(header));
    out += event.name;
    out.resize(at + event.size());
  }
  if (TRY(dst.Put(std::as_bytes(std::span(out)))) != out.size()) return Errno::kEFAULT;
  return out.size();
}

Result<uint64_t> Inotify::Ioctl(vfs::Caller& c, uint32_t command, uint64_t argument) {
  if (command != FIONREAD) return Errno::kENOTTY;
  TRY(c.memory().Write(UserAddr(argument), static_cast<int32_t>(events_->bytes())));
  return uint64_t{0};
}

wait::EventMask Inotify::Poll(wait::EventMask interest) {
  return (events_->empty() ? 0u : uint32_t{EPOLLIN}) & interest;
}

}  // namespace sandboxd::ipc
