#include "kernel/signal/signal.h"

#include <signal.h>

#include <algorithm>
#include <string>

namespace sandboxd::signal {
namespace {

// Signals that an instruction raises; they are delivered before any other (signal(7)).
constexpr SigSet kSynchronous = SigSet::Of(SIGSEGV) | SigSet::Of(SIGBUS) | SigSet::Of(SIGILL) |
                                SigSet::Of(SIGTRAP) | SigSet::Of(SIGFPE) | SigSet::Of(SIGSYS);

}  // namespace

SigInfo SigInfo::Kernel(int signo) {
  SigInfo info;
  info.signo = signo;
  info.code = SI_KERNEL;
  return info;
}

SigInfo SigInfo::User(int signo, int code, int32_t pid, uint32_t uid) {
  SigInfo info;
  info.signo = signo;
  info.code = code;
  info.kill.pid = pid;
  info.kill.uid = uid;
  return info;
}

SigInfo SigInfo::Fault(int signo, int code, UserAddr addr) {
  SigInfo info;
  info.signo = signo;
  info.code = code;
  info.fault.addr = addr.value;
  return info;
}

DefaultAction DefaultActionOf(int signo) {
  switch (signo) {
    case SIGQUIT:
    case SIGILL:
    case SIGTRAP:
    case SIGABRT:
    case SIGBUS:
    case SIGFPE:
    case SIGSEGV:
    case SIGXCPU:
    case SIGXFSZ:
    case SIGSYS:
      return DefaultAction::kCore;
    case SIGCHLD:
    case SIGURG:
    case SIGWINCH:
      return DefaultAction::kIgnore;
    case SIGSTOP:
    case SIGTSTP:
    case SIGTTIN:
    case SIGTTOU:
      return DefaultAction::kStop;
    case SIGCONT:
      return DefaultAction::kContinue;
    default:
      return DefaultAction::kTerminate;
  }
}

const char* SignalName(int signo) {
  static constexpr const char* kNames[] = {
      "0",           "SIGHUP",      "SIGINT",      "SIGQUIT",     "SIGILL",      "SIGTRAP",
      "SIGABRT",     "SIGBUS",      "SIGFPE",      "SIGKILL",     "SIGUSR1",     "SIGSEGV",
      "SIGUSR2",     "SIGPIPE",     "SIGALRM",     "SIGTERM",     "SIGSTKFLT",   "SIGCHLD",
      "SIGCONT",     "SIGSTOP",     "SIGTSTP",     "SIGTTIN",     "SIGTTOU",     "SIGURG",
      "SIGXCPU",     "SIGXFSZ",     "SIGVTALRM",   "SIGPROF",     "SIGWINCH",    "SIGIO",
      "SIGPWR",      "SIGSYS",      "SIGRTMIN",    "SIGRTMIN+1",  "SIGRTMIN+2",  "SIGRTMIN+3",
      "SIGRTMIN+4",  "SIGRTMIN+5",  "SIGRTMIN+6",  "SIGRTMIN+7",  "SIGRTMIN+8",  "SIGRTMIN+9",
      "SIGRTMIN+10", "SIGRTMIN+11", "SIGRTMIN+12", "SIGRTMIN+13", "SIGRTMIN+14", "SIGRTMIN+15",
      "SIGRTMIN+16", "SIGRTMIN+17", "SIGRTMIN+18", "SIGRTMIN+19", "SIGRTMIN+20", "SIGRTMIN+21",
      "SIGRTMIN+22", "SIGRTMIN+23", "SIGRTMIN+24", "SIGRTMIN+25", "SIGRTMIN+26", "SIGRTMIN+27",
      "SIGRTMIN+28", "SIGRTMIN+29", "SIGRTMIN+30", "SIGRTMIN+31", "SIGRTMIN+32"};
  static_assert(sizeof(kNames) / sizeof(kNames[0]) == kSignalCount + 1);
  return signo >= 1 && signo <= kSignalCount ? kNames[signo] : "SIG?";
}

PendingSignals::AddResult PendingSignals::Add(const SigInfo& info, uint64_t limit) {
  if (info.signo < kFirstRealtime) {
    if (set_.Has(info.signo)) return AddResult::kAlreadyPending;
  } else if (queue_.size() >= limit) {
    if (info.code != SI_USER) return AddResult::kFull;
    if (set_.Has(info.signo)) return AddResult::kAlreadyPending;
  }
  queue_.push_back(info);
  set_.Add(info.signo);
  return AddResult::kQueued;
}

std::optional<SigInfo> PendingSignals::Take(SigSet blocked) {
  SigSet ready = set_ & ~blocked;
  if (ready.empty()) return std::nullopt;
  SigSet synchronous = ready & kSynchronous;
  int signo = __builtin_ctzll(synchronous.empty() ? ready.bits : synchronous.bits) + 1;
  auto it = std::find_if(queue_.begin(), queue_.end(),
                         [signo](const SigInfo& i) { return i.signo == signo; });
  SigInfo info = *it;
  queue_.erase(it);
  bool more = std::any_of(queue_.begin(), queue_.end(),
                          [signo](const SigInfo& i) { return i.signo == signo; });
  if (!more) set_.Remove(signo);
  return info;
}

bool PendingSignals::HasTimer(int32_t timer_id) const {
  return std::any_of(queue_.begin(), queue_.end(), [timer_id](const SigInfo& i) {
    return i.code == SI_TIMER && i.timer.timer_id == timer_id;
  });
}

void PendingSignals::Discard(SigSet which) {
  if ((set_ & which).empty()) return;
  std::erase_if(queue_, [which](const SigInfo& i) { return which.Has(i.signo); });
  set_ = set_ & ~which;
}

}  // namespace sandboxd::signal
