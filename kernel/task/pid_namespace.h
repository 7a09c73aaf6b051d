// Process ids (pid_namespaces(7)). A task has an id in its own namespace and in every ancestor.
#pragma once

#include <map>
#include <vector>

#include "kernel/creds/credentials.h"
#include "platform/base/ref.h"
#include "platform/base/result.h"
#include "platform/base/types.h"

namespace sandboxd::task {

class Task;
class ThreadGroup;
class ProcessGroup;
class Session;

// All members but the constants are guarded by Kernel::tree_mutex().
class PidNamespace : public RefCounted {
 public:
  PidNamespace(Ref<PidNamespace> parent, Ref<creds::UserNamespace> owner);

  PidNamespace* parent() const { return parent_.get(); }
  int level() const { return level_; }
  const Ref<creds::UserNamespace>& user_ns() const { return owner_; }
  bool IsAncestorOfOrSame(const PidNamespace& other) const;

  // The next free id, or EAGAIN (pid_max or the pids limit) or ENOMEM (the namespace's init is
  // dead).
  Result<Tid> Allocate(Task& task);
  void Release(Tid tid);
  Task* FindTask(Tid tid) const;           // null if none; borrowed under the tree mutex
  ThreadGroup* FindGroup(Tid tgid) const;  // by the leader's id
  ProcessGroup* FindProcessGroup(Tid pgid) const;
  Session* FindSession(Tid sid) const;
  std::vector<Task*> Tasks() const;

  ThreadGroup* init() const { return init_; }
  void set_init(ThreadGroup* init) { init_ = init; }
  int last_pid() const { return last_; }

 private:
  friend class ProcessGroup;
  friend class Session;
  ~PidNamespace() override;
  const Ref<PidNamespace> parent_;
  const int level_;
  const Ref<creds::UserNamespace> owner_;
  int last_ = 0;
  std::map<int, Task*> tasks_;
  std::map<int, ProcessGroup*> groups_;
  std::map<int, Session*> sessions_;
  ThreadGroup* init_ = nullptr;
};

}  // namespace sandboxd::task
