// System V semaphores (semop(2), semctl(2)).
#pragma once

#include <sys/sem.h>

#include <map>
#include <span>
#include <vector>

#include "kernel/ipc/sysv_object.h"

namespace sandboxd::ipc {

inline constexpr int kMaxSemaphores = 32000;      // SEMMSL
inline constexpr size_t kMaxSemOperations = 500;  // SEMOPM
inline constexpr int kMaxSemValue = 32767;        // SEMVMX

class SemaphoreSet final : public SysvObject {
 public:
  explicit SemaphoreSet(size_t count) : semaphores(count) {}

  struct Semaphore {
    uint16_t value = 0;
    int32_t pid = 0;  // of the last operation
    int waiting_for_increase = 0;
    int waiting_for_zero = 0;
  };
  std::vector<Semaphore> semaphores GUARDED_BY(mutex);
  int64_t operation_time GUARDED_BY(mutex) = 0;

  // All operations, or none. False: the caller has to wait (and is counted as a waiter of the
  // semaphore in its way until EndWait). EAGAIN with IPC_NOWAIT; EFBIG, ERANGE, EIDRM. `process`
  // names whose SEM_UNDO adjustments these are.
  struct Waiting {
    int semaphore = -1;
    bool for_zero = false;
  };
  Result<bool> Operate(std::span<const sembuf> operations, int32_t pid, int32_t process,
                       Waiting* waiting);
  void EndWait(const Waiting& waiting);
  // The process ended: its adjustments are made.
  void Undo(int32_t process);
  // SETVAL and SETALL forget adjustments. EIDRM, ERANGE.
  Result<void> SetValue(int semaphore, int value, int32_t pid);
  Result<void> SetAll(std::span<const uint16_t> values, int32_t pid);
  void Remove();

 private:
  std::map<int32_t, std::vector<int16_t>> undo_ GUARDED_BY(mutex);  // by process
};

}  // namespace sandboxd::ipc
