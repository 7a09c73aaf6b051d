// POSIX message queues: mq_open(2), mq_unlink(2), mq_timedsend(2), mq_timedreceive(2),
// mq_notify(2), mq_getsetattr(2).
#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/resource.h>

#include "kernel/fs/mqueue/mqueue.h"
#include "kernel/syscalls/blocking_io.h"
#include "kernel/syscalls/families.h"
#include "kernel/time/clock.h"

namespace sandboxd::syscalls {
namespace {

using mqueue::MessageQueue;
using mqueue::MqueueType;
using mqueue::QueueFile;

// struct mq_attr.
struct MqAttr {
  int64_t flags = 0;
  int64_t max_messages = 0;
  int64_t message_size = 0;
  int64_t messages = 0;
  int64_t reserved[4] = {};
};
static_assert(sizeof(MqAttr) == 64);

// struct sigevent, as far as it is read.
struct SigEvent {
  uint64_t value = 0;
  int32_t signo = 0;
  int32_t notify = 0;
  uint8_t rest[48] = {};
};
static_assert(sizeof(SigEvent) == 64);

Result<MqueueType*> Queues(Task& t) {
  // Registered under its own name by kernel/boot, and nobody else takes it.
  vfs::FilesystemType* type = t.kernel().vfs().FindFilesystem(MqueueType::kName);
  if (type == nullptr) return Errno::kENOSYS;
  return static_cast<MqueueType*>(type);
}

// EBADF for a descriptor that is none, or another kind of file.
Result<Ref<QueueFile>> GetQueue(Task& t, FdNum fd) {
  Ref<vfs::File> file = TRY(t.files().GetForIo(fd));
  QueueFile* queue = vfs::FileAs<QueueFile>(*file);
  if (queue == nullptr) return Errno::kEBADF;
  return Ref<QueueFile>(queue);
}

Result<uint64_t> SysMqOpen(Task& t, UserCStr name, int32_t flags, uint32_t mode,
                           UserIn<MqAttr> attr) {
  MqueueType::OpenRequest request;
  if ((flags & O_CREAT) != 0 && !attr.null()) {
    auto limits = TRY(attr.Read(t));
    request.limits = mqueue::Limits{limits.max_messages, limits.message_size};
  }
  std::string own_name = TRY(t.memory().ReadCString(name, PATH_MAX));
  request.flags = flags & (O_ACCMODE | O_CREAT | O_EXCL | O_NONBLOCK);
  request.mode = mode;
  request.max_bytes = t.group().GetRlimit(RLIMIT_MSGQUEUE).rlim_cur;
  TRY(t.files().CheckRoom(t.fd_limit()));
  Ref<vfs::File> file = TRY(TRY(Queues(t))->OpenQueue(t, own_name, request));
  FdNum fd = TRY(t.files().Install(std::move(file), (flags & O_CLOEXEC) != 0, t.fd_limit()));
  return static_cast<uint64_t>(fd.value);
}

Result<void> SysMqUnlink(Task& t, UserCStr name) {
  std::string own_name = TRY(t.memory().ReadCString(name, PATH_MAX));
  return TRY(Queues(t))->Unlink(t, own_name);
}

// A point on CLOCK_REALTIME; null waits for ever.
Result<wait::Deadline> ReadAbsoluteTimeout(Task& t, UserIn<time::Timespec> timeout) {
  if (timeout.null()) return wait::Deadline();
  auto value = TRY(timeout.Read(t));
  if (!value.valid()) return Errno::kEINVAL;
  return wait::Deadline(TRY(time::ToMonotonic(CLOCK_REALTIME, value.ToNanos())));
}

// mq_send(3), mq_receive(3): a wait that runs out is ETIMEDOUT; without one, EAGAIN.
template <typename Attempt>
auto Transfer(Task& t, QueueFile& file, wait::EventMask event, wait::Deadline deadline,
              Attempt attempt) -> decltype(attempt()) {
  auto done = Blocking(t, file, event, file.nonblocking(), deadline, attempt);
  if (done.Is(Errno::kEAGAIN) && !file.nonblocking()) return Errno::kETIMEDOUT;
  return done;
}

Result<void> SysMqTimedsend(Task& t, FdNum fd, UserAddr text, uint64_t size, uint32_t priority,
                            UserIn<time::Timespec> timeout) {
  if (priority >= mqueue::kPriorities) return Errno::kEINVAL;
  wait::Deadline deadline = TRY(ReadAbsoluteTimeout(t, timeout));
  Ref<QueueFile> file = TRY(GetQueue(t, fd));
  if (!file->writable()) return Errno::kEBADF;
  MessageQueue& queue = file->messages();
  if (size > static_cast<uint64_t>(queue.limits().message_size)) return Errno::kEMSGSIZE;
  mqueue::Message message;
  message.priority = priority;
  message.text.resize(size);
  TRY(t.memory().CopyIn(text, std::as_writable_bytes(std::span(message.text))));
  return Transfer(t, *file, EPOLLOUT, deadline, [&] { return queue.Send(t, message); });
}

Result<uint64_t> SysMqTimedreceive(Task& t, FdNum fd, UserAddr text, uint64_t size,
                                   UserOut<uint32_t> priority, UserIn<time::Timespec> timeout) {
  wait::Deadline deadline = TRY(ReadAbsoluteTimeout(t, timeout));
  Ref<QueueFile> file = TRY(GetQueue(t, fd));
  if (!file->readable()) return Errno::kEBADF;
  MessageQueue& queue = file->messages();
  if (size < static_cast<uint64_t>(queue.limits().message_size)) return Errno::kEMSGSIZE;
  MessageQueue::Receiving receiving(queue);
  mqueue::Message message =
      TRY(Transfer(t, *file, EPOLLIN, deadline, [&] { return queue.Receive(); }));
  if (!priority.null()) TRY(priority.Write(t, message.priority));
  TRY(t.memory().CopyOut(text, std::as_bytes(std::span(message.text))));
  return static_cast<uint64_t>(message.text.size());
}

// Tells a process with a signal, or (SIGEV_NONE) only by having been there.
class SignalListener final : public mqueue::Listener {
 public:
  SignalListener(Task& t, const SigEvent& event) : group_(t.group_ref()), value_(event.value) {
    process = t.process_id();
    pid = t.tgid().value;
    method = event.notify;
    signo = event.signo;
  }
  void Deliver(vfs::Caller& sender) override {
    if (method != SIGEV_SIGNAL) return;
    Task& from = *static_cast<Task*>(sender.task());  // who sends through a system call is a task
    signal::SigInfo info =
        signal::SigInfo::User(signo, SI_MESGQ, from.group().TgidIn(*group_->pid_ns()).value,
                              from.credentials()->ruid.value);
    info.kill.value = value_;
    (void)group_->SendSignal(info);  // a full queue loses it, as in Linux
  }

 private:
  const Ref<task::ThreadGroup> group_;
  const uint64_t value_;
};

Result<void> SysMqNotify(Task& t, FdNum fd, UserIn<SigEvent> event_address) {
  Ref<mqueue::Listener> listener;
  if (!event_address.null()) {
    auto event = TRY(event_address.Read(t));
    if (event.notify != SIGEV_NONE && event.notify != SIGEV_SIGNAL &&
        event.notify != SIGEV_THREAD) {
      return Errno::kEINVAL;
    }
    if (event.notify == SIGEV_SIGNAL && (event.signo < 0 || event.signo > signal::kSignalCount)) {
      return Errno::kEINVAL;
    }
    // Its "signal" is a netlink socket, which there is none of.
    if (event.notify == SIGEV_THREAD) return Errno::kEBADF;
    listener = MakeRef<SignalListener>(t, event);
  }
  Ref<QueueFile> file = TRY(GetQueue(t, fd));
  if (listener != nullptr) return file->messages().Listen(std::move(listener));
  file->messages().StopListening(t.process_id());
  return Ok();
}

Result<void> SysMqGetsetattr(Task& t, FdNum fd, UserIn<MqAttr> wanted, UserOut<MqAttr> old) {
  MqAttr next;
  if (!wanted.null()) {
    next = TRY(wanted.Read(t));
    if ((next.flags & ~int64_t{O_NONBLOCK}) != 0) return Errno::kEINVAL;
  }
  Ref<QueueFile> file = TRY(GetQueue(t, fd));
  const mqueue::Limits limits = file->messages().limits();
  MqAttr now;
  now.flags = file->flags() & O_NONBLOCK;
  now.max_messages = limits.messages;
  now.message_size = limits.message_size;
  now.messages = static_cast<int64_t>(file->messages().count());
  if (!wanted.null()) {
    TRY(file->SetStatusFlags((file->flags() & ~O_NONBLOCK) | static_cast<int>(next.flags)));
  }
  if (!old.null()) TRY(old.Write(t, now));
  return Ok();
}

constexpr Row kRows[] = {
    Full<SysMqOpen>(SYS_mq_open, "mq_open"),
    Full<SysMqUnlink>(SYS_mq_unlink, "mq_unlink"),
    Full<SysMqTimedsend>(SYS_mq_timedsend, "mq_timedsend"),
    Full<SysMqTimedreceive>(SYS_mq_timedreceive, "mq_timedreceive"),
    Partial<SysMqNotify>(SYS_mq_notify, "mq_notify", "SIGEV_THREAD is refused with EBADF"),
    Full<SysMqGetsetattr>(SYS_mq_getsetattr, "mq_getsetattr"),
};

}  // namespace

std::span<const Row> MqRows() { return kRows; }

}  // namespace sandboxd::syscalls
