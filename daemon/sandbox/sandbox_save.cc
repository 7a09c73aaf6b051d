// What is kept on disk of a sandbox, and when.
#include "daemon/log/log.h"
#include "daemon/sandbox/sandbox_internal.h"

namespace sandboxd::daemon {

state::SandboxRecord Sandbox::RecordLocked() const {
  state::SandboxRecord record;
  record.set_boot_id(BootId());
  *record.mutable_sandbox() = view_;
  *record.mutable_init_spec() = init_spec_;
  const auto put = [](const ProcessHandle& from, state::HostProcess& to) {
    to.set_pid(from.identity().pid);
    to.set_start_ticks(from.identity().start_ticks);
  };
  if (kernel_.valid()) put(kernel_, *record.mutable_kernel());
  for (const Gofer& gofer : gofers_) put(gofer.process, *record.add_gofers());
  for (const std::string& folder : cgroup_.made()) record.add_cgroups_made(folder);
  *record.mutable_resources() = view_.resources();
  for (const std::string& name : entry_order_) {
    const Entry& entry = entries_.at(name);
    state::ProcessRecord& p = *record.add_processes();
    *p.mutable_process() = entry.info;
    p.set_stream_name(name);
    p.set_drained(entry.logged);
  }
  return record;
}

Outcome<void> Sandbox::Save(Durability durability) {
  MutexLock save_lock(save_mutex_);
  state::SandboxRecord record;
  {
    MutexLock lock(mutex_);
    if (gone_ || view_.state() == v1::Sandbox::STATE_DELETING) return {};
    record = RecordLocked();
  }
  TRY(env_.store.Save(id_, record, durability));
  if (durability == Durability::kProcessCrash) return {};
  {
    MutexLock lock(mutex_);
    for (const state::ProcessRecord& p : record.processes()) {
      auto it = entries_.find(p.process().id());
      if (it != entries_.end() && p.process().has_exit()) it->second.stored = true;
    }
  }
  env_.loop.Post([self = Ref<Sandbox>(this)] { self->Settle(); });
  return {};
}

void Sandbox::SaveSoon() {
  {
    MutexLock lock(mutex_);
    if (save_scheduled_ || gone_) return;
    save_scheduled_ = true;
  }
  env_.workers.Run([self = Ref<Sandbox>(this)] {
    {
      MutexLock lock(self->mutex_);
      self->save_scheduled_ = false;
    }
    auto saved = self->Save(Durability::kHostCrash);
    if (saved.ok()) return;
    {
      MutexLock lock(self->mutex_);
      if (self->gone_ || self->view_.state() == v1::Sandbox::STATE_DELETING) return;
    }
    DAEMON_LOG(kError) << "sandbox " << self->id_ << ": " << saved.error().message()
                       << "; trying again in a second";
    self->env_.loop.RunAfter(std::chrono::seconds(1), [self] { self->SaveSoon(); });
  });
}

void Sandbox::SaveLater() {
  env_.loop.RunAfter(std::chrono::seconds(1), [self = Ref<Sandbox>(this)] { self->SaveSoon(); });
}

}  // namespace sandboxd::daemon
