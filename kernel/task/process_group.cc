#include <signal.h>

#include "kernel/task/kernel.h"
#include "kernel/task/task.h"
#include "kernel/task/thread_group.h"
#include "platform/base/check.h"

namespace sandboxd::task {

Session::Session(PidIds ids, ThreadGroup* l) : leader(l), ids_(std::move(ids)) {
  for (PidNamespace* ns = ids_.ns.get(); ns != nullptr; ns = ns->parent()) {
    ns->sessions_[ids_.In(*ns).value] = this;
  }
}

ProcessGroup::ProcessGroup(PidIds ids, Ref<Session> session)
    : ids_(std::move(ids)), session_(std::move(session)) {
  session_->groups_++;
  for (PidNamespace* ns = ids_.ns.get(); ns != nullptr; ns = ns->parent()) {
    ns->groups_[ids_.In(*ns).value] = this;
  }
}

void ProcessGroup::Unregister() {
  CHECK(members.empty());
  if (session_->foreground == this) session_->foreground = nullptr;
  bool session_ends = --session_->groups_ == 0;
  for (PidNamespace* ns = ids_.ns.get(); ns != nullptr; ns = ns->parent()) {
    ns->groups_.erase(ids_.In(*ns).value);
    if (session_ends) ns->sessions_.erase(session_->ids_.In(*ns).value);
  }
}

bool ProcessGroup::IsOrphaned() const {
  for (const ThreadGroup* member : members) {
    if (member->zombie_) continue;
    const ThreadGroup* parent = member->parent_;
    if (parent == nullptr) continue;
    if (parent->process_group_.get() != this && parent->process_group_->session_ == session_) {
      return false;
    }
  }
  return true;
}

bool ProcessGroup::HasStoppedMember() const {
  for (const ThreadGroup* member : members) {
    MutexLock lock(member->signal_mutex_);
    if (member->stop_state_ != ThreadGroup::StopState::kRunning) return true;
  }
  return false;
}

void ProcessGroup::SendSignal(int signo) {
  // A standard signal is never refused for lack of room.
  for (ThreadGroup* member : members) (void)member->SendSignal(signal::SigInfo::Kernel(signo));
}

}  // namespace sandboxd::task
