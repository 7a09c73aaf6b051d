// Process groups and sessions as the system calls see them (setpgid(2), setsid(2)), and sending
// signals to them (kill(2)). Each takes the tree mutex. Ids are in the caller's pid namespace.
#pragma once

#include "kernel/task/task.h"

namespace sandboxd::task {

Result<void> SetProcessGroup(Task& caller, Tid pid, Tid pgid);
Result<Tid> GetProcessGroup(Task& caller, Tid pid);
Result<Tid> NewSession(Task& caller);
Result<Tid> GetSession(Task& caller, Tid pid);
Tid ParentId(Task& caller);

// The living or zombie process, or thread, of that id; ESRCH.
Result<Ref<ThreadGroup>> FindProcess(Task& caller, Tid pid);
Result<Ref<Task>> FindThread(Task& caller, Tid tid);

// kill(2), "Permissions"; `signo` 0 asks only. EPERM.
Result<void> MaySignal(Task& caller, ThreadGroup& target, int signo);
// The information that kill(2) (SI_USER) or tgkill(2) (SI_TKILL) of `caller` gives `target`.
signal::SigInfo SignalFrom(Task& caller, const ThreadGroup& target, int signo, int code);
// kill(2) with any `pid`.
Result<void> Kill(Task& caller, int32_t pid, int signo);

}  // namespace sandboxd::task
