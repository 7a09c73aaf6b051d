#include "kernel/fs/proc/task_ref.h"

#include "kernel/task/access/ptrace_access.h"

namespace sandboxd::proc {

Result<Ref<task::Task>> TaskRef::Get() const {
  MutexLock lock(sb->kernel().tree_mutex());
  task::Task* t = sb->ns().FindTask(tid);
  if (t == nullptr || t->serial() != serial) return Errno::kESRCH;
  return Ref<task::Task>(t);
}

Result<void> CheckAccess(const View& view, Errno refusal) {
  task::Task* reader = view.reader();
  if (reader == nullptr) return Ok();
  if (!task::CheckPtraceAccess(*reader, view.task, task::PtraceMode::kReadFs).ok()) return refusal;
  return Ok();
}

Owner OwnerOf(task::Task& task) {
  Ref<mm::MemoryManager> mm = task.mm();
  if (mm != nullptr && mm->dumpable() != 1) return {creds::kRootUid, creds::kRootGid};
  creds::CredRef c = task.credentials();
  return {c->euid, c->egid};
}

int64_t ParseName(std::string_view name) {
  if (name.empty() || name.size() > 9) return -1;
  if (name[0] == '0' && name.size() > 1) return -1;
  int64_t n = 0;
  for (char c : name) {
    if (c < '0' || c > '9') return -1;
    n = n * 10 + (c - '0');
  }
  return n;
}

Result<TaskRef> FindProcess(ProcSuperblock& sb, std::string_view name) {
  int64_t pid = ParseName(name);
  if (pid <= 0) return Errno::kENOENT;
  MutexLock lock(sb.kernel().tree_mutex());
  // As on Linux, a thread's id can be looked up too, but is not listed: it shows its process.
  task::Task* t = sb.ns().FindTask(Tid(static_cast<int32_t>(pid)));
  if (t == nullptr) return Errno::kENOENT;
  return TaskRef{&sb, Tid(static_cast<int32_t>(pid)), t->serial(), Scope::kProcess};
}

Result<TaskRef> FindThread(ProcSuperblock& sb, const TaskRef& process, std::string_view name) {
  auto ref = FindProcess(sb, name);
  if (!ref.ok()) return Errno::kENOENT;
  ref->scope = Scope::kThread;
  auto leader = process.Get();
  auto thread = ref->Get();
  if (!leader.ok() || !thread.ok() || &(*leader)->group() != &(*thread)->group()) {
    return Errno::kENOENT;
  }
  return ref;
}

}  // namespace sandboxd::proc
