#include "kernel/task/seccomp_notify.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <cstring>

#include "kernel/mm/random.h"

namespace sandboxd::task {
namespace {

struct AddFdAbi {  // struct seccomp_notif_addfd
  uint64_t id;
  uint32_t flags;
  uint32_t srcfd;
  uint32_t newfd;
  uint32_t newfd_flags;
};
static_assert(sizeof(AddFdAbi) == 24);
constexpr uint32_t kAddFdSet = 1, kAddFdSend = 2;  // SECCOMP_ADDFD_FLAG_*
// What ADD_FD's command says but for its size, which may grow.
constexpr uint32_t kAddFdCommand = _IOC(_IOC_WRITE, SECCOMP_IOC_MAGIC, 3, 0);
constexpr uint32_t kWithoutSize = ~(uint32_t{_IOC_SIZEMASK} << _IOC_SIZESHIFT);
constexpr uint32_t kIdValidWrongDirection = _IOR(SECCOMP_IOC_MAGIC, 2, uint64_t);

class ListenerFile final : public vfs::File {
 public:
  ListenerFile(vfs::Path path, Ref<SeccompListener> listener)
      : File(std::move(path), O_RDWR), listener_(std::move(listener)) {}

  Result<uint64_t> Ioctl(vfs::Caller& c, uint32_t command, uint64_t argument) override {
    auto* task = static_cast<Task*>(c.task());
    if (task == nullptr) return Errno::kENOTTY;
    UserAddr arg(argument);
    switch (command) {
      case SECCOMP_IOCTL_NOTIF_RECV:
        TRY(listener_->Receive(*task, arg));
        return uint64_t{0};
      case SECCOMP_IOCTL_NOTIF_SEND:
        TRY(listener_->Send(TRY(c.memory().Read<seccomp_notif_resp>(arg))));
        return uint64_t{0};
      case SECCOMP_IOCTL_NOTIF_ID_VALID:
      case kIdValidWrongDirection:
        TRY(listener_->CheckId(TRY(c.memory().Read<uint64_t>(arg))));
        return uint64_t{0};
      default:
        break;
    }
    if ((command & kWithoutSize) == kAddFdCommand) return AddFd(c, arg, _IOC_SIZE(command));
    return Errno::kEINVAL;
  }

  wait::EventMask Poll(wait::EventMask interest) override {
    return listener_->Poll() & (interest | EPOLLHUP);
  }
  bool pollable() const override { return true; }
  void AddWaiter(wait::WaitEntry& entry, wait::EventMask mask, bool exclusive) override {
    listener_->queue().Add(entry, mask, exclusive);
  }
  Result<size_t> Read(vfs::Caller&, mm::IoSink&) override { return Errno::kEINVAL; }
  std::string Describe() const override { return "anon_inode:seccomp notify"; }

 private:
  ~ListenerFile() override { listener_->Close(); }

  Result<uint64_t> AddFd(vfs::Caller& c, UserAddr arg, size_t size) {
    if (size < sizeof(AddFdAbi) || size >= kPageSize) return Errno::kEINVAL;
    auto bytes = TRY(c.memory().ReadArray<std::byte>(arg, size));
    for (size_t i = sizeof(AddFdAbi); i < size; i++) {
      if (bytes[i] != std::byte{0}) return Errno::kE2BIG;
    }
    AddFdAbi abi;
    std::memcpy(&abi, bytes.data(), sizeof(abi));
    if ((abi.newfd_flags & ~uint32_t{O_CLOEXEC}) != 0) return Errno::kEINVAL;
    if ((abi.flags & ~(kAddFdSet | kAddFdSend)) != 0) return Errno::kEINVAL;
    if (abi.newfd != 0 && (abi.flags & kAddFdSet) == 0) return Errno::kEINVAL;
    SeccompListener::AddFd request;
    request.id = abi.id;
    request.flags = abi.flags;
    request.file = TRY(c.files().Get(FdNum(static_cast<int32_t>(abi.srcfd))));
    request.at = FdNum(static_cast<int32_t>(abi.newfd));
    request.cloexec = (abi.newfd_flags & O_CLOEXEC) != 0;
    return static_cast<uint64_t>(TRY(listener_->AddDescriptor(request)).value);
  }

  const Ref<SeccompListener> listener_;
};

}  // namespace

Ref<SeccompListener> MakeSeccompListener(Kernel& kernel, bool wait_killable) {
  auto listener = MakeRef<SeccompListener>(kernel, wait_killable);
  MutexLock lock(listener->mutex_);
  // Not to be guessed by who has an old one.
  mm::RandomBytes(&listener->next_id_, sizeof(listener->next_id_));
  return listener;
}

Ref<vfs::File> SeccompListener::NewFile() {
  return MakeRef<ListenerFile>(kernel_.vfs().AnonymousPath("seccomp notify", 0600),
                               Ref<SeccompListener>(this));
}

SeccompListener::Pending* SeccompListener::Find(uint64_t id) {
  auto it = std::find_if(pending_.begin(), pending_.end(),
                         [id](const Pending* p) { return p->id == id; });
  return it == pending_.end() ? nullptr : *it;
}

bool SeccompListener::IsOver(const Pending& pending) {
  MutexLock lock(mutex_);
  return pending.state == State::kAnswered || closed_;
}

bool SeccompListener::IsReceived(const Pending& pending) {
  MutexLock lock(mutex_);
  return pending.state != State::kNew;
}

Result<void> SeccompListener::Wait(Task& task, Pending& pending) {
  while (!IsOver(pending)) {
    if (wait_killable_ && IsReceived(pending)) {
      return task.BlockKillable([&] { return IsOver(pending); });
    }
    TRY(task.Block(std::nullopt));
  }
  return Ok();
}

SeccompOutcome SeccompListener::Ask(Task& task, const seccomp_data& data,
                                    Result<uint64_t>* result) {
  Pending own;
  own.task = &task;
  own.data = data;
  {
    MutexLock lock(mutex_);
    if (closed_) {
      *result = Errno::kENOSYS;
      return SeccompOutcome::kSkip;
    }
    own.id = next_id_++;
    pending_.push_back(&own);
  }
  queue_.Notify(EPOLLIN | EPOLLRDNORM);
  Result<void> waited = Wait(task, own);
  {
    MutexLock lock(mutex_);
    pending_.remove(&own);
  }
  if (own.state == State::kAnswered) {
    if ((own.flags & SECCOMP_USER_NOTIF_FLAG_CONTINUE) != 0) return SeccompOutcome::kRun;
    // As Linux: any negative number goes into the register as it is.
    task.registers().set_return_value(
        static_cast<uint64_t>(own.error != 0 ? int64_t{own.error} : own.value));
    return SeccompOutcome::kKeep;
  }
  *result = waited.ok() ? Errno::kENOSYS : waited.error();
  return SeccompOutcome::kSkip;
}

Result<void> SeccompListener::Receive(Task& supervisor, UserAddr out) {
  // "The buffer must be zeroed": so that fields to come can mean something.
  auto zero = TRY(supervisor.memory().Read<seccomp_notif>(out));
  ConstBytes bytes = AsBytes(zero);
  if (std::any_of(bytes.begin(), bytes.end(), [](std::byte b) { return b != std::byte{0}; })) {
    return Errno::kEINVAL;
  }
  wait::BlockerEntry entry(supervisor);
  queue_.Add(entry, EPOLLIN);
  for (;;) {
    seccomp_notif notification{};
    {
      MutexLock lock(mutex_);
      for (Pending* p : pending_) {
        if (p->state != State::kNew) continue;
        notification.id = p->id;
        notification.pid = static_cast<uint32_t>(p->task->TidIn(*supervisor.pid_ns()).value);
        notification.data = p->data;
        p->state = State::kReceived;
        if (wait_killable_) p->task->Wake();
        break;
      }
      if (notification.id == 0 && unused_) return Errno::kENOENT;
    }
    if (notification.id != 0) {
      queue_.Notify(EPOLLOUT | EPOLLWRNORM);
      auto written = supervisor.memory().Write(out, notification);
      if (written.ok()) return Ok();
      // Nobody has seen it.
      MutexLock lock(mutex_);
      if (Pending* p = Find(notification.id)) p->state = State::kNew;
      return written.error();
    }
    TRY(supervisor.Block(std::nullopt));
  }
}

Result<void> SeccompListener::Send(const seccomp_notif_resp& response) {
  if ((response.flags & ~uint32_t{SECCOMP_USER_NOTIF_FLAG_CONTINUE}) != 0) return Errno::kEINVAL;
  if ((response.flags & SECCOMP_USER_NOTIF_FLAG_CONTINUE) != 0 &&
      (response.error != 0 || response.val != 0)) {
    return Errno::kEINVAL;
  }
  MutexLock lock(mutex_);
  Pending* p = Find(response.id);
  if (p == nullptr) return Errno::kENOENT;
  if (p->state != State::kReceived) return Errno::kEINPROGRESS;
  p->state = State::kAnswered;
  p->value = response.val;
  p->error = response.error;
  p->flags = response.flags;
  p->task->Wake();
  return Ok();
}

Result<void> SeccompListener::CheckId(uint64_t id) {
  MutexLock lock(mutex_);
  Pending* p = Find(id);
  return p != nullptr && p->state == State::kReceived ? Ok() : Result<void>(Errno::kENOENT);
}

Result<FdNum> SeccompListener::AddDescriptor(const AddFd& request) {
  Ref<Task> task;
  {
    MutexLock lock(mutex_);
    Pending* p = Find(request.id);
    if (p == nullptr) return Errno::kENOENT;
    if (p->state != State::kReceived) return Errno::kEINPROGRESS;
    task = Ref<Task>(p->task);
  }
  Ref<vfs::FdTable> files = task->files_ref();
  if (files == nullptr) return Errno::kENOENT;
  FdNum fd = request.at;
  if ((request.flags & kAddFdSet) != 0) {
    TRY(files->InstallAt(*task, request.file, fd, request.cloexec, task->fd_limit()));
  } else {
    fd = TRY(files->Install(request.file, request.cloexec, task->fd_limit()));
  }
  if ((request.flags & kAddFdSend) != 0) {
    seccomp_notif_resp response{};
    response.id = request.id;
    response.val = fd.value;
    TRY(Send(response));
  }
  return fd;
}

void SeccompListener::Close() {
  MutexLock lock(mutex_);
  closed_ = true;
  for (Pending* p : pending_) p->task->Wake();
}

wait::EventMask SeccompListener::Poll() {
  MutexLock lock(mutex_);
  wait::EventMask ready = 0;
  if (unused_) ready |= EPOLLHUP;
  for (const Pending* p : pending_) {
    if (p->state == State::kNew) ready |= EPOLLIN | EPOLLRDNORM;
    if (p->state == State::kReceived) ready |= EPOLLOUT | EPOLLWRNORM;
  }
  return ready;
}

void SeccompListener::OnUnused() {
  {
    MutexLock lock(mutex_);
    unused_ = true;
  }
  queue_.Notify(EPOLLHUP | EPOLLIN);
}

SeccompOutcome NotifySupervisor(Task& task, const seccomp::Filter& filter, const seccomp_data& data,
                                Result<uint64_t>* result) {
  auto* listener = static_cast<SeccompListener*>(filter.listener());
  if (listener == nullptr) {
    *result = Errno::kENOSYS;
    return SeccompOutcome::kSkip;
  }
  return Ref<SeccompListener>(listener)->Ask(task, data, result);
}

}  // namespace sandboxd::task
