#include "kernel/ipc/sysv_sem.h"

#include <sys/epoll.h>

#include <algorithm>

namespace sandboxd::ipc {

Result<bool> SemaphoreSet::Operate(std::span<const sembuf> operations, int32_t pid, int32_t process,
                                   Waiting* waiting) {
  {
    MutexLock lock(mutex);
    if (removed) return Errno::kEIDRM;
    for (const sembuf& op : operations) {
      if (op.sem_num >= semaphores.size()) return Errno::kEFBIG;
    }
    std::vector<Semaphore> after = semaphores;
    bool undo = false;
    for (const sembuf& op : operations) {
      Semaphore& s = after[op.sem_num];
      const int value = s.value + op.sem_op;
      const bool blocked = op.sem_op == 0 ? s.value != 0 : value < 0;
      if (blocked) {
        if ((op.sem_flg & IPC_NOWAIT) != 0) return Errno::kEAGAIN;
        *waiting = {op.sem_num, op.sem_op == 0};
        Semaphore& in_the_way = semaphores[op.sem_num];
        (op.sem_op == 0 ? in_the_way.waiting_for_zero : in_the_way.waiting_for_increase)++;
        return false;
      }
      if (value > kMaxSemValue) return Errno::kERANGE;
      s.value = static_cast<uint16_t>(value);
      s.pid = pid;
      undo = undo || (op.sem_flg & SEM_UNDO) != 0;
    }
    semaphores = std::move(after);
    operation_time = SysvNow();
    if (undo) {
      auto& adjustments = undo_[process];
      adjustments.resize(semaphores.size());
      for (const sembuf& op : operations) {
        if ((op.sem_flg & SEM_UNDO) == 0) continue;
        adjustments[op.sem_num] = static_cast<int16_t>(adjustments[op.sem_num] - op.sem_op);
      }
    }
  }
  queue.Notify(EPOLLIN);
  return true;
}

void SemaphoreSet::EndWait(const Waiting& waiting) {
  MutexLock lock(mutex);
  Semaphore& s = semaphores[static_cast<size_t>(waiting.semaphore)];
  (waiting.for_zero ? s.waiting_for_zero : s.waiting_for_increase)--;
}

void SemaphoreSet::Undo(int32_t process) {
  {
    MutexLock lock(mutex);
    auto found = undo_.find(process);
    if (found == undo_.end()) return;
    for (size_t i = 0; i < semaphores.size(); i++) {
      int value = semaphores[i].value + found->second[i];
      semaphores[i].value = static_cast<uint16_t>(std::clamp(value, 0, kMaxSemValue));
    }
    undo_.erase(found);
  }
  queue.Notify(EPOLLIN);
}

Result<void> SemaphoreSet::SetValue(int semaphore, int value, int32_t pid) {
  {
    MutexLock lock(mutex);
    if (removed) return Errno::kEIDRM;
    if (value < 0 || value > kMaxSemValue) return Errno::kERANGE;
    auto index = static_cast<size_t>(semaphore);
    semaphores[index].value = static_cast<uint16_t>(value);
    semaphores[index].pid = pid;
    for (auto& [process, adjustments] : undo_) adjustments[index] = 0;
    change_time = SysvNow();
  }
  queue.Notify(EPOLLIN);
  return Ok();
}

Result<void> SemaphoreSet::SetAll(std::span<const uint16_t> values, int32_t pid) {
  {
    MutexLock lock(mutex);
    if (removed) return Errno::kEIDRM;
    if (std::ranges::any_of(values, [](uint16_t v) { return v > kMaxSemValue; })) {
      return Errno::kERANGE;
    }
    for (size_t i = 0; i < semaphores.size(); i++) {
      semaphores[i].value = values[i];
      semaphores[i].pid = pid;
    }
    undo_.clear();
    change_time = SysvNow();
  }
  queue.Notify(EPOLLIN);
  return Ok();
}

void SemaphoreSet::Remove() {
  {
    MutexLock lock(mutex);
    removed = true;
    undo_.clear();
  }
  queue.Notify(EPOLLIN);
}

}  // namespace sandboxd::ipc
