#include "kernel/task/pid_namespace.h"

#include <sched.h>

#include "kernel/task/task.h"
#include "kernel/task/thread_group.h"
#include "platform/base/check.h"

namespace sandboxd::task {
namespace {

// As /proc/sys/kernel/pid_max says: ids are below it. After a wrap, the low ones are left to
// daemons, as Linux does.
constexpr int kPidMax = 32768;
constexpr int kReservedPids = 300;

template <typename Map>
auto FindIn(const Map& map, Tid id) -> typename Map::mapped_type {
  auto it = map.find(id.value);
  return it == map.end() ? nullptr : it->second;
}

}  // namespace

PidNamespace::PidNamespace(Ref<PidNamespace> parent, Ref<creds::UserNamespace> owner)
    : Namespace(CLONE_NEWPID),
      parent_(std::move(parent)),
      level_(parent_ ? parent_->level_ + 1 : 0),
      owner_(std::move(owner)) {}

PidNamespace::~PidNamespace() { CHECK(tasks_.empty()); }

bool PidNamespace::IsAncestorOfOrSame(const PidNamespace& other) const {
  const PidNamespace* ns = &other;
  while (ns != nullptr && ns->level_ > level_) ns = ns->parent_.get();
  return ns == this;
}

Result<Tid> PidNamespace::Allocate(Task& task, Tid wanted) {
  if (dead_) return Errno::kENOMEM;
  auto taken = [this](int id) {
    return tasks_.contains(id) || groups_.contains(id) || sessions_.contains(id);
  };
  int id = wanted.value;
  if (id != 0) {
    if (id < 1 || id >= kPidMax) return Errno::kEINVAL;
    if (init_ == nullptr && id != 1) return Errno::kEINVAL;
    if (taken(id)) return Errno::kEEXIST;
  } else {
    id = last_;
    int tries = 0;
    do {
      if (++tries > kPidMax) return Errno::kEAGAIN;
      if (++id >= kPidMax) id = kReservedPids;
    } while (taken(id));
    last_ = id;
  }
  MutexLock lock(ids_mutex_);
  tasks_[id] = &task;
  return Tid(id);
}

void PidNamespace::Release(Tid tid) {
  {
    MutexLock lock(ids_mutex_);
    size_t erased = tasks_.erase(tid.value);
    CHECK(erased == 1);
  }
  task_left_.NotifyAll();
}

void PidNamespace::Rename(Tid tid, Task& task) {
  MutexLock lock(ids_mutex_);
  tasks_[tid.value] = &task;
}

bool PidNamespace::Exists(Tid tid) const {
  MutexLock lock(ids_mutex_);
  return tasks_.contains(tid.value);
}

Task* PidNamespace::FindTask(Tid tid) const { return FindIn(tasks_, tid); }

ThreadGroup* PidNamespace::FindGroup(Tid tgid) const {
  Task* task = FindTask(tgid);
  return task != nullptr && task->is_leader() ? &task->group() : nullptr;
}

ProcessGroup* PidNamespace::FindProcessGroup(Tid pgid) const { return FindIn(groups_, pgid); }
Session* PidNamespace::FindSession(Tid sid) const { return FindIn(sessions_, sid); }

std::vector<Task*> PidNamespace::Tasks() const {
  std::vector<Task*> tasks;
  tasks.reserve(tasks_.size());
  for (const auto& [id, task] : tasks_) tasks.push_back(task);
  return tasks;
}

Tid PidIds::In(const PidNamespace& viewer) const {
  if (!viewer.IsAncestorOfOrSame(*ns)) return Tid(0);
  return Tid(ids[static_cast<size_t>(viewer.level())]);
}

}  // namespace sandboxd::task
