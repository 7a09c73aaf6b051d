// seccomp_unotify(2): calls that a filter hands to a supervisor, and the file by which it answers.
#pragma once

#include <linux/seccomp.h>

#include <list>

#include "kernel/seccomp/filter.h"
#include "kernel/task/seccomp.h"
#include "kernel/task/task.h"
#include "kernel/vfs/file.h"

namespace sandboxd::task {

inline constexpr uint64_t kSeccompWaitKillable = 1 << 5;  // SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV

// What the filter, its tasks and the listening file share.
class SeccompListener final : public seccomp::Listener {
 public:
  // Struct layouts of the ABI: linux/seccomp.h.
  Ref<vfs::File> NewFile();

  // --- the task's side, own thread ---
  // Hands the call over and waits for the answer. ENOSYS if nobody listens (any more).
  SeccompOutcome Ask(Task& task, const seccomp_data& data, Result<uint64_t>* result);

  // --- the supervisor's side ---
  Result<void> Receive(Task& supervisor, UserAddr out);
  Result<void> Send(const seccomp_notif_resp& response);
  Result<void> CheckId(uint64_t id);
  struct AddFd {
    uint64_t id = 0;
    uint32_t flags = 0;
    Ref<vfs::File> file;
    FdNum at;  // with SECCOMP_ADDFD_FLAG_SETFD
    bool cloexec = false;
  };
  Result<FdNum> AddDescriptor(const AddFd& request);
  void Close();  // the file is gone
  wait::EventMask Poll();
  wait::WaitQueue& queue() { return queue_; }

  void OnUnused() override;

 private:
  friend Ref<SeccompListener> MakeSeccompListener(Kernel& kernel, bool wait_killable);
  template <typename T, typename... Args>
  friend Ref<T> sandboxd::MakeRef(Args&&...);
  SeccompListener(Kernel& kernel, bool wait_killable)
      : kernel_(kernel), wait_killable_(wait_killable) {}

  enum class State : uint8_t { kNew, kReceived, kAnswered };
  // One call that waits; lives on the waiting task's stack while it is in the list.
  struct Pending {
    uint64_t id = 0;
    Task* task = nullptr;
    seccomp_data data{};
    State state = State::kNew;
    int64_t value = 0;
    int32_t error = 0;
    uint32_t flags = 0;
    bool adding = false;  // a supervisor is putting a descriptor into the task
  };
  Pending* Find(uint64_t id) REQUIRES(mutex_);
  bool IsOver(const Pending& pending);
  bool IsReceived(const Pending& pending);
  Result<void> Wait(Task& task, Pending& pending);

  Kernel& kernel_;  // outlives every task
  const bool wait_killable_;
  wait::WaitQueue queue_;
  Mutex mutex_{LockRank::kIpcObject};
  std::list<Pending*> pending_ GUARDED_BY(mutex_);
  uint64_t next_id_ GUARDED_BY(mutex_) = 1;
  bool closed_ GUARDED_BY(mutex_) = false;
  bool unused_ GUARDED_BY(mutex_) = false;
};

Ref<SeccompListener> MakeSeccompListener(Kernel& kernel, bool wait_killable);

SeccompOutcome NotifySupervisor(Task& task, const seccomp::Filter& filter, const seccomp_data& data,
                                Result<uint64_t>* result);

}  // namespace sandboxd::task
