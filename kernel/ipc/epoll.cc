#include "kernel/ipc/epoll.h"

#include <fcntl.h>

#include <algorithm>
#include <iterator>

#include "kernel/ipc/poll_file.h"
#include "platform/base/format.h"

namespace sandboxd::ipc {
namespace {

constexpr wait::EventMask kAlways = EPOLLERR | EPOLLHUP;
// What a registration listens to: everything; its own mask decides in OnEvent, where
// EPOLL_CTL_MOD can change it.
constexpr wait::EventMask kEverything = 0xffff;
// epoll_ctl(2): "EPOLLEXCLUSIVE: ... only these may be used with it".
constexpr uint32_t kExclusiveMay =
    EPOLLIN | EPOLLOUT | EPOLLERR | EPOLLHUP | EPOLLWAKEUP | EPOLLET | EPOLLEXCLUSIVE;
constexpr size_t kMaxNesting = 5;

Mutex& TreeMutex() {
  static Mutex mutex{LockRank::kEpollTree};
  return mutex;
}

std::vector<Epoll*> WithoutDuplicates(std::vector<Epoll*> sets) {
  std::ranges::sort(sets);
  sets.erase(std::unique(sets.begin(), sets.end()), sets.end());
  return sets;
}

}  // namespace

// One registration.
class Epoll::Item final : public RefCounted, public wait::WaitEntry {
 public:
  Item(Epoll& e, vfs::File& f, FdNum n, const EpollEvent& ev)
      : epoll(e), file(&f), fd(n), event(ev) {}

  wait::EventMask Mask() const {
    MutexLock lock(epoll.ready_mutex_);
    return event.events | kAlways;
  }
  // What of `file`'s state this registration wants to know.
  wait::EventMask PollFile(vfs::File& f) const { return ipc::PollFile(f, Mask()); }

  Epoll& epoll;     // detaches this before it goes
  vfs::File* file;  // epoll.mutex_; null once detached. Not held: see FileLinks
  const FdNum fd;
  // epoll.ready_mutex_:
  EpollEvent event;
  bool attached = true;
  bool spent = false;  // EPOLLONESHOT has fired
  bool queued_ready = false;
  std::list<Item*>::iterator place;  // if queued_ready

 protected:
  bool OnEvent(wait::EventMask events) override {
    if (!epoll.Enqueue(*this, events)) return false;
    bool somebody = !epoll.queue_.empty();
    epoll.queue_.Notify(EPOLLIN);
    return somebody;
  }
};

// The registrations of one file in all sets. Made by its first one, goes with the file: it must be
// there when the file drops its last reference.
class Epoll::FileLinks final : public vfs::LastReferenceHook {
 public:
  static FileLinks& Of(vfs::File& file) {  // tree mutex held
    auto* links = static_cast<FileLinks*>(file.last_reference_hook());
    if (links == nullptr) {
      links = new FileLinks;
      file.set_last_reference_hook(links);
    }
    return *links;
  }

  void OnLastReference() override {
    {
      MutexLock tree(TreeMutex());
      for (Item* item : std::vector<Item*>(items)) {
        MutexLock lock(item->epoll.mutex_);
        item->epoll.Detach(*item);
      }
    }
    delete this;
  }

  std::vector<Item*> items;  // tree mutex
};

Epoll::Epoll(vfs::Path path) : File(std::move(path), O_RDWR) {}

Epoll::~Epoll() {
  MutexLock tree(TreeMutex());
  MutexLock lock(mutex_);
  while (!items_.empty()) Detach(*items_.begin()->second);
}

void Epoll::Detach(Item& item) {
  mutex_.AssertHeld();
  Ref<Item> keep(&item);
  item.Leave();  // no OnEvent runs from here on
  auto& links = FileLinks::Of(*item.file).items;
  links.erase(std::find(links.begin(), links.end(), &item));
  {
    MutexLock lock(ready_mutex_);
    item.attached = false;
    if (item.queued_ready) ready_.erase(item.place);
    item.queued_ready = false;
  }
  items_.erase({item.file, item.fd.value});
  item.file = nullptr;
}

bool Epoll::Enqueue(Item& item, wait::EventMask events) {
  MutexLock lock(ready_mutex_);
  if (!item.attached || item.spent || item.queued_ready) return false;
  if ((events & (WithAliases(item.event.events) | kAlways)) == 0) return false;
  item.place = ready_.insert(ready_.end(), &item);
  item.queued_ready = true;
  return true;
}

void Epoll::PollNow(Item& item, vfs::File& file) {
  wait::EventMask ready = item.PollFile(file);
  if (ready != 0 && Enqueue(item, ready)) queue_.Notify(EPOLLIN);
}

std::vector<Epoll*> Epoll::SetsBelow() {
  std::vector<Epoll*> sets;
  MutexLock lock(mutex_);
  for (const auto& [key, item] : items_) {
    if (Epoll* set = vfs::FileAs<Epoll>(*key.first)) sets.push_back(set);
  }
  return sets;
}

std::vector<Epoll*> Epoll::SetsAbove() {
  std::vector<Epoll*> sets;
  auto* links = static_cast<FileLinks*>(last_reference_hook());
  if (links == nullptr) return sets;
  for (Item* item : links->items) sets.push_back(&item->epoll);
  return sets;
}

// Is `target` above us, or would the chain of sets through us and it be too long? Pointers stay
// valid under the tree mutex: a file that is registered anywhere waits for it before it goes.
Result<void> Epoll::CheckNesting(Epoll& target) {
  size_t length = 0;
  std::vector<Epoll*> level{&target};
  while (!level.empty()) {
    if (++length > kMaxNesting) return Errno::kELOOP;
    std::vector<Epoll*> next;
    for (Epoll* set : level) {
      if (set == this) return Errno::kELOOP;
      std::ranges::copy(set->SetsBelow(), std::back_inserter(next));
    }
    level = WithoutDuplicates(std::move(next));
  }
  level = {this};
  while (!level.empty()) {
    if (++length > kMaxNesting) return Errno::kELOOP;
    std::vector<Epoll*> next;
    for (Epoll* set : level) std::ranges::copy(set->SetsAbove(), std::back_inserter(next));
    level = WithoutDuplicates(std::move(next));
  }
  return Ok();
}

Result<void> Epoll::Add(const Ref<vfs::File>& file, FdNum fd, const EpollEvent& event) {
  if (!file->pollable()) return Errno::kEPERM;
  if (file.get() == this) return Errno::kEINVAL;
  auto* set = vfs::FileAs<Epoll>(*file);
  const bool exclusive = (event.events & EPOLLEXCLUSIVE) != 0;
  if (exclusive && (set != nullptr || (event.events & ~kExclusiveMay) != 0)) return Errno::kEINVAL;
  Ref<Item> item;
  {
    MutexLock tree(TreeMutex());
    if (set != nullptr) TRY(CheckNesting(*set));
    {
      MutexLock lock(mutex_);
      auto [place, is_new] = items_.try_emplace({file.get(), fd.value});
      if (!is_new) return Errno::kEEXIST;
      item = MakeRef<Item>(*this, *file, fd, event);
      place->second = item;
    }
    FileLinks::Of(*file).items.push_back(item.get());
    file->AddWaiter(*item, kEverything, exclusive);
  }
  PollNow(*item, *file);
  return Ok();
}

Result<void> Epoll::Modify(const Ref<vfs::File>& file, FdNum fd, const EpollEvent& event) {
  if (!file->pollable()) return Errno::kEPERM;
  if (file.get() == this || (event.events & EPOLLEXCLUSIVE) != 0) return Errno::kEINVAL;
  Ref<Item> item;
  {
    MutexLock lock(mutex_);
    auto found = items_.find({file.get(), fd.value});
    if (found == items_.end()) return Errno::kENOENT;
    item = found->second;
    MutexLock ready_lock(ready_mutex_);
    if ((item->event.events & EPOLLEXCLUSIVE) != 0) return Errno::kEINVAL;
    item->event = event;
    item->spent = false;
  }
  PollNow(*item, *file);
  return Ok();
}

Result<void> Epoll::Remove(const Ref<vfs::File>& file, FdNum fd) {
  if (!file->pollable()) return Errno::kEPERM;
  if (file.get() == this) return Errno::kEINVAL;
  MutexLock tree(TreeMutex());
  MutexLock lock(mutex_);
  auto found = items_.find({file.get(), fd.value});
  if (found == items_.end()) return Errno::kENOENT;
  Detach(*found->second);
  return Ok();
}

std::vector<Epoll::Candidate> Epoll::Candidates(Peek how) {
  std::vector<Candidate> out;
  MutexLock lock(mutex_);
  MutexLock ready_lock(ready_mutex_);
  out.reserve(ready_.size());
  for (Item* item : ready_) {
    if (how == Peek::kTake) item->queued_ready = false;
    // A file on its way out is about to detach the item.
    if (!item->file->TryIncRef()) continue;
    out.push_back({Ref<Item>(item), Ref<vfs::File>::Adopt(item->file)});
  }
  if (how == Peek::kTake) ready_.clear();
  return out;
}

std::vector<EpollEvent> Epoll::Collect(size_t max) {
  std::vector<EpollEvent> out;
  std::vector<Candidate> candidates = Candidates(Peek::kTake);
  if (candidates.empty()) return out;
  std::vector<Item*> again;  // level-triggered ones, which stay ready until a poll says otherwise
  size_t i = 0;
  for (; i < candidates.size() && out.size() < max; i++) {
    Item& item = *candidates[i].item;
    wait::EventMask ready = item.PollFile(*candidates[i].file);
    MutexLock lock(ready_mutex_);
    ready &= item.event.events | kAlways;
    if (ready == 0 || !item.attached || item.spent) continue;
    out.push_back({ready, item.event.data});
    if ((item.event.events & EPOLLONESHOT) != 0) {
      item.spent = true;
      if (item.queued_ready) ready_.erase(item.place);
      item.queued_ready = false;
    } else if ((item.event.events & EPOLLET) == 0) {
      again.push_back(&item);
    }
  }
  bool left = false;
  {
    MutexLock lock(ready_mutex_);
    auto requeue = [&](Item& item, std::list<Item*>::iterator before) REQUIRES(ready_mutex_) {
      if (!item.attached || item.spent || item.queued_ready) return;
      item.place = ready_.insert(before, &item);
      item.queued_ready = true;
    };
    // Those that found no room come first next time.
    for (size_t j = candidates.size(); j > i; j--) requeue(*candidates[j - 1].item, ready_.begin());
    for (Item* item : again) requeue(*item, ready_.end());
    left = !ready_.empty();
  }
  // Others may have looked while the list was ours.
  if (left) queue_.Notify(EPOLLIN);
  return out;
}

bool Epoll::MaybeReady() const {
  MutexLock lock(ready_mutex_);
  return !ready_.empty();
}

wait::EventMask Epoll::Poll(wait::EventMask interest) {
  if ((interest & EPOLLIN) == 0) return 0;
  for (const Candidate& c : Candidates(Peek::kLook)) {
    if (c.item->PollFile(*c.file) != 0) return EPOLLIN;
  }
  return 0;
}

void Epoll::AddWaiter(wait::WaitEntry& entry, wait::EventMask mask, bool exclusive) {
  queue_.Add(entry, mask, exclusive);
}

std::string Epoll::FdInfo() const {
  std::string text;
  MutexLock lock(mutex_);
  MutexLock ready_lock(ready_mutex_);
  for (const auto& [key, item] : items_) {
    text += StrFormat("tfd: %8d events: %8x data: %16llx\n", key.second, item->event.events,
                      static_cast<unsigned long long>(item->event.data));
  }
  return text;
}

}  // namespace sandboxd::ipc
