// ptrace(2). Two halves: what a traced task does at the places where it may stop (its own thread,
// ptrace_stop.cc), and what a tracer does to it (ptrace_control.cc, ptrace_data.cc).
#pragma once

#include <optional>
#include <vector>

#include "kernel/task/task.h"

namespace sandboxd::task {

// --- the traced task's own thread. Without a tracer each returns at once ---

void PtraceSyscallEntry(Task& task);
void PtraceSyscallExit(Task& task);
// False if the tracer hasn't asked for PTRACE_O_TRACESECCOMP.
bool PtraceSeccompEvent(Task& task, uint16_t data);
// A group-stop, PTRACE_INTERRUPT, or the first stop of a seized child.
void PtraceTrapStop(Task& task);
// The signal-delivery-stop. The signal that shall be delivered, if any.
std::optional<signal::SigInfo> PtraceSignalStop(Task& task, const signal::SigInfo& info);
void PtraceSteppedIntoHandler(Task& task);
// False if whoever made it step is gone: then it does no more.
bool PtraceStillSteps(Task& task);
void PtraceCloneEvent(Task& parent, int event, Task& child);
void PtraceVforkDone(Task& parent, Task& child);
void PtraceExecEvent(Task& task, Tid old_tid);
void PtraceExitEvent(Task& task);
// execve(2): may a set-user-ID program raise the rights of this task?
bool PtracerMayKeepPrivileges(Task& task);

// --- the tree mutex is held ---

// clone(2): a child of a traced task may be traced from birth. The PTRACE_EVENT_* to report, or 0.
int PtraceInherit(Task& parent, Task& child, uint64_t flags, int exit_signal);
// The task has gone for good: its tracer hears no more of it. Locked: its signal mutex is held too.
void PtraceForget(Task& task);
void PtraceForgetLocked(Task& task, std::vector<Ref<Task>>& debris);
// A dead thread that is not the leader stays until its tracer has waited for it.
bool PtraceKeepsDeadThread(Task& task);
// A process has ended whose leader is traced by somebody else than its parent: true if the parent
// has to wait until the tracer has waited.
bool PtraceTellTracerOfEnd(ThreadGroup& group);

// --- the tracer ---

// It ends: its tracees go on, or die with PTRACE_O_EXITKILL. Own thread, no lock.
void PtraceReleaseTracees(Task& tracer);

Result<void> PtraceTraceme(Task& self);
// The caller has checked its access (access/ptrace_access.h).
Result<void> PtraceAttach(Task& tracer, Task& target, bool seize, uint64_t options);
// These need a tracee of the caller that is in a ptrace-stop: ESRCH.
Result<void> PtraceDetach(Task& tracer, Task& tracee, uint64_t signo);
Result<void> PtraceResume(Task& tracer, Task& tracee, TraceState::Resume how, uint64_t signo);
Result<void> PtraceSetOptions(Task& tracer, Task& tracee, uint64_t options);
Result<void> PtraceListen(Task& tracer, Task& tracee);
// A tracee in any state.
Result<void> PtraceInterrupt(Task& tracer, Task& tracee);
Result<void> PtraceKill(Task& tracer, Task& tracee);

// --- a stopped tracee's state ---

Result<arch::Registers> PtraceGetRegisters(Task& tracer, Task& tracee);
// EIO for values that no program may have.
Result<void> PtraceSetRegisters(Task& tracer, Task& tracee, const arch::Registers& regs);
Result<std::vector<std::byte>> PtraceGetXstate(Task& tracer, Task& tracee);
Result<void> PtraceSetXstate(Task& tracer, Task& tracee, std::vector<std::byte> xstate);
Result<signal::SigInfo> PtraceGetSigInfo(Task& tracer, Task& tracee);
Result<void> PtraceSetSigInfo(Task& tracer, Task& tracee, const signal::SigInfo& info);
Result<uint64_t> PtraceGetMessage(Task& tracer, Task& tracee);
Result<signal::SigSet> PtraceGetSigMask(Task& tracer, Task& tracee);
Result<void> PtraceSetSigMask(Task& tracer, Task& tracee, signal::SigSet mask);
struct PtraceCall {
  TraceState::Phase phase = TraceState::Phase::kNone;
  arch::Registers regs;
  uint64_t message = 0;
};
Result<PtraceCall> PtraceGetCall(Task& tracer, Task& tracee);

// Memory of a tracee, whatever its protections (PTRACE_PEEKDATA, /proc/PID/mem): private pages that
// can't be written are, for a tracee of `caller` that is stopped. The number of bytes.
size_t PtraceReadMemory(Task& caller, mm::MemoryManager& mm, UserAddr at, Bytes to);
size_t PtraceWriteMemory(Task& caller, mm::MemoryManager& mm, UserAddr at, ConstBytes from);
Result<void> PtraceCheckStopped(Task& tracer, Task& tracee);

// The tracer's process id as `viewer` sees it; 0 if there is none. Takes the tree mutex.
Tid TracerOf(Task& task, const PidNamespace& viewer);

}  // namespace sandboxd::task
