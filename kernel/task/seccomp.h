// seccomp(2) for the tasks of this kernel: modes, filters and what their answers do.
#pragma once

#include <array>
#include <vector>

#include "kernel/seccomp/filter.h"
#include "kernel/task/task.h"

namespace sandboxd::task {

// SECCOMP_SET_MODE_STRICT. EINVAL with a filter in place. Own thread.
Result<void> SetSeccompStrict(Task& task);

// seccomp(2): no_new_privs, or CAP_SYS_ADMIN. EACCES.
Result<void> CheckMayFilter(Task& task);

// SECCOMP_SET_MODE_FILTER with flags that have been checked. The caller has checked that it may.
// The result is 0, the fd of the listener (SECCOMP_FILTER_FLAG_NEW_LISTENER), or the id of a thread
// that could not be synchronised. EINVAL, EACCES, ENOMEM, EBUSY, ESRCH. Own thread.
Result<uint64_t> AddSeccompFilter(Task& task, std::vector<sock_filter> code, uint64_t flags);

// For the first process of a container: no check of rights, no flags.
void StartWithSeccompFilter(Task& task, const Ref<seccomp::Filter>& filter);

enum class SeccompOutcome : uint8_t {
  kRun,   // the call goes on
  kSkip,  // it doesn't: `result` is what it gives
  kKeep,  // it doesn't, and the registers are as they shall be
};
// What the task's mode says to the call in its registers. Own thread; may wait.
SeccompOutcome CheckSeccomp(Task& task, Result<uint64_t>* result);

}  // namespace sandboxd::task
