// Signal numbers, sets, information and actions (signal(7), sigaction(2)).
#pragma once

#include <cstdint>
#include <deque>
#include <optional>

#include "platform/base/ref.h"
#include "platform/base/types.h"

namespace sandboxd::signal {

inline constexpr int kSignalCount = 64;
inline constexpr int kFirstRealtime = 32;

// Bit n-1 is signal n, as sigset_t of the system call ABI.
struct SigSet {
  uint64_t bits = 0;
  static constexpr SigSet Of(int signo) { return SigSet{uint64_t{1} << (signo - 1)}; }
  constexpr bool Has(int signo) const { return (bits >> (signo - 1)) & 1; }
  constexpr void Add(int signo) { bits |= Of(signo).bits; }
  constexpr void Remove(int signo) { bits &= ~Of(signo).bits; }
  constexpr bool empty() const { return bits == 0; }
  constexpr SigSet operator|(SigSet o) const { return {bits | o.bits}; }
  constexpr SigSet operator&(SigSet o) const { return {bits & o.bits}; }
  constexpr SigSet operator~() const { return {~bits}; }
  constexpr bool operator==(const SigSet&) const = default;
};
static_assert(sizeof(SigSet) == 8);

// siginfo_t as programs see it: 128 bytes. Fields beyond the header depend on code; use the
// accessors that fit.
struct SigInfo {
  int32_t signo = 0;
  int32_t error = 0;
  int32_t code = 0;
  int32_t pad = 0;
  union {
    uint8_t raw[112] = {};
    struct {
      int32_t pid;
      uint32_t uid;
      uint64_t value;  // sigqueue: sigval
    } kill;
    struct {
      int32_t timer_id;
      int32_t overrun;
      uint64_t value;
    } timer;
    struct {
      int32_t pid;
      uint32_t uid;
      int32_t status;
      int32_t pad;
      int64_t utime;
      int64_t stime;
    } child;
    struct {
      uint64_t addr;
      int16_t addr_lsb;
    } fault;
    struct {
      int64_t band;
      int32_t fd;
    } poll;
    struct {
      uint64_t call_addr;
      int32_t syscall;
      uint32_t arch;
    } sys;
  };

  static SigInfo Kernel(int signo);                                     // SI_KERNEL
  static SigInfo User(int signo, int code, int32_t pid, uint32_t uid);  // SI_USER, SI_TKILL
  static SigInfo Fault(int signo, int code, UserAddr addr);
};
static_assert(sizeof(SigInfo) == 128);

// struct sigaction of the x86-64 kernel ABI (not the C library's).
struct SigAction {
  uint64_t handler = 0;  // SIG_DFL 0, SIG_IGN 1, or an address
  uint64_t flags = 0;    // SA_*
  uint64_t restorer = 0;
  SigSet mask;
  bool is_default() const { return handler == 0; }
  bool is_ignore() const { return handler == 1; }
};
static_assert(sizeof(SigAction) == 32);

enum class DefaultAction : uint8_t { kTerminate, kCore, kIgnore, kStop, kContinue };
DefaultAction DefaultActionOf(int signo);
const char* SignalName(int signo);  // "SIGTERM", "SIGRTMIN+3", "SIG?"

// SIGKILL and SIGSTOP.
inline constexpr SigSet kUnblockable{(uint64_t{1} << 8) | (uint64_t{1} << 18)};

// Pending signals of a task or a group. Not thread-safe: guarded by the group's signal mutex.
class PendingSignals {
 public:
  SigSet set() const { return set_; }
  enum class AddResult : uint8_t {
    kQueued,
    kAlreadyPending,  // a standard signal is pending at most once
    kFull,            // a real-time signal over `limit` (RLIMIT_SIGPENDING): EAGAIN for sigqueue
  };
  // A standard signal is never refused for `limit`, nor is what kill(2) sends (SI_USER).
  AddResult Add(const SigInfo& info, uint64_t limit);
  // Takes the next signal outside `blocked`: synchronous ones first, then the lowest number, oldest
  // first.
  std::optional<SigInfo> Take(SigSet blocked);
  std::optional<SigInfo> TakeOneOf(SigSet wanted) { return Take(~wanted); }
  void Discard(SigSet which);
  // Is the signal of this POSIX timer (SI_TIMER) in the queue?
  bool HasTimer(int32_t timer_id) const;
  size_t size() const { return queue_.size(); }

 private:
  std::deque<SigInfo> queue_;
  SigSet set_;
};

}  // namespace sandboxd::signal
