// The patched call sites of one address space (call_site_x86_64.h): which there are, where their
// trampolines lie, and the care that others don't notice.
//
// Only code that an application maps from a file, privately and never writable, is patched: there
// the bytes stay what they are until it asks for something else. Before it may write them, move
// them or see them go, the original bytes are back.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

#include "platform/address_space.h"
#include "platform/base/mutex.h"
#include "platform/systrap/call_site_x86_64.h"

namespace sandboxd::platform::systrap {

class SystrapContext;

class Patcher {
 public:
  // `entry`: where trampolines lead, in every stub.
  explicit Patcher(UserAddr entry) : entry_(entry) {}
  Patcher(const Patcher&) = delete;
  Patcher& operator=(const Patcher&) = delete;

  // A context has made a system call by a trap at `syscall`; after some of them the site is
  // patched. `alone`: no other thread can run in this address space. Holding no lock.
  void Trapped(SystrapContext& by, UserAddr syscall, uint64_t number, RoomKeeper* keeper,
               bool alone);

  // If `ip` is in a trampoline: where the application is. At `start`, if nothing has been carried
  // out; otherwise at the `syscall`, as the rest of the trampoline touches only rcx and r11.
  struct Place {
    UserAddr ip;
    bool at_start;
  };
  std::optional<Place> PlaceInTrampoline(UserAddr ip) const;
  // Whether a breakpoint at `at` is, or was, one of ours: the thread shall try again.
  bool IsOurBreakpoint(SystrapContext& by, UserAddr at);
  // For debuggers: takes all patches back, and makes no more, in copies neither.
  void Disable(SystrapContext& by, bool alone);

  // Before `range` is changed in another way than by Mapped or Unmapped: takes patches back.
  void BeforeChange(SystrapContext& by, AddrRange range, bool alone);
  // Something else will be at `range`. `text`: code that may be patched, with that protection.
  void Mapped(AddrRange range, std::optional<int> text);
  // The parts of `range` that aren't trampolines.
  std::vector<AddrRange> WithoutTrampolines(AddrRange range) const;
  bool HasTrampolines(AddrRange range) const;

  // Puts the original bytes into a copy of what is at `from`.
  void Repair(UserAddr from, Bytes copy) const;

  // Runs `fork`, which copies the address space, while nothing is being patched; then the patches
  // of the copy.
  template <typename Fork>
  std::unique_ptr<Patcher> CopyDuring(const Fork& fork) const {
    MutexLock lock(mutex_);
    if (!fork()) return nullptr;
    return CopyLocked();
  }

 private:
  struct Site {
    CallSite call;
    UserAddr trampoline;
  };
  struct Text {
    UserAddr end;
    int prot;
  };
  struct Page {
    UserAddr at;
    uint64_t used = 1;  // a bit each trampoline; the first place holds the address of the entry
  };

  std::unique_ptr<Patcher> CopyLocked() const REQUIRES(mutex_);
  std::optional<int> ProtectionOf(AddrRange range) const REQUIRES(mutex_);
  bool HasText(AddrRange range) const REQUIRES(mutex_);
  std::optional<CallSite> Examine(SystrapContext& by, UserAddr syscall, uint64_t number);
  std::optional<UserAddr> FindRoom(const CallSite& call) REQUIRES(mutex_);
  std::optional<UserAddr> FindRoomIn(Page& page, AddrRange window) REQUIRES(mutex_);
  bool AddPage(SystrapContext& by, UserAddr at) REQUIRES(mutex_);
  bool WriteTrampoline(SystrapContext& by, const CallSite& call, UserAddr at) REQUIRES(mutex_);
  // Replaces the first bytes of `call`'s instruction.
  bool WriteCode(SystrapContext& by, const CallSite& call, ConstBytes bytes, int prot, bool alone)
      REQUIRES(mutex_);
  bool Synchronize(SystrapContext& by) REQUIRES(mutex_);
  void Restore(SystrapContext& by, AddrRange range, bool alone) REQUIRES(mutex_);
  void Forget(AddrRange range) REQUIRES(mutex_);
  void NoteBounds() REQUIRES(mutex_);

  const UserAddr entry_;
  mutable Mutex mutex_{LockRank::kContext};
  bool disabled_ GUARDED_BY(mutex_) = false;
  std::map<UserAddr, Text> text_ GUARDED_BY(mutex_);                 // by start
  std::unordered_map<uint64_t, uint32_t> traps_ GUARDED_BY(mutex_);  // by address of `syscall`
  std::map<UserAddr, Site> sites_ GUARDED_BY(mutex_);                // patched, by start
  // Every one there ever was, by its address: a thread may still be in it.
  std::map<UserAddr, CallSite> trampolines_ GUARDED_BY(mutex_);
  std::vector<Page> pages_ GUARDED_BY(mutex_);
  // What sites_ spans, for a quick no. Written under mutex_; empty if first >= last.
  std::atomic<uint64_t> first_{~uint64_t{0}}, last_{0};
};

}  // namespace sandboxd::platform::systrap
