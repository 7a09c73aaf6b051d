// A process or thread as an entry of /proc names it. Holds nothing alive: the task may be gone at
// the next look.
#pragma once

#include "kernel/fs/proc/proc_superblock.h"
#include "kernel/task/task.h"

namespace sandboxd::proc {

enum class Scope : uint8_t {
  kProcess,  // /proc/PID
  kThread,   // /proc/PID/task/TID
};

struct TaskRef {
  ProcSuperblock* sb = nullptr;  // outlives its inodes, which hold this
  Tid tid;                       // in the instance's namespace
  uint64_t serial = 0;
  Scope scope = Scope::kProcess;

  // ESRCH once it is gone.
  Result<Ref<task::Task>> Get() const;
};

// One look at a task by a reader.
struct View {
  task::Task& task;
  vfs::Caller& caller;
  ProcSuperblock& sb;
  Scope scope;

  task::ThreadGroup& group() const { return task.group(); }
  task::PidNamespace& ns() const { return sb.ns(); }
  // The reader, or null if it is no task (kernel/boot).
  task::Task* reader() const { return static_cast<task::Task*>(caller.task()); }
};

// May the caller look closely at this task? EACCES, or EPERM where Linux says so.
Result<void> CheckAccess(const View& view, Errno refusal = Errno::kEACCES);

// Who owns the files of a task: its effective ids, or root if it is not dumpable.
struct Owner {
  vfs::KUid uid;
  vfs::KGid gid;
};
Owner OwnerOf(task::Task& task);

// The task a name stands for; ENOENT.
Result<TaskRef> FindProcess(ProcSuperblock& sb, std::string_view name);
Result<TaskRef> FindThread(ProcSuperblock& sb, const TaskRef& process, std::string_view name);

// A decimal number as Linux takes it for a pid or fd name: no sign, no leading zero. -1 if not.
int64_t ParseName(std::string_view name);

// The directory /proc/PID or /proc/PID/task/TID.
Ref<vfs::Inode> MakeTaskDirectory(const TaskRef& ref, task::Task& task);
// Its subdirectories.
Ref<vfs::Inode> MakeFdDirectory(const TaskRef& ref, task::Task& task, uint64_t ino);
Ref<vfs::Inode> MakeFdInfoDirectory(const TaskRef& ref, task::Task& task, uint64_t ino);
Ref<vfs::Inode> MakeNsDirectory(const TaskRef& ref, task::Task& task, uint64_t ino);
Ref<vfs::Inode> MakeThreadsDirectory(const TaskRef& ref, task::Task& task, uint64_t ino);
Ref<vfs::Inode> MakeNetDirectory(const TaskRef& ref, task::Task& task, uint64_t ino);
// cwd, root, exe.
Ref<vfs::Inode> MakeTaskLink(const TaskRef& ref, task::Task& task, std::string_view name,
                             uint64_t ino);
Ref<vfs::Inode> MakeMemFile(const TaskRef& ref, task::Task& task, uint64_t ino);

inline uint64_t BaseIno(const TaskRef& ref) {
  uint64_t base = uint64_t(static_cast<uint32_t>(ref.tid.value)) << 24;
  return ref.scope == Scope::kThread ? base | uint64_t{1} << 62 : base;
}

// One line of text files of a task.
struct TaskFile {
  const char* name;
  uint32_t permissions;
  Result<std::string> (*generate)(const View&);
  Result<void> (*accept)(const View&, std::string_view) = nullptr;
  bool restricted = false;  // opening needs CheckAccess
  bool process_only = false;
};
// task_status.cc, task_memory.cc, task_misc.cc, task_mounts.cc
std::span<const TaskFile> StatusFiles();
std::span<const TaskFile> MemoryFiles();
std::span<const TaskFile> MiscFiles();
std::span<const TaskFile> MountFiles();

// Bytes of a process that are in memory: exact for the reader's own process, else an estimate from
// its mappings, since a stub's pages can't be asked about from outside.
struct Resident {
  uint64_t anonymous = 0, file = 0, shared = 0;
  uint64_t total() const { return anonymous + file + shared; }
};
Resident ResidentOf(const View& view);

std::string MountSource(std::string_view text);  // with spaces and such as \040

}  // namespace sandboxd::proc
