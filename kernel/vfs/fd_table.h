// FdTable: file descriptors of a process (struct files_struct). Thread-safe.
#pragma once

#include <functional>
#include <vector>

#include "kernel/vfs/file.h"
#include "platform/base/mutex.h"
#include "platform/base/ref.h"
#include "platform/base/result.h"
#include "platform/base/types.h"

namespace sandboxd::vfs {

class FdTable : public RefCounted {
 public:
  FdTable();
  // A copy for fork(2): the same files under the same numbers.
  Ref<FdTable> Fork() const;

  // EBADF if closed. O_PATH files are returned too: use GetForIo where they must be refused.
  Result<Ref<File>> Get(FdNum fd) const;
  Result<Ref<File>> GetForIo(FdNum fd) const;  // EBADF for O_PATH

  // The lowest free number ≥ `from` and < `limit` (RLIMIT_NOFILE); EMFILE. EINVAL if from ≥ limit
  // for F_DUPFD.
  Result<FdNum> Install(Ref<File> file, bool cloexec, uint64_t limit, FdNum from = FdNum(0));
  // EMFILE if Install would fail now: asked before work that would have to be undone.
  Result<void> CheckRoom(uint64_t limit) const;
  // All or none.
  Result<std::vector<FdNum>> InstallMany(const std::vector<Ref<File>>& files, bool cloexec,
                                         uint64_t limit);
  // dup2/dup3: at this number, closing what was there. EBADF if ≥ limit.
  Result<void> InstallAt(Caller& c, Ref<File> file, FdNum fd, bool cloexec, uint64_t limit);
  Result<void> Close(Caller& c, FdNum fd);  // EBADF
  void CloseRange(Caller& c, uint32_t first, uint32_t last, bool only_set_cloexec);
  void CloseOnExec(Caller& c);
  void CloseAll(Caller& c);

  Result<bool> GetCloexec(FdNum fd) const;
  Result<void> SetCloexec(FdNum fd, bool cloexec);

  // Open numbers in ascending order.
  std::vector<FdNum> List() const;
  size_t count() const;

 private:
  ~FdTable() override;
  template <typename T, typename... Args>
  friend Ref<T> sandboxd::MakeRef(Args&&...);
  struct Slot {
    Ref<File> file;
    bool cloexec = false;
  };
  mutable Mutex mutex_{LockRank::kFdTable};
  std::vector<Slot> slots_ GUARDED_BY(mutex_);
  size_t lowest_free_ GUARDED_BY(mutex_) = 0;  // no free slot below this
};

}  // namespace sandboxd::vfs
