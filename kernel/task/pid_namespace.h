// Process ids (pid_namespaces(7)). A task has an id in its own namespace and in every ancestor.
#pragma once

#include <map>
#include <vector>

#include "kernel/creds/credentials.h"
#include "platform/base/mutex.h"
#include "platform/base/ref.h"
#include "platform/base/result.h"
#include "platform/base/types.h"

namespace sandboxd::task {

class Task;
class ThreadGroup;
class ProcessGroup;
class Session;

// All members but the constants are guarded by Kernel::tree_mutex().
class PidNamespace : public creds::Namespace {
 public:
  PidNamespace(Ref<PidNamespace> parent, Ref<creds::UserNamespace> owner);

  PidNamespace* parent() const { return parent_.get(); }
  int level() const { return level_; }
  const Ref<creds::UserNamespace>& user_ns() const { return owner_; }
  const creds::UserNamespace* owner_ns() const override { return owner_.get(); }
  bool IsAncestorOfOrSame(const PidNamespace& other) const;

  // The next free id (or `wanted`, if that is not 0: EEXIST if taken, EINVAL if out of range),
  // which names `task` from now on. EAGAIN (pid_max) or ENOMEM (the namespace's init is dead).
  Result<Tid> Allocate(Task& task, Tid wanted = Tid(0));
  void Release(Tid tid);
  // exec(2) of a thread that is not the leader: `tid` names `task` now.
  void Rename(Tid tid, Task& task);
  // Is there such a task? Any thread, any lock.
  bool Exists(Tid tid) const;
  Task* FindTask(Tid tid) const;           // null if none; borrowed under the tree mutex
  ThreadGroup* FindGroup(Tid tgid) const;  // by the leader's id
  ProcessGroup* FindProcessGroup(Tid pgid) const;
  Session* FindSession(Tid sid) const;
  std::vector<Task*> Tasks() const;

  ThreadGroup* init() const { return init_; }
  void set_init(ThreadGroup* init) { init_ = init; }
  // init is dying: no process may be added any more.
  bool dead() const { return dead_; }
  void set_dead() { dead_ = true; }
  int last_pid() const { return last_; }
  size_t task_count() const { return tasks_.size(); }
  // Notified when a task leaves; waited for with the tree mutex.
  CondVar& task_left() { return task_left_; }

 private:
  friend class ProcessGroup;
  friend class Session;
  ~PidNamespace() override;
  const Ref<PidNamespace> parent_;
  const int level_;
  const Ref<creds::UserNamespace> owner_;
  int last_ = 0;
  mutable Mutex ids_mutex_{LockRank::kLeaf};
  std::map<int, Task*> tasks_;  // written under the tree mutex and ids_mutex_, read under either
  std::map<int, ProcessGroup*> groups_;
  std::map<int, Session*> sessions_;
  ThreadGroup* init_ = nullptr;
  bool dead_ = false;
  CondVar task_left_;
};

// The ids of a process group or session, equal to those its first member had: one for each level
// from the initial namespace down to its own.
struct PidIds {
  Ref<PidNamespace> ns;
  std::vector<int> ids;
  Tid own() const { return Tid(ids.back()); }
  // 0 if `viewer` can't see it.
  Tid In(const PidNamespace& viewer) const;
};

}  // namespace sandboxd::task
