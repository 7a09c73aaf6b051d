// What a tracer reads and writes of a stopped task: registers, signal state, memory (ptrace(2)).
#include <algorithm>
#include <cstring>

#include "kernel/task/ptrace.h"
#include "platform/arch/xstate.h"

namespace sandboxd::task {
namespace {

// The bits of eflags that a tracer may set: those of user code, and TF not among them, which is
// ours.
constexpr uint64_t kUserFlags = 0x244cd5 | 0x10000;  // CF PF AF ZF SF DF OF NT RF AC ID
// Where Linux writes the features of an XSAVE area for debuggers (struct xstate's sw bytes).
constexpr size_t kXstateFeaturesOffset = 464;

bool SameSegments(const arch::Registers& a, const arch::Registers& b) {
  return a.cs == b.cs && a.ss == b.ss && a.ds == b.ds && a.es == b.es && a.fs == b.fs &&
         a.gs == b.gs;
}

}  // namespace

struct PtraceData {
  // Runs `call` on the stopped task's own thread. ESRCH if it stops being stopped before that.
  static Result<void> RunOn(RemoteCalls& remote, wait::Blocker& task,
                            const std::function<void()>& call) {
    MutexLock lock(remote.mutex);
    while (remote.open && remote.call != nullptr) remote.changed.Wait(remote.mutex);
    if (!remote.open) return Errno::kESRCH;
    remote.call = &call;
    task.Wake();
    while (remote.call == &call && remote.open) remote.changed.Wait(remote.mutex);
    if (remote.call != &call) return Ok();
    remote.call = nullptr;  // it has left, and served what it saw before
    return Errno::kESRCH;
  }
};

// The friend of Task.
struct PtraceAccess {
  template <typename F>
  static auto WithStopped(Task& tracer, Task& tracee, F f) -> decltype(f(tracee.trace_)) {
    MutexLock lock(tracee.group_->signal_mutex_);
    const TraceState& s = tracee.trace_;
    if (s.tracer != &tracer || !s.stopped || s.listening) return Errno::kESRCH;
    return f(tracee.trace_);
  }

  static Result<void> SetRegisters(Task& tracer, Task& tracee, const arch::Registers& regs) {
    return WithStopped(tracer, tracee, [&](TraceState&) -> Result<void> {
      arch::Registers& to = tracee.registers_;
      if (!SameSegments(regs, to)) return Errno::kEIO;
      if (regs.fs_base >= mm::kTaskSize.value || regs.gs_base >= mm::kTaskSize.value) {
        return Errno::kEIO;
      }
      const uint64_t flags = (to.eflags & ~kUserFlags) | (regs.eflags & kUserFlags);
      // "No system call": nothing is to be restarted.
      if (static_cast<int64_t>(regs.orig_rax) < 0) tracee.restart_code_.reset();
      to = regs;
      to.eflags = flags;
      return Ok();
    });
  }

  static Result<void> RunOn(Task& tracer, Task& tracee, const std::function<void()>& call) {
    TRY(WithStopped(tracer, tracee, [](TraceState&) -> Result<void> { return Ok(); }));
    return PtraceData::RunOn(tracee.remote_calls_, tracee, call);
  }

  static arch::Registers Registers(const Task& tracee) { return tracee.registers_; }
  static signal::SigSet Mask(const Task& tracee) NO_THREAD_SAFETY_ANALYSIS { return tracee.mask_; }
  static void SetMask(Task& tracee, signal::SigSet mask) NO_THREAD_SAFETY_ANALYSIS {
    tracee.saved_mask_.reset();
    tracee.SetMaskLocked(mask);
  }

  // A stopped tracee of the caller that has this memory, or the caller itself; null if there is
  // none.
  static Ref<Task> StoppedUser(Task& caller, const mm::MemoryManager& mm) {
    MutexLock tree(caller.kernel_.tree_mutex());
    for (const Ref<Task>& tracer : caller.group_->tasks_) {
      for (const Ref<Task>& tracee : tracer->tracees_) {
        if (tracee->mm().get() != &mm) continue;
        MutexLock lock(tracee->group_->signal_mutex_);
        if (tracee->trace_.stopped) return tracee;
      }
    }
    return nullptr;
  }

  // Reaches one piece inside a page through the protections. False if it can't be had.
  static bool Force(Task& caller, mm::MemoryManager& mm,
                    const std::function<bool(platform::Context&)>& access) {
    if (caller.mm_.get() == &mm) return access(*caller.context_);
    Ref<Task> user = StoppedUser(caller, mm);
    if (user == nullptr) return false;
    bool done = false;
    Task* task = user.get();
    std::function<void()> call = [&] { done = access(*task->context_); };
    return PtraceData::RunOn(user->remote_calls_, *user, call).ok() && done;
  }
};

Result<arch::Registers> PtraceGetRegisters(Task& tracer, Task& tracee) {
  return PtraceAccess::WithStopped(tracer, tracee, [&](TraceState&) -> Result<arch::Registers> {
    return PtraceAccess::Registers(tracee);
  });
}

Result<void> PtraceSetRegisters(Task& tracer, Task& tracee, const arch::Registers& regs) {
  return PtraceAccess::SetRegisters(tracer, tracee, regs);
}

Result<std::vector<std::byte>> PtraceGetXstate(Task& tracer, Task& tracee) {
  Result<std::vector<std::byte>> state = Errno::kEIO;
  TRY(PtraceAccess::RunOn(tracer, tracee, [&] { state = tracee.context().GetFpState(); }));
  if (state.ok() && state->size() >= kXstateFeaturesOffset + sizeof(uint64_t)) {
    uint64_t features = arch::HostXstate().features;
    std::memcpy(state->data() + kXstateFeaturesOffset, &features, sizeof(features));
  }
  return state;
}

Result<void> PtraceSetXstate(Task& tracer, Task& tracee, std::vector<std::byte> xstate) {
  // What we have put there for debuggers is no part of the state.
  if (xstate.size() >= arch::kFxsaveSize) {
    std::fill(xstate.begin() + kXstateFeaturesOffset, xstate.begin() + arch::kFxsaveSize,
              std::byte{0});
  }
  Result<void> done = Errno::kEIO;
  TRY(PtraceAccess::RunOn(tracer, tracee, [&] { done = tracee.context().SetFpState(xstate); }));
  return done;
}

Result<signal::SigInfo> PtraceGetSigInfo(Task& tracer, Task& tracee) {
  return PtraceAccess::WithStopped(tracer, tracee, [](TraceState& s) -> Result<signal::SigInfo> {
    if (!s.has_info) return Errno::kEINVAL;
    return s.info;
  });
}

Result<void> PtraceSetSigInfo(Task& tracer, Task& tracee, const signal::SigInfo& info) {
  return PtraceAccess::WithStopped(tracer, tracee, [&](TraceState& s) -> Result<void> {
    if (!s.has_info) return Errno::kEINVAL;
    s.info = info;
    return Ok();
  });
}

Result<uint64_t> PtraceGetMessage(Task& tracer, Task& tracee) {
  return PtraceAccess::WithStopped(tracer, tracee,
                                   [](TraceState& s) -> Result<uint64_t> { return s.message; });
}

Result<signal::SigSet> PtraceGetSigMask(Task& tracer, Task& tracee) {
  return PtraceAccess::WithStopped(tracer, tracee, [&](TraceState&) -> Result<signal::SigSet> {
    return PtraceAccess::Mask(tracee);
  });
}

Result<void> PtraceSetSigMask(Task& tracer, Task& tracee, signal::SigSet mask) {
  return PtraceAccess::WithStopped(tracer, tracee, [&](TraceState&) -> Result<void> {
    PtraceAccess::SetMask(tracee, mask);
    return Ok();
  });
}

Result<PtraceCall> PtraceGetCall(Task& tracer, Task& tracee) {
  return PtraceAccess::WithStopped(tracer, tracee, [&](TraceState& s) -> Result<PtraceCall> {
    return PtraceCall{s.phase, PtraceAccess::Registers(tracee), s.message};
  });
}

namespace {

constexpr uint64_t kPage = 4096;

// Calls piece(at, offset, size) for what of [at, at+size) lies in each page, until one fails.
template <typename Piece>
size_t ForEachPage(UserAddr at, size_t size, const Piece& piece) {
  size_t done = 0;
  while (done < size) {
    UserAddr from = at + done;
    size_t n = std::min<size_t>(size - done, kPage - from.value % kPage);
    if (!piece(from, done, n)) break;
    done += n;
  }
  return done;
}

}  // namespace

size_t PtraceReadMemory(Task& caller, mm::MemoryManager& mm, UserAddr at, Bytes to) {
  size_t done = mm::UserMemory(mm.address_space()).CopyInPartial(at, to);
  if (done == to.size()) return done;
  return done + ForEachPage(at + done, to.size() - done, [&](UserAddr from, size_t o, size_t n) {
           Bytes piece = to.subspan(done + o, n);
           if (mm::UserMemory(mm.address_space()).CopyInPartial(from, piece) == n) return true;
           return PtraceAccess::Force(
               caller, mm, [&](platform::Context& by) { return mm.ForceRead(by, from, piece); });
         });
}

size_t PtraceWriteMemory(Task& caller, mm::MemoryManager& mm, UserAddr at, ConstBytes from) {
  size_t done = mm::UserMemory(mm.address_space()).CopyOutPartial(at, from);
  if (done == from.size()) return done;
  return done + ForEachPage(at + done, from.size() - done, [&](UserAddr to, size_t o, size_t n) {
           ConstBytes piece = from.subspan(done + o, n);
           if (mm::UserMemory(mm.address_space()).CopyOutPartial(to, piece) == n) return true;
           return PtraceAccess::Force(
               caller, mm, [&](platform::Context& by) { return mm.ForceWrite(by, to, piece); });
         });
}

}  // namespace sandboxd::task
