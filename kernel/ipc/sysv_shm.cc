#include "kernel/ipc/sysv_shm.h"

#include <sys/mman.h>

#include "platform/base/format.h"

namespace sandboxd::ipc {

// The segment's file under the name that /proc/PID/maps shows, known to be from shmat(2).
class SharedMemory::Attachment final : public mm::Mappable {
 public:
  Attachment(SharedMemory& all, Ref<Segment> segment, Ref<mm::Mappable> file, int32_t key)
      : all_(all), segment_(std::move(segment)), file_(std::move(file)), key_(key) {}

  Result<mm::HostRange> HostBacking(uint64_t offset, uint64_t length,
                                    mm::MapAccess access) override {
    return file_->HostBacking(offset, length, access);
  }
  Identity identity() const override { return file_->identity(); }
  std::string MapsName() const override {
    return StrFormat("/SYSV%08x (deleted)", static_cast<unsigned>(key_));
  }
  Result<void> Sync(uint64_t offset, uint64_t length) override {
    return file_->Sync(offset, length);
  }

 private:
  ~Attachment() override { all_.Detached(*this, *segment_); }
  SharedMemory& all_;  // outlives every address space
  const Ref<Segment> segment_;
  const Ref<mm::Mappable> file_;
  const int32_t key_;
};

Result<Ref<mm::Mappable>> SharedMemory::Attach(vfs::Caller& c, const Ref<Segment>& segment,
                                               bool read_only, int32_t pid) {
  Ref<mm::Mappable> file =
      TRY(segment->backing->Mmap(c, read_only ? PROT_READ : PROT_READ | PROT_WRITE, MAP_SHARED));
  int32_t key;
  {
    MutexLock lock(segment->mutex);
    if (segment->removed && segment->attached == 0) return Errno::kEIDRM;
    segment->attached++;
    segment->attach_time = SysvNow();
    segment->last_pid = pid;
    key = segment->permission.key;
  }
  auto attachment = MakeRef<Attachment>(*this, segment, std::move(file), key);
  MutexLock lock(mutex_);
  attachments_.insert(attachment.get());
  return Ref<mm::Mappable>(std::move(attachment));
}

bool SharedMemory::IsAttachment(const mm::Mappable* mapping) const {
  MutexLock lock(mutex_);
  return attachments_.contains(mapping);
}

void SharedMemory::Detached(Attachment& attachment, Segment& segment) {
  {
    MutexLock lock(mutex_);
    attachments_.erase(&attachment);
  }
  bool gone;
  {
    MutexLock lock(segment.mutex);
    segment.attached--;
    segment.detach_time = SysvNow();
    gone = segment.removed && segment.attached == 0;
  }
  if (gone) table_.Remove(segment.id);
}

void SharedMemory::Remove(Segment& segment) {
  bool gone;
  {
    MutexLock lock(segment.mutex);
    segment.removed = true;
    segment.permission.key = IPC_PRIVATE;
    segment.permission.mode |= SHM_DEST;
    gone = segment.attached == 0;
  }
  if (gone) table_.Remove(segment.id);
}

}  // namespace sandboxd::ipc
