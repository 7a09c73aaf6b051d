#include "platform/systrap/patcher.h"

#include <linux/membarrier.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cstring>

#include "platform/systrap/systrap_context.h"

namespace sandboxd::platform::systrap {
namespace {

// A patch costs as much as some traps do: most sites of a short program are used once or twice.
constexpr uint32_t kTrapsToPatch = 3;
constexpr uint32_t kNever = ~uint32_t{0};
constexpr size_t kMaxTrampolines = 8192;  // in one address space
constexpr size_t kMaxSitesSeen = 65536;
constexpr std::byte kBreakpoint{0xcc};
// How far from its site a trampoline lies if it can lie anywhere: what surrounds the code is left
// to the application.
constexpr uint64_t kDistance = uint64_t{64} << 20;

AddrRange PagesOf(AddrRange bytes) {
  return {UserAddr(PageRoundDown(bytes.start.value)), UserAddr(*PageRoundUp(bytes.end.value))};
}

}  // namespace

std::optional<int> Patcher::ProtectionOf(AddrRange range) const {
  auto it = text_.upper_bound(range.start);
  if (it == text_.begin()) return std::nullopt;
  --it;
  if (it->second.end < range.end) return std::nullopt;
  return it->second.prot;
}

void Patcher::Trapped(SystrapContext& by, UserAddr syscall, uint64_t number, RoomKeeper* keeper,
                      bool alone) {
  if (keeper == nullptr || syscall.value < kBytesBefore) return;
  const AddrRange code{syscall - kBytesBefore, syscall + kBytesFrom};
  {
    MutexLock lock(mutex_);
    if (disabled_ || !ProtectionOf(code)) return;
    if (traps_.size() >= kMaxSitesSeen) return;
    uint32_t& traps = traps_[syscall.value];
    if (traps == kNever || ++traps < kTrapsToPatch) return;
    traps = kNever;
    if (trampolines_.size() >= kMaxTrampolines) return;
  }
  const std::optional<CallSite> call = Examine(by, syscall, number);
  if (!call) return;
  std::optional<UserAddr> room;
  {
    MutexLock lock(mutex_);
    room = FindRoom(*call);
  }
  Result<UserAddr> page = Errno::kENOMEM;
  if (!room) {
    // The keeper has locks that come before ours.
    const AddrRange w = call->window;
    const UserAddr here = call->start();
    if (here + kDistance < w.end) {
      page = keeper->Reserve({std::max(w.start, here + kDistance), w.end});
    }
    if (!page.ok() && here.value > kDistance && w.start < here - kDistance) {
      page = keeper->Reserve({w.start, std::min(w.end, here - kDistance)});
    }
    if (!page.ok()) return;
  }
  MutexLock lock(mutex_);
  if (page.ok() && !AddPage(by, *page)) return;
  if (!room) room = FindRoom(*call);
  const std::optional<int> prot = ProtectionOf(code);
  if (!room || !prot || disabled_) return;
  if (!WriteTrampoline(by, *call, *room)) return;
  trampolines_[*room] = *call;
  sites_[call->start()] = {*call, *room};
  NoteBounds();
  if (!WriteCode(by, *call, MakeJump(*call, *room), *prot, alone)) {
    sites_.erase(call->start());
    NoteBounds();
  }
}

std::optional<CallSite> Patcher::Examine(SystrapContext& by, UserAddr syscall, uint64_t number) {
  std::byte code[kBytesBefore + kBytesFrom];
  if (by.CopyIn(syscall - kBytesBefore, code) != sizeof(code)) return std::nullopt;
  return FindCallSite(syscall, code, number);
}

std::optional<UserAddr> Patcher::FindRoomIn(Page& page, AddrRange window) {
  for (uint64_t i = 1; i < kPageSize / kTrampolineSize; i++) {
    const UserAddr at = page.at + i * kTrampolineSize;
    if ((page.used >> i & 1) != 0 || at < window.start || at >= window.end) continue;
    page.used |= uint64_t{1} << i;
    return at;
  }
  return std::nullopt;
}

std::optional<UserAddr> Patcher::FindRoom(const CallSite& call) {
  // One that it had before.
  for (const auto& [at, known] : trampolines_) {
    if (known.syscall == call.syscall && known.size == call.size &&
        known.displaced == call.displaced) {
      return at;
    }
  }
  for (Page& page : pages_) {
    if (auto at = FindRoomIn(page, call.window)) return at;
  }
  return std::nullopt;
}

bool Patcher::AddPage(SystrapContext& by, UserAddr at) {
  auto mapped = by.RunHostCall(
      SYS_mmap, {at.value, kPageSize, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, ~uint64_t{0}, 0});
  if (!mapped.ok() || *mapped != at.value) return false;
  if (by.WriteStub(at.value, AsBytes(entry_.value)) &&
      by.RunHostCall(SYS_mprotect, {at.value, kPageSize, PROT_READ | PROT_EXEC, 0, 0, 0}).ok()) {
    pages_.push_back({at});
    return true;
  }
  return false;
}

// Nobody is in that part of the page, but others may be elsewhere in it.
bool Patcher::WriteTrampoline(SystrapContext& by, const CallSite& call, UserAddr at) {
  const uint64_t page = PageRoundDown(at.value);
  const auto code = MakeTrampoline(call, at, UserAddr(page));
  constexpr uint64_t kAll = PROT_READ | PROT_WRITE | PROT_EXEC;
  return by.RunHostCall(SYS_mprotect, {page, kPageSize, kAll, 0, 0, 0}).ok() &&
         by.WriteStub(at.value, code) &&
         by.RunHostCall(SYS_mprotect, {page, kPageSize, PROT_READ | PROT_EXEC, 0, 0, 0}).ok();
}

// What all threads of the address space have fetched before is forgotten (membarrier(2)).
bool Patcher::Synchronize(SystrapContext& by) {
  const std::array<uint64_t, 6> sync{MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE};
  if (by.RunHostCall(SYS_membarrier, sync).ok()) return true;
  return by.RunHostCall(SYS_membarrier, {MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE})
             .ok() &&
         by.RunHostCall(SYS_membarrier, sync).ok();
}

// SAFETY: other threads may be running through the bytes. The order for that (Intel SDM volume 3,
// 9.1.3; AMD APM volume 2, 7.6.1): a breakpoint in place of the first byte, one byte and so
// indivisible; when every processor is sure to see it, the rest; when they see that, the first
// byte. Who meets the breakpoint waits for us (IsOurBreakpoint) and tries again. Nobody can be
// between the bytes: they are one instruction before and a part of one, or a jump, after.
bool Patcher::WriteCode(SystrapContext& by, const CallSite& call, ConstBytes bytes, int prot,
                        bool alone) {
  const uint64_t at = call.start().value;
  const AddrRange pages = PagesOf({call.start(), call.start() + bytes.size()});
  constexpr uint64_t kAll = PROT_READ | PROT_WRITE | PROT_EXEC;
  if (!alone && !Synchronize(by)) return false;
  if (!by.RunHostCall(SYS_mprotect, {pages.start.value, pages.length(), kAll, 0, 0, 0}).ok()) {
    return false;
  }
  bool done;
  if (alone) {
    done = by.WriteStub(at, bytes);
  } else {
    done = by.WriteStub(at, {&kBreakpoint, 1}) && Synchronize(by) &&
           by.WriteStub(at + 1, bytes.subspan(1)) && Synchronize(by) &&
           by.WriteStub(at, bytes.first(1));
  }
  const auto back = static_cast<uint64_t>(prot);
  return by.RunHostCall(SYS_mprotect, {pages.start.value, pages.length(), back, 0, 0, 0}).ok() &&
         done;
}

std::optional<Patcher::Place> Patcher::PlaceInTrampoline(UserAddr ip) const {
  MutexLock lock(mutex_);
  auto it = trampolines_.upper_bound(ip);
  if (it == trampolines_.begin()) return std::nullopt;
  --it;
  if (ip >= it->first + kTrampolineSize) return std::nullopt;
  if (ip == it->first) return Place{it->second.start(), true};
  return Place{it->second.syscall, false};
}

bool Patcher::IsOurBreakpoint(SystrapContext& by, UserAddr at) {
  MutexLock lock(mutex_);  // who is patching is done then
  const bool known = std::any_of(trampolines_.begin(), trampolines_.end(),
                                 [&](const auto& t) { return t.second.start() == at; });
  std::byte now;
  return known && by.ReadStub(at.value, {&now, 1}) && now != kBreakpoint;
}

void Patcher::Restore(SystrapContext& by, AddrRange range, bool alone) {
  for (auto it = sites_.begin(); it != sites_.end();) {
    const CallSite& call = it->second.call;
    if (!range.Overlaps({call.start(), call.end()})) {
      ++it;
      continue;
    }
    const size_t size = std::min<size_t>(kJumpSize, call.size);
    const auto prot = ProtectionOf({call.start(), call.end()});
    if (prot) (void)WriteCode(by, call, ConstBytes(call.displaced).first(size), *prot, alone);
    traps_.erase(call.syscall.value);
    it = sites_.erase(it);
  }
  NoteBounds();
}

bool Patcher::HasText(AddrRange range) const {
  auto it = text_.lower_bound(range.end);
  return it != text_.begin() && std::prev(it)->second.end > range.start;
}

void Patcher::Forget(AddrRange range) {
  if (!HasText(range)) return;
  auto it = text_.upper_bound(range.start);
  if (it != text_.begin()) --it;
  while (it != text_.end() && it->first < range.end) {
    const UserAddr start = it->first;
    const Text text = it->second;
    if (text.end <= range.start) {
      ++it;
      continue;
    }
    it = text_.erase(it);
    if (start < range.start) text_[start] = {range.start, text.prot};
    if (text.end > range.end) text_[range.end] = text;
  }
  std::erase_if(sites_, [&](const auto& s) {
    return range.Overlaps({s.second.call.start(), s.second.call.end()});
  });
  std::erase_if(traps_, [&](const auto& t) {
    return UserAddr(t.first) >= range.start && UserAddr(t.first) < range.end;
  });
  NoteBounds();
}

void Patcher::BeforeChange(SystrapContext& by, AddrRange range, bool alone) {
  MutexLock lock(mutex_);
  if (!HasText(range)) return;
  Restore(by, range, alone);
  Forget(range);
}

void Patcher::Mapped(AddrRange range, std::optional<int> text) {
  MutexLock lock(mutex_);
  Forget(range);
  if (text && !disabled_) text_[range.start] = {range.end, *text};
}

void Patcher::Disable(SystrapContext& by, bool alone) {
  MutexLock lock(mutex_);
  if (disabled_) return;
  disabled_ = true;
  Restore(by, {UserAddr(0), kApplicationEnd}, alone);
  text_.clear();
}

std::vector<AddrRange> Patcher::WithoutTrampolines(AddrRange range) const {
  MutexLock lock(mutex_);
  std::vector<UserAddr> holes;
  for (const Page& page : pages_) {
    if (range.Overlaps({page.at, page.at + kPageSize})) holes.push_back(page.at);
  }
  std::sort(holes.begin(), holes.end());
  std::vector<AddrRange> parts;
  for (UserAddr hole : holes) {
    if (range.start < hole) parts.push_back({range.start, hole});
    range.start = hole + kPageSize;
  }
  if (range.start < range.end) parts.push_back(range);
  return parts;
}

bool Patcher::HasTrampolines(AddrRange range) const {
  MutexLock lock(mutex_);
  return std::any_of(pages_.begin(), pages_.end(), [&](const Page& page) {
    return range.Overlaps({page.at, page.at + kPageSize});
  });
}

void Patcher::NoteBounds() {
  const bool none = sites_.empty();
  // Relaxed: who reads code while it is being patched may see it either way.
  first_.store(none ? ~uint64_t{0} : sites_.begin()->first.value, std::memory_order_relaxed);
  last_.store(none ? 0 : (sites_.rbegin()->first + kPageSize).value, std::memory_order_relaxed);
}

void Patcher::Repair(UserAddr from, Bytes copy) const {
  const uint64_t end = from.value + copy.size();
  if (end <= first_.load(std::memory_order_relaxed) ||
      from.value >= last_.load(std::memory_order_relaxed)) {
    return;
  }
  MutexLock lock(mutex_);
  auto it = sites_.lower_bound(UserAddr(from.value - std::min<uint64_t>(from.value, kJumpSize)));
  for (; it != sites_.end() && it->first.value < end; ++it) {
    const CallSite& call = it->second.call;
    const size_t size = std::min<size_t>(kJumpSize, call.size);
    for (size_t i = 0; i < size; i++) {
      const uint64_t at = it->first.value + i;
      if (at >= from.value && at < end) copy[at - from.value] = call.displaced[i];
    }
  }
}

std::unique_ptr<Patcher> Patcher::CopyLocked() const {
  auto copy = std::make_unique<Patcher>(entry_);
  // Nobody knows the copy yet.
  [&]() NO_THREAD_SAFETY_ANALYSIS {
    copy->disabled_ = disabled_;
    copy->text_ = text_;
    copy->traps_ = traps_;
    copy->sites_ = sites_;
    copy->trampolines_ = trampolines_;
    copy->pages_ = pages_;
    copy->NoteBounds();
  }();
  return copy;
}

}  // namespace sandboxd::platform::systrap
