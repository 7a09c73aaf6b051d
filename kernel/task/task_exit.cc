// The end of a task, and of its process with the last one (exit(2), wait(2), pid_namespaces(7)).
#include <signal.h>
#include <sys/epoll.h>

#include <algorithm>

#include "kernel/ipc/futex.h"
#include "kernel/ipc/sysv.h"
#include "kernel/task/process_timers.h"
#include "kernel/task/ptrace.h"
#include "kernel/task/task.h"
#include "kernel/task/tree.h"
#include "platform/base/check.h"

namespace sandboxd::task {

void Task::PrepareExit(int status) {
  thread_status_ = {.code = status};
  exit_called_ = true;
}

void Task::ReleaseMemory() {
  if (context_ != nullptr && mm_ != nullptr) {
    if (!robust_list.null()) {
      kernel_.futexes().ExitRobustList(*mm_, memory(), robust_list, tid().value);
    }
    if (!clear_child_tid.null()) kernel_.futexes().ClearChildTid(*mm_, memory(), clear_child_tid);
  }
  robust_list = UserAddr(0);
  clear_child_tid = UserAddr(0);
  if (Ref<VforkGate> gate = std::exchange(vfork_gate_, nullptr)) {
    gate->open.store(true, std::memory_order_release);
    gate->parent->Wake();
  }
}

void Task::DropFiles() {
  Ref<Files> files;
  {
    MutexLock lock(task_mutex_);
    files = files_;
  }
  if (files == nullptr) return;
  // files_ stays set while the files close: they may ask the caller for its table.
  if (files->users.fetch_sub(1, std::memory_order_acq_rel) == 1) files->table->CloseAll(*this);
  MutexLock lock(task_mutex_);
  files_.Reset();
}

void Task::Exit() {
  PtraceExitEvent(*this);
  PtraceReleaseTracees(*this);
  int stopped_status = 0;
  {
    MutexLock lock(group_->signal_mutex_);
    exiting_ = true;
    stopped_ = false;
    if (std::exchange(must_stop_, false) && group_->CountStoppedLocked()) {
      stopped_status = group_->stop_report_;
    }
    pending_.Discard(~signal::SigSet{});
    // What this thread was chosen for needs another one.
    group_->RetargetLocked(~signal::SigSet{}, this);
  }
  if (stopped_status != 0) group_->NotifyParentOfStop(CLD_STOPPED, stopped_status);

  ReleaseMemory();
  DropFiles();
  set_fs(nullptr);
  DropContext();
  if (Ref<seccomp::Filter> filter = seccomp_filter()) filter->RemoveUser();
  LeaveTree();
}

void Task::DropContext() {
  {
    MutexLock lock(task_mutex_);
    interruptible_ = nullptr;
  }
  context_.reset();
}

namespace {

// Kills and waits for everything else in the namespace whose init is the calling process.
void EndNamespace(Kernel& kernel, ThreadGroup& init, PidNamespace& ns, size_t own_tasks)
    REQUIRES(kernel.tree_mutex()) {
  ns.set_dead();
  for (Task* task : ns.Tasks()) {
    if (&task->group() != &init) task->group().Kill({.signo = SIGKILL});
  }
  while (ns.task_count() > own_tasks) ns.task_left().Wait(kernel.tree_mutex());
}

}  // namespace

void Task::LeaveTree() {
  Debris debris;
  Ref<mm::MemoryManager> mm;
  bool last = false;
  bool announce = false;
  group_->AccountThread(*this);
  {
    MutexLock lock(kernel_.tree_mutex());
    last = group_->live_threads_.load(std::memory_order_relaxed) == 1;
    if (last && group_->is_init_) {
      group_->reaps_all_ = true;
      std::vector<Ref<ThreadGroup>> children(group_->children_.begin(), group_->children_.end());
      for (const Ref<ThreadGroup>& child : children) {
        if (child->zombie_) TreeOps::Reap(*child, TreeOps::Waited::kNo, debris);
      }
      EndNamespace(kernel_, *group_, *pid_ns_, group_->tasks_.size());
    }
    {
      MutexLock task_lock(task_mutex_);
      mm = std::exchange(mm_, nullptr);
    }
    if (last && mm != nullptr) group_->AccountStub(*mm);
    dead_.store(true, std::memory_order_release);
    {
      MutexLock signal_lock(group_->signal_mutex_);
      group_->live_threads_.fetch_sub(1, std::memory_order_relaxed);
      if (!is_leader()) {
        auto& tasks = group_->tasks_;
        tasks.erase(std::find(tasks.begin(), tasks.end(), Ref<Task>(this)));
      }
      if (last) {
        group_->finished_ = true;
        group_->final_status_ =
            group_->group_exit_ ? group_->status_ : group_->tasks_.front()->thread_status_;
      }
      if (group_->exec_task_ != nullptr) group_->exec_task_->Wake();
    }
    if (!is_leader() && !PtraceKeepsDeadThread(*this)) TreeOps::ReleaseIds(*this);
    kernel_.task_count.fetch_sub(1, std::memory_order_relaxed);
    kernel_.CountUserTask(creds_->ruid, -1);
    if (last) {
      announce = (group_->parent_ == nullptr || !group_->process_id.empty()) && group_->announced_;
      // semop(2), SEM_UNDO: whoever waits for the process finds it done.
      ipc_ns_->sysv().OnProcessExit(process_id());
      TreeOps::EndGroup(*group_, debris);
    }
  }
  // The stub goes with the last reference to the memory.
  mm.Reset();
  if (!last) return;
  group_->timers_->OnExit();
  group_->exit_queue_.Notify(EPOLLIN);
  if (announce && kernel_.exit_listener()) kernel_.exit_listener()(*group_);
}

}  // namespace sandboxd::task
