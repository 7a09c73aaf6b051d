// System V IPC: semget(2), semop(2), semctl(2), msgget(2), msgsnd(2), msgrcv(2), msgctl(2),
// shmget(2), shmat(2), shmdt(2), shmctl(2).
#include <sys/epoll.h>
#include <sys/mman.h>

#include "kernel/ipc/sysv.h"
#include "kernel/syscalls/deadlines.h"
#include "kernel/syscalls/families.h"
#include "kernel/syscalls/sysv_arguments.h"

namespace sandboxd::syscalls {
namespace {

using ipc::MessageQueue;
using ipc::Segment;
using ipc::SemaphoreSet;

constexpr uint64_t kMaxSegment = uint64_t{1} << 40;

// The task holds its namespace, and only its own thread changes which.
ipc::SysvIpc& Ipc(Task& t) { return t.ipc_ns()->sysv(); }

// `attempt` until it gives something else than EAGAIN; woken by the object's queue.
template <typename Attempt>
auto WaitOn(Task& t, wait::WaitQueue& queue, wait::Deadline deadline, Attempt attempt)
    -> decltype(attempt()) {
  wait::BlockerEntry entry(t);
  queue.Add(entry, EPOLLIN | EPOLLOUT);
  for (;;) {
    auto r = attempt();
    if (!r.Is(Errno::kEAGAIN)) return r;
    Result<void> woken = t.Block(deadline);
    if (woken.Is(Errno::kETIMEDOUT)) return Errno::kEAGAIN;
    if (!woken.ok()) return woken.error();
  }
}

// --- semaphores ---

Result<uint64_t> SysSemget(Task& t, int32_t key, int32_t count, int32_t flags) {
  if (count < 0 || count > ipc::kMaxSemaphores) return Errno::kEINVAL;
  auto fits = [&](SemaphoreSet& set) -> Result<void> {
    set.mutex.AssertHeld();
    return static_cast<size_t>(count) > set.semaphores.size() ? Errno::kEINVAL : Result<void>();
  };
  auto make = [&]() -> Result<Ref<SemaphoreSet>> {
    if (count == 0) return Errno::kEINVAL;
    return MakeRef<SemaphoreSet>(static_cast<size_t>(count));
  };
  return static_cast<uint64_t>(
      TRY(Ipc(t).semaphores.Get(*t.credentials(), key, flags, fits, make)));
}

Result<uint64_t> SysSemtimedop(Task& t, int32_t id, UserAddr list, uint64_t count,
                               UserAddr timeout) {
  wait::Deadline deadline = TRY(ReadRelativeTimeout(t, timeout));
  if (count < 1 || id < 0) return Errno::kEINVAL;
  if (count > ipc::kMaxSemOperations) return Errno::kE2BIG;
  auto operations = TRY(t.memory().ReadArray<sembuf>(list, count));
  Ref<SemaphoreSet> set = TRY(Ipc(t).semaphores.Find(id));
  bool alters = false;
  for (const sembuf& op : operations) alters = alters || op.sem_op != 0;
  TRY(CheckAccess(t, *set, alters ? kWriteMode : kReadMode));
  wait::BlockerEntry entry(t);
  set->queue.Add(entry, EPOLLIN);
  for (;;) {
    SemaphoreSet::Waiting waiting;
    if (TRY(set->Operate(operations, t.tgid().value, t.process_id(), &waiting))) return uint64_t{0};
    Result<void> woken = t.Block(deadline);
    set->EndWait(waiting);
    if (woken.Is(Errno::kETIMEDOUT)) return Errno::kEAGAIN;
    if (!woken.ok()) return Errno::kEINTR;  // signal(7): never restarted
  }
}

Result<uint64_t> SysSemop(Task& t, int32_t id, UserAddr list, uint64_t count) {
  return SysSemtimedop(t, id, list, count, UserAddr());
}

Result<uint64_t> StatSemaphores(Task& t, int id, int command, UserAddr out) {
  const bool by_index = command != IPC_STAT;
  Ref<SemaphoreSet> set =
      TRY(FindForStat(t, Ipc(t).semaphores, id, by_index, command == SEM_STAT_ANY));
  semid_ds ds = {};
  {
    MutexLock lock(set->mutex);
    ds.sem_perm = ToUser(t, set->permission);
    ds.sem_otime = set->operation_time;
    ds.sem_ctime = set->change_time;
    ds.sem_nsems = set->semaphores.size();
  }
  TRY(t.memory().Write(out, ds));
  return static_cast<uint64_t>(by_index ? set->id : 0);
}

Result<uint64_t> SemaphoreInfo(Task& t, int command, UserAddr out) {
  seminfo info = {};
  info.semmni = info.semusz = ipc::SysvTable<SemaphoreSet>::kMaxObjects;
  info.semmns = info.semmnu = info.semmap = 1024000000;
  info.semmsl = ipc::kMaxSemaphores;
  info.semume = ipc::kMaxSemOperations;
  info.semopm = ipc::kMaxSemOperations;
  info.semvmx = info.semaem = ipc::kMaxSemValue;
  if (command == SEM_INFO) {
    auto all = Ipc(t).semaphores.List();
    info.semusz = static_cast<int>(all.size());
    info.semaem = 0;
    for (const auto& set : all) {
      MutexLock lock(set->mutex);
      info.semaem += static_cast<int>(set->semaphores.size());
    }
  }
  TRY(t.memory().Write(out, info));
  return static_cast<uint64_t>(Ipc(t).semaphores.highest_index());
}

// GETVAL, GETPID, GETNCNT, GETZCNT, SETVAL on one semaphore.
Result<uint64_t> OneSemaphore(Task& t, SemaphoreSet& set, int number, int command,
                              uint64_t argument) {
  const uint32_t wanted = command == SETVAL ? kWriteMode : kReadMode;
  TRY(CheckAccess(t, set, wanted));
  {
    MutexLock lock(set.mutex);
    if (number < 0 || static_cast<size_t>(number) >= set.semaphores.size()) return Errno::kEINVAL;
    const SemaphoreSet::Semaphore& s = set.semaphores[static_cast<size_t>(number)];
    switch (command) {
      case GETVAL:
        return uint64_t{s.value};
      case GETPID:
        return static_cast<uint64_t>(s.pid);
      case GETNCNT:
        return static_cast<uint64_t>(s.waiting_for_increase);
      case GETZCNT:
        return static_cast<uint64_t>(s.waiting_for_zero);
    }
  }
  TRY(set.SetValue(number, static_cast<int32_t>(argument), t.tgid().value));
  return uint64_t{0};
}

Result<uint64_t> AllSemaphores(Task& t, SemaphoreSet& set, int command, UserAddr address) {
  TRY(CheckAccess(t, set, command == SETALL ? kWriteMode : kReadMode));
  std::vector<uint16_t> values;
  {
    MutexLock lock(set.mutex);
    for (const auto& s : set.semaphores) values.push_back(s.value);
  }
  if (command == GETALL) {
    TRY(t.memory().CopyOut(address, std::as_bytes(std::span(values))));
    return uint64_t{0};
  }
  values = TRY(t.memory().ReadArray<uint16_t>(address, values.size()));
  TRY(set.SetAll(values, t.tgid().value));
  return uint64_t{0};
}

Result<uint64_t> SysSemctl(Task& t, int32_t id, int32_t number, int32_t command,
                           uint64_t argument) {
  if (id < 0) return Errno::kEINVAL;
  const UserAddr address(argument);
  switch (command) {
    case IPC_INFO:
    case SEM_INFO:
      return SemaphoreInfo(t, command, address);
    case IPC_STAT:
    case SEM_STAT:
    case SEM_STAT_ANY:
      return StatSemaphores(t, id, command, address);
  }
  Ref<SemaphoreSet> set = TRY(Ipc(t).semaphores.Find(id));
  switch (command) {
    case GETVAL:
    case GETPID:
    case GETNCNT:
    case GETZCNT:
    case SETVAL:
      return OneSemaphore(t, *set, number, command, argument);
    case GETALL:
    case SETALL:
      return AllSemaphores(t, *set, command, address);
    case IPC_SET: {
      auto ds = TRY(t.memory().Read<semid_ds>(address));
      TRY(CheckControl(t, *set));
      MutexLock lock(set->mutex);
      TRY(Apply(t, ds.sem_perm, set->permission));
      set->change_time = ipc::SysvNow();
      return uint64_t{0};
    }
    case IPC_RMID:
      TRY(CheckControl(t, *set));
      Ipc(t).semaphores.Remove(id);
      set->Remove();
      return uint64_t{0};
    default:
      return Errno::kEINVAL;
  }
}

// --- messages ---

Result<uint64_t> SysMsgget(Task& t, int32_t key, int32_t flags) {
  auto fits = [](MessageQueue&) { return Result<void>(); };
  auto make = []() -> Result<Ref<MessageQueue>> { return MakeRef<MessageQueue>(); };
  return static_cast<uint64_t>(TRY(Ipc(t).messages.Get(*t.credentials(), key, flags, fits, make)));
}

Result<void> SysMsgsnd(Task& t, int32_t id, UserAddr buffer, uint64_t size, int32_t flags) {
  if (id < 0 || size > ipc::kMaxMessage) return Errno::kEINVAL;
  MessageQueue::Message message;
  message.type = TRY(t.memory().Read<int64_t>(buffer));
  if (message.type < 1) return Errno::kEINVAL;
  message.text.resize(size);
  TRY(t.memory().CopyIn(buffer + sizeof(int64_t), std::as_writable_bytes(std::span(message.text))));
  Ref<MessageQueue> queue = TRY(Ipc(t).messages.Find(id));
  TRY(CheckAccess(t, *queue, kWriteMode));
  auto send = [&] { return queue->Send(message, t.tgid().value); };
  Result<void> r = (flags & IPC_NOWAIT) != 0 ? send() : WaitOn(t, queue->queue, {}, send);
  return r.Is(Errno::kERESTARTSYS) ? Result<void>(Errno::kERESTARTNOHAND) : r;
}

Result<uint64_t> SysMsgrcv(Task& t, int32_t id, UserAddr buffer, uint64_t size, int64_t type,
                           int32_t flags) {
  if (id < 0 || static_cast<int64_t>(size) < 0) return Errno::kEINVAL;
  const bool copy = (flags & MSG_COPY) != 0;
  if (copy && ((flags & MSG_EXCEPT) != 0 || (flags & IPC_NOWAIT) == 0)) return Errno::kEINVAL;
  Ref<MessageQueue> queue = TRY(Ipc(t).messages.Find(id));
  TRY(CheckAccess(t, *queue, kReadMode));
  auto receive = [&] {
    return copy ? queue->Copy(type, size, flags)
                : queue->Receive(type, size, flags, t.tgid().value);
  };
  Result<MessageQueue::Message> r =
      (flags & IPC_NOWAIT) != 0 ? receive() : WaitOn(t, queue->queue, {}, receive);
  if (r.Is(Errno::kEAGAIN)) return Errno::kENOMSG;
  if (r.Is(Errno::kERESTARTSYS)) return Errno::kERESTARTNOHAND;
  MessageQueue::Message message = TRY(std::move(r));
  TRY(t.memory().Write(buffer, message.type));
  TRY(t.memory().CopyOut(buffer + sizeof(int64_t), std::as_bytes(std::span(message.text))));
  return uint64_t{message.text.size()};
}

Result<uint64_t> StatMessages(Task& t, int id, int command, UserAddr out) {
  const bool by_index = command != IPC_STAT;
  Ref<MessageQueue> queue =
      TRY(FindForStat(t, Ipc(t).messages, id, by_index, command == MSG_STAT_ANY));
  msqid_ds ds = {};
  {
    MutexLock lock(queue->mutex);
    ds.msg_perm = ToUser(t, queue->permission);
    ds.msg_stime = queue->send_time;
    ds.msg_rtime = queue->receive_time;
    ds.msg_ctime = queue->change_time;
    ds.__msg_cbytes = queue->bytes;
    ds.msg_qnum = queue->messages.size();
    ds.msg_qbytes = queue->max_bytes;
    ds.msg_lspid = queue->last_sender;
    ds.msg_lrpid = queue->last_receiver;
  }
  TRY(t.memory().Write(out, ds));
  return static_cast<uint64_t>(by_index ? queue->id : 0);
}

Result<uint64_t> SetMessages(Task& t, MessageQueue& queue, UserAddr address) {
  auto ds = TRY(t.memory().Read<msqid_ds>(address));
  TRY(CheckControl(t, queue));
  // msgctl(2): only privileged callers may go beyond MSGMNB.
  if (ds.msg_qbytes > ipc::kMaxMessageQueue && !t.credentials()->CapableInit(24)) {
    return Errno::kEPERM;  // CAP_SYS_RESOURCE
  }
  {
    MutexLock lock(queue.mutex);
    TRY(Apply(t, ds.msg_perm, queue.permission));
    queue.max_bytes = ds.msg_qbytes;
    queue.change_time = ipc::SysvNow();
  }
  queue.queue.Notify(EPOLLOUT);
  return uint64_t{0};
}

Result<uint64_t> MessageInfo(Task& t, int command, UserAddr out) {
  msginfo info = {};
  info.msgmni = ipc::SysvTable<MessageQueue>::kMaxObjects;
  info.msgmax = ipc::kMaxMessage;
  info.msgmnb = ipc::kMaxMessageQueue;
  info.msgpool = info.msgmni * info.msgmnb / 1024;
  info.msgmap = info.msgtql = info.msgmnb;
  info.msgssz = 16;
  info.msgseg = 0xffff;
  if (command == MSG_INFO) {
    info.msgpool = info.msgmap = info.msgtql = 0;
    for (const auto& queue : Ipc(t).messages.List()) {
      MutexLock lock(queue->mutex);
      info.msgpool++;
      info.msgmap += static_cast<int>(queue->messages.size());
      info.msgtql += static_cast<int>(queue->bytes);
    }
  }
  TRY(t.memory().Write(out, info));
  return static_cast<uint64_t>(Ipc(t).messages.highest_index());
}

Result<uint64_t> SysMsgctl(Task& t, int32_t id, int32_t command, UserAddr address) {
  if (id < 0 || command < 0) return Errno::kEINVAL;
  switch (command) {
    case IPC_INFO:
    case MSG_INFO:
      return MessageInfo(t, command, address);
    case IPC_STAT:
    case MSG_STAT:
    case MSG_STAT_ANY:
      return StatMessages(t, id, command, address);
    case IPC_SET:
      return SetMessages(t, *TRY(Ipc(t).messages.Find(id)), address);
    case IPC_RMID: {
      Ref<MessageQueue> queue = TRY(Ipc(t).messages.Find(id));
      TRY(CheckControl(t, *queue));
      Ipc(t).messages.Remove(id);
      queue->Remove();
      return uint64_t{0};
    }
    default:
      return Errno::kEINVAL;
  }
}

// --- shared memory ---

Result<uint64_t> SysShmget(Task& t, int32_t key, uint64_t size, int32_t flags) {
  if ((flags & SHM_HUGETLB) != 0) return Errno::kENOSYS;  // as without CONFIG_HUGETLB_PAGE
  auto fits = [&](Segment& s) {
    return size > s.size ? Result<void>(Errno::kEINVAL) : Result<void>();
  };
  auto make = [&]() -> Result<Ref<Segment>> {
    if (size < 1 || size > kMaxSegment) return Errno::kEINVAL;
    Ref<vfs::File> file = TRY(t.kernel().vfs().OpenMemfd(t, "SYSV", {}));
    TRY(file->Truncate(t, *PageRoundUp(size)));
    return MakeRef<Segment>(std::move(file), size, t.tgid().value);
  };
  return static_cast<uint64_t>(
      TRY(Ipc(t).memory.table().Get(*t.credentials(), key, flags, fits, make)));
}

Result<uint64_t> SysShmat(Task& t, int32_t id, UserAddr addr, int32_t flags) {
  Ref<Segment> segment = TRY(Ipc(t).memory.table().Find(id));
  const bool read_only = (flags & SHM_RDONLY) != 0;
  mm::MmapRequest request;
  if (!addr.null()) {
    if (!IsPageAligned(addr.value)) {
      if ((flags & SHM_RND) == 0) return Errno::kEINVAL;
      addr = UserAddr(PageRoundDown(addr.value));
    }
    if (addr.null() && (flags & SHM_REMAP) != 0) return Errno::kEINVAL;
    request.flags = (flags & SHM_REMAP) != 0 ? MAP_FIXED : MAP_FIXED_NOREPLACE;
  } else if ((flags & SHM_REMAP) != 0) {
    return Errno::kEINVAL;
  }
  TRY(CheckAccess(t, *segment, read_only ? kReadMode : kReadMode | kWriteMode));
  request.addr = addr;
  request.length = *PageRoundUp(segment->size);  // checked when it was made
  request.prot = PROT_READ | (read_only ? 0 : PROT_WRITE) | ((flags & SHM_EXEC) ? PROT_EXEC : 0);
  request.flags |= MAP_SHARED;
  if (read_only) request.max_prot &= ~PROT_WRITE;
  request.file = TRY(Ipc(t).memory.Attach(t, segment, read_only, t.tgid().value));
  Result<UserAddr> at = t.mm()->Mmap(t.context(), request, t.memory_limits());
  if (at.Is(Errno::kEEXIST)) return Errno::kEINVAL;
  return TRY(at).value;
}

Result<void> SysShmdt(Task& t, UserAddr addr) {
  if (!IsPageAligned(addr.value)) return Errno::kEINVAL;
  Ref<mm::Mappable> found;
  std::vector<AddrRange> ranges;
  for (const mm::Vma& vma : t.mm()->Snapshot()) {
    if (vma.range.start < addr || vma.file == nullptr) continue;
    if (found == nullptr) {
      bool begins_here = vma.range.start.value - vma.offset == addr.value;
      if (!begins_here || !Ipc(t).memory.IsAttachment(vma.file.get())) continue;
      found = vma.file;
    }
    if (vma.file == found) ranges.push_back(vma.range);
  }
  if (found == nullptr) return Errno::kEINVAL;
  for (const AddrRange& r : ranges) TRY(t.mm()->Munmap(t.context(), r.start, r.length()));
  return Ok();
}

Result<uint64_t> StatMemory(Task& t, int id, int command, UserAddr out) {
  const bool by_index = command != IPC_STAT;
  Ref<Segment> s =
      TRY(FindForStat(t, Ipc(t).memory.table(), id, by_index, command == SHM_STAT_ANY));
  shmid_ds ds = {};
  {
    MutexLock lock(s->mutex);
    ds.shm_perm = ToUser(t, s->permission);
    ds.shm_segsz = s->size;
    ds.shm_atime = s->attach_time;
    ds.shm_dtime = s->detach_time;
    ds.shm_ctime = s->change_time;
    ds.shm_cpid = s->creator_pid;
    ds.shm_lpid = s->last_pid;
    ds.shm_nattch = s->attached;
  }
  TRY(t.memory().Write(out, ds));
  return static_cast<uint64_t>(by_index ? s->id : 0);
}

Result<uint64_t> MemoryInfo(Task& t, int command, UserAddr out) {
  auto highest = static_cast<uint64_t>(Ipc(t).memory.table().highest_index());
  if (command == IPC_INFO) {
    shminfo info = {};
    info.shmmax = kMaxSegment;
    info.shmmin = 1;
    info.shmmni = info.shmseg = ipc::SysvTable<Segment>::kMaxObjects;
    info.shmall = kMaxSegment / kPageSize;
    TRY(t.memory().Write(out, info));
    return highest;
  }
  shm_info info = {};
  for (const auto& s : Ipc(t).memory.table().List()) {
    info.used_ids++;
    info.shm_tot += *PageRoundUp(s->size) / kPageSize;
  }
  info.shm_rss = info.shm_tot;
  TRY(t.memory().Write(out, info));
  return highest;
}

Result<uint64_t> SysShmctl(Task& t, int32_t id, int32_t command, UserAddr address) {
  if (id < 0 || command < 0) return Errno::kEINVAL;
  switch (command) {
    case IPC_INFO:
    case SHM_INFO:
      return MemoryInfo(t, command, address);
    case IPC_STAT:
    case SHM_STAT:
    case SHM_STAT_ANY:
      return StatMemory(t, id, command, address);
  }
  Ref<Segment> segment = TRY(Ipc(t).memory.table().Find(id));
  switch (command) {
    case IPC_SET: {
      auto ds = TRY(t.memory().Read<shmid_ds>(address));
      TRY(CheckControl(t, *segment));
      MutexLock lock(segment->mutex);
      TRY(Apply(t, ds.shm_perm, segment->permission));
      segment->change_time = ipc::SysvNow();
      return uint64_t{0};
    }
    case IPC_RMID:
      TRY(CheckControl(t, *segment));
      Ipc(t).memory.Remove(*segment);
      return uint64_t{0};
    case SHM_LOCK:
    case SHM_UNLOCK:
      return Errno::kEPERM;  // as for a caller whose RLIMIT_MEMLOCK is 0
    default:
      return Errno::kEINVAL;
  }
}

constexpr Row kRows[] = {
    Full<SysSemget>(SYS_semget, "semget"),
    Full<SysSemop>(SYS_semop, "semop"),
    Full<SysSemtimedop>(SYS_semtimedop, "semtimedop"),
    Full<SysSemctl>(SYS_semctl, "semctl"),
    Full<SysMsgget>(SYS_msgget, "msgget"),
    Full<SysMsgsnd>(SYS_msgsnd, "msgsnd"),
    Partial<SysMsgrcv>(SYS_msgrcv, "msgrcv", "MSG_COPY gives ENOSYS"),
    Full<SysMsgctl>(SYS_msgctl, "msgctl"),
    Partial<SysShmget>(SYS_shmget, "shmget", "SHM_HUGETLB gives ENOSYS"),
    Full<SysShmat>(SYS_shmat, "shmat"),
    Full<SysShmdt>(SYS_shmdt, "shmdt"),
    Partial<SysShmctl>(SYS_shmctl, "shmctl",
                       "SHM_LOCK gives EPERM; shm_nattch does not count inherited mappings"),
};

}  // namespace

std::span<const Row> IpcRows() { return kRows; }

}  // namespace sandboxd::syscalls
