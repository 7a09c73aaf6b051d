#include "kernel/task/kernel.h"

#include <sched.h>
#include <signal.h>

#include <algorithm>

#include "kernel/ipc/futex.h"
#include "kernel/net/network.h"
#include "kernel/task/namespace_objects.h"
#include "kernel/task/nsfs.h"
#include "kernel/task/pid_namespace.h"
#include "kernel/task/task.h"
#include "kernel/task/thread_group.h"
#include "kernel/time/clock.h"

namespace sandboxd::task {
namespace {

unsigned AllowedCpus() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) != 0) return 1;
  return static_cast<unsigned>(std::max(CPU_COUNT(&set), 1));
}

}  // namespace

UtsNamespace::UtsNamespace(std::string hostname, std::string domainname,
                           Ref<creds::UserNamespace> owner)
    : Namespace(CLONE_NEWUTS),
      hostname_(std::move(hostname)),
      domainname_(std::move(domainname)),
      owner_(std::move(owner)) {}

std::string UtsNamespace::hostname() const {
  MutexLock lock(mutex_);
  return hostname_;
}
std::string UtsNamespace::domainname() const {
  MutexLock lock(mutex_);
  return domainname_;
}
void UtsNamespace::set_hostname(std::string name) {
  MutexLock lock(mutex_);
  hostname_ = std::move(name);
}
void UtsNamespace::set_domainname(std::string name) {
  MutexLock lock(mutex_);
  domainname_ = std::move(name);
}
Ref<UtsNamespace> UtsNamespace::Clone(Ref<creds::UserNamespace> owner) const {
  MutexLock lock(mutex_);
  return MakeRef<UtsNamespace>(hostname_, domainname_, std::move(owner));
}

Kernel::Kernel(Parts parts)
    : parts_(std::move(parts)),
      cpu_count_(AllowedCpus()),
      boot_realtime_(time::RealtimeNow() - time::BoottimeNow()),
      futexes_(std::make_unique<ipc::FutexTable>()),
      network_(std::make_unique<net::Network>(*parts_.vfs)),
      init_user_ns_(creds::UserNamespace::CreateInitial()),
      init_pid_ns_(MakeRef<PidNamespace>(nullptr, init_user_ns_)),
      init_ipc_ns_(MakeRef<IpcNamespace>(init_user_ns_)),
      init_net_ns_(MakeRef<NetNamespace>(*network_, init_user_ns_)),
      init_cgroup_ns_(MakeRef<CgroupNamespace>(init_user_ns_)),
      init_time_ns_(MakeRef<TimeNamespace>(init_user_ns_)),
      nsfs_(NewNsfsMount()) {}

Kernel::~Kernel() { Shutdown(); }

void Kernel::Shutdown() {
  // A clone that is under way can add one more after each round; it finds itself killed or not, so
  // look again until no thread is left.
  for (;;) {
    std::vector<Ref<ThreadGroup>> groups = ThreadGroups();
    for (const Ref<ThreadGroup>& group : groups) group->Kill({.signo = SIGKILL});
    groups.clear();
    HostThreads& threads = *host_threads_;
    MutexLock lock(threads.mutex);
    if (threads.count == 0) return;
    threads.changed.Wait(threads.mutex);
  }
}

void Kernel::HostThreads::Add(int delta) {
  MutexLock lock(mutex);
  count += delta;
  changed.NotifyAll();
}

void Kernel::CountUserTask(creds::KUid uid, int delta) {
  MutexLock lock(users_mutex_);
  int& count = user_tasks_[uid.value];
  count += delta;
  if (count == 0) user_tasks_.erase(uid.value);
}

int Kernel::UserTasks(creds::KUid uid) const {
  MutexLock lock(users_mutex_);
  auto it = user_tasks_.find(uid.value);
  return it == user_tasks_.end() ? 0 : it->second;
}

Session* Kernel::SessionOfTerminal(const RefCounted* terminal) const {
  auto it = terminals_.find(terminal);
  return it == terminals_.end() ? nullptr : it->second;
}

void Kernel::SetSessionOfTerminal(const RefCounted* terminal, Session* session) {
  if (session == nullptr) {
    terminals_.erase(terminal);
  } else {
    terminals_[terminal] = session;
  }
}

std::vector<Ref<ThreadGroup>> Kernel::ThreadGroups() {
  MutexLock lock(tree_mutex_);
  std::vector<Ref<ThreadGroup>> groups;
  for (Task* task : init_pid_ns_->Tasks()) {
    if (task->is_leader()) groups.push_back(task->group_ref());
  }
  return groups;
}

}  // namespace sandboxd::task
