#include "kernel/vfs/fd_table.h"

#include <algorithm>

#include "kernel/vfs/file_locks.h"
#include "kernel/vfs/inode.h"

namespace sandboxd::vfs {

namespace {
// close(2), "record locks": closing any descriptor of a file drops the process's POSIX locks on it.
void DropPosixLocks(const FdTable& table, const File& file) {
  if (FileLocks* locks = file.inode()->existing_locks())
    locks->RemoveOwner({LockOwner::Kind::kPosix, &table});
}

void Closed(Caller& c, const FdTable& table, Ref<File> file) {
  if (!file->is_path_only()) DropPosixLocks(table, *file);
  file->OnFdClosed(c);
}
}  // namespace

FdTable::FdTable() = default;

FdTable::~FdTable() {
  MutexLock lock(mutex_);
  for (const Slot& slot : slots_) {
    if (slot.file != nullptr) DropPosixLocks(*this, *slot.file);
  }
}

Ref<FdTable> FdTable::Fork() const {
  Ref<FdTable> copy = MakeRef<FdTable>();
  std::vector<Slot> slots;
  size_t lowest_free;
  {
    MutexLock lock(mutex_);
    slots = slots_;
    lowest_free = lowest_free_;
  }
  MutexLock lock(copy->mutex_);
  copy->slots_ = std::move(slots);
  copy->lowest_free_ = lowest_free;
  return copy;
}

Result<Ref<File>> FdTable::Get(FdNum fd) const {
  MutexLock lock(mutex_);
  if (fd.value < 0 || static_cast<size_t>(fd.value) >= slots_.size()) return Errno::kEBADF;
  const Ref<File>& file = slots_[fd.value].file;
  if (file == nullptr) return Errno::kEBADF;
  return file;
}

Result<Ref<File>> FdTable::GetForIo(FdNum fd) const {
  Ref<File> file = TRY(Get(fd));
  if (file->is_path_only()) return Errno::kEBADF;
  return file;
}

Result<FdNum> FdTable::Install(Ref<File> file, bool cloexec, uint64_t limit, FdNum from) {
  if (from.value < 0 || static_cast<uint64_t>(from.value) >= limit) {
    return from.value == 0 ? Errno::kEMFILE : Errno::kEINVAL;
  }
  MutexLock lock(mutex_);
  size_t n = std::max(static_cast<size_t>(from.value), lowest_free_);
  while (n < slots_.size() && slots_[n].file != nullptr) n++;
  if (n >= limit || n > INT32_MAX) return Errno::kEMFILE;
  if (n >= slots_.size()) slots_.resize(n + 1);
  slots_[n] = {std::move(file), cloexec};
  if (static_cast<size_t>(from.value) <= lowest_free_) lowest_free_ = n + 1;
  return FdNum(static_cast<int32_t>(n));
}

Result<void> FdTable::CheckRoom(uint64_t limit) const {
  MutexLock lock(mutex_);
  size_t n = lowest_free_;
  while (n < slots_.size() && slots_[n].file != nullptr) n++;
  return n < limit ? Ok() : Result<void>(Errno::kEMFILE);
}

Result<std::vector<FdNum>> FdTable::InstallMany(const std::vector<Ref<File>>& files, bool cloexec,
                                                uint64_t limit) {
  std::vector<FdNum> numbers;
  MutexLock lock(mutex_);
  size_t n = lowest_free_;
  for (size_t i = 0; i < files.size(); i++, n++) {
    while (n < slots_.size() && slots_[n].file != nullptr) n++;
    if (n >= limit || n > INT32_MAX) return Errno::kEMFILE;
    numbers.emplace_back(static_cast<int32_t>(n));
  }
  if (n > slots_.size()) slots_.resize(n);
  for (size_t i = 0; i < files.size(); i++) slots_[numbers[i].value] = {files[i], cloexec};
  lowest_free_ = n;
  return numbers;
}

Result<void> FdTable::InstallAt(Caller& c, Ref<File> file, FdNum fd, bool cloexec, uint64_t limit) {
  if (fd.value < 0 || static_cast<uint64_t>(fd.value) >= limit) return Errno::kEBADF;
  size_t n = static_cast<size_t>(fd.value);
  Ref<File> old;
  {
    MutexLock lock(mutex_);
    if (n >= slots_.size()) slots_.resize(n + 1);
    old = std::move(slots_[n].file);
    slots_[n] = {std::move(file), cloexec};
    if (n == lowest_free_) lowest_free_ = n + 1;
  }
  if (old != nullptr) Closed(c, *this, std::move(old));
  return Ok();
}

Result<void> FdTable::Close(Caller& c, FdNum fd) {
  Ref<File> file;
  {
    MutexLock lock(mutex_);
    if (fd.value < 0 || static_cast<size_t>(fd.value) >= slots_.size()) return Errno::kEBADF;
    file = std::move(slots_[fd.value].file);
    if (file == nullptr) return Errno::kEBADF;
    slots_[fd.value].cloexec = false;
    lowest_free_ = std::min(lowest_free_, static_cast<size_t>(fd.value));
  }
  Closed(c, *this, std::move(file));
  return Ok();
}

void FdTable::CloseRange(Caller& c, uint32_t first, uint32_t last, bool only_set_cloexec) {
  std::vector<Ref<File>> closed;
  {
    MutexLock lock(mutex_);
    size_t end = std::min<size_t>(slots_.size(), size_t{last} + 1);
    for (size_t n = first; n < end; n++) {
      if (slots_[n].file == nullptr) continue;
      if (only_set_cloexec) {
        slots_[n].cloexec = true;
        continue;
      }
      closed.push_back(std::move(slots_[n].file));
      slots_[n].cloexec = false;
      lowest_free_ = std::min(lowest_free_, n);
    }
  }
  for (Ref<File>& file : closed) Closed(c, *this, std::move(file));
}

void FdTable::CloseOnExec(Caller& c) {
  std::vector<Ref<File>> closed;
  {
    MutexLock lock(mutex_);
    for (size_t n = 0; n < slots_.size(); n++) {
      if (!slots_[n].cloexec) continue;
      closed.push_back(std::move(slots_[n].file));
      slots_[n].cloexec = false;
      lowest_free_ = std::min(lowest_free_, n);
    }
  }
  for (Ref<File>& file : closed) Closed(c, *this, std::move(file));
}

void FdTable::CloseAll(Caller& c) { CloseRange(c, 0, UINT32_MAX, false); }

Result<bool> FdTable::GetCloexec(FdNum fd) const {
  MutexLock lock(mutex_);
  if (fd.value < 0 || static_cast<size_t>(fd.value) >= slots_.size()) return Errno::kEBADF;
  if (slots_[fd.value].file == nullptr) return Errno::kEBADF;
  return slots_[fd.value].cloexec;
}

Result<void> FdTable::SetCloexec(FdNum fd, bool cloexec) {
  MutexLock lock(mutex_);
  if (fd.value < 0 || static_cast<size_t>(fd.value) >= slots_.size()) return Errno::kEBADF;
  if (slots_[fd.value].file == nullptr) return Errno::kEBADF;
  slots_[fd.value].cloexec = cloexec;
  return Ok();
}

std::vector<FdNum> FdTable::List() const {
  std::vector<FdNum> numbers;
  MutexLock lock(mutex_);
  for (size_t n = 0; n < slots_.size(); n++) {
    if (slots_[n].file != nullptr) numbers.emplace_back(static_cast<int32_t>(n));
  }
  return numbers;
}

size_t FdTable::count() const {
  MutexLock lock(mutex_);
  return static_cast<size_t>(
      std::count_if(slots_.begin(), slots_.end(), [](const Slot& s) { return s.file != nullptr; }));
}

}  // namespace sandboxd::vfs
