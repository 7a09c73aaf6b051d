// futex(2), futex_waitv(2), set_robust_list(2), get_robust_list(2).
#include <linux/futex.h>

#include "kernel/ipc/futex.h"
#include "kernel/syscalls/families.h"
#include "kernel/time/clock.h"

namespace sandboxd::syscalls {
namespace {

using ipc::FutexScope;
using ipc::FutexTable;
using ipc::FutexWord;

FutexTable& Table(Task& t) { return t.kernel().futexes(); }

Result<FutexWord> Word(Task& t, UserAddr addr, int op) {
  bool is_private = (op & FUTEX_PRIVATE_FLAG) != 0;
  return FutexWord::Find(*t.mm(), addr, is_private ? FutexScope::kPrivate : FutexScope::kShared);
}

Nanos SaturatingAdd(Nanos a, Nanos b) {
  auto sum = CheckedAdd<int64_t>(a.count(), b.count());
  return sum.has_value() ? Nanos(*sum) : Nanos::max();
}

// FUTEX_WAIT's timeout is relative, the others' is a point in time.
Result<wait::Deadline> ReadDeadline(Task& t, UserAddr addr, int op) {
  if (addr.null()) return wait::Deadline();
  auto value = TRY(t.memory().Read<time::Timespec>(addr));
  if (!value.valid()) return Errno::kEINVAL;
  int command = op & FUTEX_CMD_MASK;
  if (command == FUTEX_WAIT) {
    return wait::Deadline(SaturatingAdd(time::MonotonicNow(), value.ToNanos()));
  }
  bool realtime = command == FUTEX_LOCK_PI || (op & FUTEX_CLOCK_REALTIME) != 0;
  return wait::Deadline(
      TRY(time::ToMonotonic(realtime ? CLOCK_REALTIME : CLOCK_MONOTONIC, value.ToNanos())));
}

Result<uint64_t> Wait(Task& t, UserAddr addr, int op, uint32_t value, uint32_t bitset,
                      wait::Deadline deadline) {
  FutexWord word = TRY(Word(t, addr, op));
  Result<void> r = Table(t).Wait(t, t.memory(), word, value, bitset, deadline);
  if (r.ok()) return uint64_t{0};
  if (!r.Is(Errno::kERESTARTSYS) || !deadline.has_value()) return r.error();
  // With a timeout the call goes on with what is left of it (restart_syscall(2)).
  t.set_restart([=](Task& task) { return Wait(task, addr, op, value, bitset, deadline); });
  return Errno::kERESTART_RESTARTBLOCK;
}

Result<uint64_t> LockPi(Task& t, UserAddr addr, int op, FutexTable::PiLockMode mode,
                        wait::Deadline deadline) {
  FutexWord word = TRY(Word(t, addr, op));
  auto exists = [&](int32_t tid) { return t.pid_ns()->Exists(Tid(tid)); };
  TRY(Table(t).LockPi(t, t.memory(), word, t.tid().value, mode, deadline, exists));
  return uint64_t{0};
}

Result<uint64_t> SysFutex(Task& t, UserAddr addr, int32_t op, uint32_t value, UserAddr timeout,
                          UserAddr addr2, uint32_t value3) {
  const int command = op & FUTEX_CMD_MASK;
  const bool realtime = (op & FUTEX_CLOCK_REALTIME) != 0;
  wait::Deadline deadline;
  switch (command) {
    case FUTEX_WAIT:
    case FUTEX_WAIT_BITSET:
    case FUTEX_LOCK_PI:
    case FUTEX_LOCK_PI2:
      deadline = TRY(ReadDeadline(t, timeout, op));
  }
  if (realtime && command != FUTEX_WAIT_BITSET && command != FUTEX_LOCK_PI2) return Errno::kENOSYS;
  const auto count = static_cast<int32_t>(value);
  const auto count2 = static_cast<int32_t>(timeout.value);  // "val2" in the timeout's place
  switch (command) {
    case FUTEX_WAIT:
      return Wait(t, addr, op, value, ipc::kFutexMatchAny, deadline);
    case FUTEX_WAIT_BITSET:
      return Wait(t, addr, op, value, value3, deadline);
    case FUTEX_WAKE:
      return static_cast<uint64_t>(Table(t).Wake(TRY(Word(t, addr, op)), count));
    case FUTEX_WAKE_BITSET:
      if (value3 == 0) return Errno::kEINVAL;
      return static_cast<uint64_t>(Table(t).Wake(TRY(Word(t, addr, op)), count, value3));
    case FUTEX_REQUEUE:
    case FUTEX_CMP_REQUEUE: {
      FutexWord from = TRY(Word(t, addr, op));
      FutexWord to = TRY(Word(t, addr2, op));
      std::optional<uint32_t> expected;
      if (command == FUTEX_CMP_REQUEUE) expected = value3;
      return static_cast<uint64_t>(
          TRY(Table(t).Requeue(t.memory(), from, to, count, count2, expected)));
    }
    case FUTEX_WAKE_OP: {
      FutexWord first = TRY(Word(t, addr, op));
      FutexWord second = TRY(Word(t, addr2, op));
      return static_cast<uint64_t>(
          TRY(Table(t).WakeOp(t.memory(), first, second, count, count2, value3)));
    }
    case FUTEX_LOCK_PI:
    case FUTEX_LOCK_PI2:
      return LockPi(t, addr, op, FutexTable::PiLockMode::kWait, deadline);
    case FUTEX_TRYLOCK_PI:
      return LockPi(t, addr, op, FutexTable::PiLockMode::kTry, std::nullopt);
    case FUTEX_UNLOCK_PI:
      TRY(Table(t).UnlockPi(t.memory(), TRY(Word(t, addr, op)), t.tid().value));
      return uint64_t{0};
    default:
      return Errno::kENOSYS;
  }
}

Result<uint64_t> SysFutexWaitv(Task& t, UserAddr list, uint32_t count, uint32_t flags,
                               UserAddr timeout, int32_t clock) {
  if (flags != 0) return Errno::kEINVAL;
  if (count == 0 || count > FUTEX_WAITV_MAX || list.null()) return Errno::kEINVAL;
  wait::Deadline deadline;
  if (!timeout.null()) {
    if (clock != CLOCK_MONOTONIC && clock != CLOCK_REALTIME) return Errno::kEINVAL;
    auto value = TRY(t.memory().Read<time::Timespec>(timeout));
    if (!value.valid()) return Errno::kEINVAL;
    deadline = TRY(time::ToMonotonic(clock, value.ToNanos()));
  }
  auto given = TRY(t.memory().ReadArray<futex_waitv>(list, count));
  std::vector<FutexTable::WaitTarget> targets;
  for (const futex_waitv& w : given) {
    if ((w.flags & ~static_cast<uint32_t>(FUTEX_32 | FUTEX_PRIVATE_FLAG)) != 0 ||
        (w.flags & FUTEX_32) == 0 || w.__reserved != 0) {
      return Errno::kEINVAL;
    }
    int op = (w.flags & FUTEX_PRIVATE_FLAG) != 0 ? FUTEX_PRIVATE_FLAG : 0;
    targets.push_back({TRY(Word(t, UserAddr(w.uaddr), op)), static_cast<uint32_t>(w.val)});
  }
  return static_cast<uint64_t>(TRY(Table(t).WaitMany(t, t.memory(), targets, deadline)));
}

Result<void> SysSetRobustList(Task& t, UserAddr head, uint64_t size) {
  if (size != 24) return Errno::kEINVAL;  // sizeof(struct robust_list_head)
  t.robust_list = head;
  t.robust_list_size = size;
  return Ok();
}

Result<void> SysGetRobustList(Task& t, int32_t tid, UserOut<uint64_t> head,
                              UserOut<uint64_t> size) {
  uint64_t value = 0;
  if (tid == 0 || tid == t.tid().value) {
    value = t.robust_list.value;
  } else {
    MutexLock lock(t.kernel().tree_mutex());
    Task* other = t.pid_ns()->FindTask(Tid(tid));
    if (other == nullptr) return Errno::kESRCH;
    // get_robust_list(2): as for ptrace; threads of one's own process always.
    if (&other->group() != &t.group()) return Errno::kEPERM;
    value = other->robust_list.value;
  }
  TRY(size.Write(t, 24));
  return head.Write(t, value);
}

constexpr Row kRows[] = {
    Partial<SysFutex>(SYS_futex, "futex",
                      "FUTEX_WAIT_REQUEUE_PI and FUTEX_CMP_REQUEUE_PI give ENOSYS; PI futexes "
                      "lock without priority inheritance"),
    Full<SysFutexWaitv>(SYS_futex_waitv, "futex_waitv"),
    Full<SysSetRobustList>(SYS_set_robust_list, "set_robust_list"),
    Partial<SysGetRobustList>(SYS_get_robust_list, "get_robust_list",
                              "only for threads of the caller's process"),
};

}  // namespace

std::span<const Row> FutexRows() { return kRows; }

}  // namespace sandboxd::syscalls
