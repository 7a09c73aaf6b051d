#include "kernel/task/tree.h"

#include <signal.h>
#include <sys/epoll.h>

#include <algorithm>

#include "kernel/task/ptrace.h"
#include "platform/base/check.h"

namespace sandboxd::task {

Result<void> TreeOps::AllocateIds(Task& task, const std::vector<Tid>& wanted) {
  size_t depth = 0;
  for (PidNamespace* ns = task.pid_ns_.get(); ns != nullptr; ns = ns->parent(), depth++) {
    auto id = ns->Allocate(task, depth < wanted.size() ? wanted[depth] : Tid(0));
    if (!id.ok()) {
      ReleaseIds(task);
      return id.error();
    }
    task.ids_[static_cast<size_t>(ns->level())].store(id->value, std::memory_order_relaxed);
  }
  return Ok();
}

void TreeOps::ReleaseIds(Task& task) {
  for (PidNamespace* ns = task.pid_ns_.get(); ns != nullptr; ns = ns->parent()) {
    // The number stays readable in the task; nobody finds it by that number any more.
    int id = task.ids_[static_cast<size_t>(ns->level())].load(std::memory_order_relaxed);
    if (id != 0 && ns->FindTask(Tid(id)) == &task) ns->Release(Tid(id));
  }
}

PidIds TreeOps::IdsOf(const Task& task) {
  PidIds ids{task.pid_ns_, {}};
  for (const auto& id : task.ids_) ids.ids.push_back(id.load(std::memory_order_relaxed));
  return ids;
}

void TreeOps::AddThread(ThreadGroup& group, Task& task) {
  MutexLock lock(group.signal_mutex_);
  group.tasks_.push_back(Ref<Task>(&task));
  group.live_threads_.fetch_add(1, std::memory_order_relaxed);
  group.kernel_.task_count.fetch_add(1, std::memory_order_relaxed);
  if (group.group_exit_) {
    // Condemned while it was being made.
    task.kill_ = true;
    task.PokeToEnd();
  } else if (group.stop_state_ != ThreadGroup::StopState::kRunning) {
    // It begins in the stop that the group is in.
    task.must_stop_ = true;
    group.stop_count_++;
    task.Poke();
  }
}

void TreeOps::AddProcess(ThreadGroup& group, Task& leader, ThreadGroup* parent,
                         Ref<ProcessGroup> process_group) {
  group.ids_ = IdsOf(leader);
  group.parent_ = parent;
  if (group.ids_.own() == Tid(1)) {
    group.is_init_ = true;
    group.pid_ns_->set_init(&group);
  }
  leader.leader_.store(true, std::memory_order_relaxed);
  AddThread(group, leader);
  if (parent != nullptr) parent->children_.push_back(Ref<ThreadGroup>(&group));
  if (process_group != nullptr) {
    process_group->members.push_back(&group);
    group.process_group_ = std::move(process_group);
  }
  group.kernel_.forks.fetch_add(1, std::memory_order_relaxed);
}

Ref<ProcessGroup> TreeOps::NewProcessGroup(ThreadGroup& group, Ref<Session> session) {
  return MakeRef<ProcessGroup>(group.ids_, std::move(session));
}

Ref<Session> TreeOps::NewSession(ThreadGroup& group) {
  return MakeRef<Session>(group.ids_, &group);
}

void TreeOps::JoinProcessGroup(ThreadGroup& group, Ref<ProcessGroup> to, Debris& debris) {
  if (group.process_group_ != nullptr) {
    group.process_group_->members.remove(&group);
    if (group.process_group_->members.empty()) group.process_group_->Unregister();
    debris.others.push_back(std::exchange(group.process_group_, nullptr));
  }
  if (to != nullptr) {
    to->members.push_back(&group);
    group.process_group_ = std::move(to);
  }
}

void TreeOps::DropTerminal(Kernel& kernel, Session& session, Debris& debris) {
  if (session.terminal == nullptr) return;
  kernel.SetSessionOfTerminal(session.terminal.get(), nullptr);
  session.foreground = nullptr;
  debris.others.push_back(std::exchange(session.terminal, nullptr));
}

ThreadGroup* TreeOps::FindReaper(ThreadGroup& dying) {
  // prctl(2), PR_SET_CHILD_SUBREAPER: the nearest living ancestor that asked for it.
  for (ThreadGroup* g = dying.parent_; g != nullptr; g = g->parent_) {
    if (g->pid_ns_ != dying.pid_ns_) break;
    if (g->child_subreaper.load(std::memory_order_relaxed) && !g->zombie_ && g != &dying) return g;
  }
  ThreadGroup* init = dying.pid_ns_->init();
  return init != &dying && init != nullptr && !init->zombie_ ? init : nullptr;
}

namespace {

void HangUpIfNewlyOrphaned(ProcessGroup& group, bool was_orphaned, bool is_orphaned) {
  if (was_orphaned || !is_orphaned || !group.HasStoppedMember()) return;
  group.SendSignal(SIGHUP);
  group.SendSignal(SIGCONT);
}

}  // namespace

void TreeOps::EndGroup(ThreadGroup& group, Debris& debris) {
  Kernel& kernel = group.kernel_;
  // Process groups of which this process, or its being a parent, was the last link to the session.
  std::vector<std::pair<Ref<ProcessGroup>, bool>> links;
  auto note = [&links](const Ref<ProcessGroup>& pg) {
    if (pg == nullptr) return;
    for (const auto& [seen, orphaned] : links) {
      if (seen == pg.get()) return;
    }
    links.emplace_back(pg, pg->IsOrphaned());
  };
  note(group.process_group_);
  for (const Ref<ThreadGroup>& child : group.children_) note(child->process_group_);

  Session* session = group.process_group_ ? group.process_group_->session().get() : nullptr;
  if (session != nullptr && session->leader == &group) {
    // The terminal's foreground jobs learn that the line is gone (termios(3), setsid(2)).
    if (ProcessGroup* foreground = session->foreground) {
      foreground->SendSignal(SIGHUP);
      foreground->SendSignal(SIGCONT);
    }
    DropTerminal(kernel, *session, debris);
    session->leader = nullptr;
  }

  ThreadGroup* reaper = FindReaper(group);
  for (Ref<ThreadGroup>& child : group.children_) {
    child->parent_ = reaper;
    child->creator_serial_ = reaper != nullptr ? reaper->tasks_.front()->serial() : 0;
    Ref<Task> leader = child->tasks_.front();
    if (leader->parent_death_signal != 0 && !child->zombie_) {
      (void)child->SendSignal(signal::SigInfo::User(leader->parent_death_signal, SI_USER,
                                                    group.TgidIn(*child->pid_ns_).value, 0));
    }
    child->exit_signal_ = SIGCHLD;
  }
  std::list<Ref<ThreadGroup>> orphans = std::move(group.children_);
  group.children_.clear();
  group.zombie_ = true;
  for (auto& [pg, was_orphaned] : links) {
    HangUpIfNewlyOrphaned(*pg, was_orphaned, pg->IsOrphaned());
  }
  for (Ref<ThreadGroup>& child : orphans) {
    if (reaper != nullptr) reaper->children_.push_back(child);
    if (child->zombie_) {
      TellParent(*child, debris);
    }
    debris.groups.push_back(std::move(child));
  }
  TellParent(group, debris);
}

void TreeOps::TellParent(ThreadGroup& group, Debris& debris) {
  ThreadGroup* parent = group.parent_;
  // ptrace(2): the tracer waits first; the parent is told when it has.
  if (PtraceTellTracerOfEnd(group)) return;
  bool reap = parent == nullptr || parent->reaps_all_ || parent->zombie_;
  if (!reap && group.exit_signal_ != 0) {
    ExitStatus status = *group.exit_status();
    const Task& leader = *group.tasks_.front();
    signal::SigInfo info;
    info.signo = group.exit_signal_;
    info.code = status.signo == 0 ? CLD_EXITED : (status.core ? CLD_DUMPED : CLD_KILLED);
    info.child.pid = group.TgidIn(*parent->pid_ns_).value;
    creds::CredRef creds = leader.credentials();
    info.child.uid = creds->user_ns->FromKUid(creds->ruid);
    info.child.status = status.signo == 0 ? status.code & 0xff : status.signo;
    ThreadGroup::Usage usage = group.SelfUsage();
    info.child.utime = usage.user / std::chrono::milliseconds(10);
    info.child.stime = usage.system / std::chrono::milliseconds(10);
    signal::SigAction action = parent->handlers()->Get(SIGCHLD);
    bool no_wait = action.is_ignore() || (action.flags & SA_NOCLDWAIT) != 0;
    reap = group.exit_signal_ == SIGCHLD && no_wait;
    if (!(group.exit_signal_ == SIGCHLD && action.is_ignore())) {
      (void)parent->SendSignal(info);  // EAGAIN for a real-time exit signal: Linux drops it too
    }
  }
  if (reap) {
    Reap(group, Waited::kNo, debris);
  }
  if (parent != nullptr) parent->child_queue_.Notify(EPOLLIN);
}

void TreeOps::Reap(ThreadGroup& group, Waited waited, Debris& debris) {
  CHECK(group.zombie_ && !group.reaped_);
  group.reaped_ = true;
  debris.groups.push_back(Ref<ThreadGroup>(&group));
  // getrusage(2), RUSAGE_CHILDREN: "that have terminated and been waited for".
  if (ThreadGroup* parent = group.parent_; parent != nullptr && waited == Waited::kYes) {
    ThreadGroup::Usage self = group.SelfUsage();
    ThreadGroup::Usage children = group.ChildrenUsage();
    MutexLock lock(parent->usage_mutex_);
    parent->children_usage_.Add(self);
    parent->children_usage_.Add(children);
  }
  if (group.parent_ != nullptr) {
    auto& siblings = group.parent_->children_;
    auto it = std::find(siblings.begin(), siblings.end(), Ref<ThreadGroup>(&group));
    if (it != siblings.end()) siblings.erase(it);
    group.parent_ = nullptr;
  }
  JoinProcessGroup(group, nullptr, debris);
  if (group.pid_ns_->init() == &group) group.pid_ns_->set_init(nullptr);
  MutexLock lock(group.signal_mutex_);
  for (Ref<Task>& task : group.tasks_) {
    PtraceForgetLocked(*task, debris.tasks);
    ReleaseIds(*task);
    debris.tasks.push_back(std::move(task));
  }
  group.tasks_.clear();
}

}  // namespace sandboxd::task
