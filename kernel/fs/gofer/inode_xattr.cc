// Extended attributes. POSIX ACLs (system.*) are not supported: permission is decided by mode bits.
#include <sys/xattr.h>

#include <algorithm>

#include "kernel/fs/gofer/inode.h"

namespace sandboxd::gofer_fs {
namespace {

// Names known to be missing that are worth remembering: what ls and cp ask of every file.
constexpr size_t kMaxMissing = 4;

Result<void> CheckNamespace(std::string_view name) {
  for (std::string_view prefix : {"user.", "trusted.", "security."}) {
    if (name.starts_with(prefix)) return name.size() > prefix.size() ? Ok() : Errno::kEINVAL;
  }
  return Errno::kEOPNOTSUPP;
}

}  // namespace

Result<std::string> GoferInode::GetXattr(std::string_view name) {
  TRY(CheckNamespace(name));
  if (fs_.exclusive()) {
    MutexLock lock(mutex_);
    if (std::ranges::find(missing_xattrs_, name) != missing_xattrs_.end()) return Errno::kENODATA;
  }
  Ref<SharedFid> fid = TRY(Fid());
  Result<std::vector<std::byte>> value = client().GetXattr(fid->handle, name);
  if (value.ok()) {
    return std::string(reinterpret_cast<const char*>(value->data()), value->size());
  }
  if (value.Is(Errno::kENODATA)) {
    MutexLock lock(mutex_);
    if (missing_xattrs_.size() < kMaxMissing) missing_xattrs_.emplace_back(name);
  }
  return value.error();
}

Result<void> GoferInode::SetXattr(std::string_view name, std::string_view value, int flags) {
  TRY(CheckNamespace(name));
  Ref<SharedFid> fid = TRY(Fid());
  TRY(client().SetXattr(fid->handle, name, std::as_bytes(std::span(value)),
                        static_cast<uint32_t>(flags)));
  MutexLock lock(mutex_);
  missing_xattrs_.clear();
  attr_.ctime = vfs::Time::NowCoarse();
  return Ok();
}

Result<void> GoferInode::RemoveXattr(std::string_view name) {
  TRY(CheckNamespace(name));
  Ref<SharedFid> fid = TRY(Fid());
  TRY(client().RemoveXattr(fid->handle, name));
  MutexLock lock(mutex_);
  attr_.ctime = vfs::Time::NowCoarse();
  return Ok();
}

Result<std::vector<std::string>> GoferInode::ListXattr() {
  Ref<SharedFid> fid = TRY(Fid());
  std::vector<std::byte> list = TRY(client().ListXattr(fid->handle));
  std::string_view rest(reinterpret_cast<const char*>(list.data()), list.size());
  std::vector<std::string> names;
  while (!rest.empty()) {
    size_t end = rest.find('\0');
    std::string_view name = rest.substr(0, end);
    if (CheckNamespace(name).ok()) names.emplace_back(name);
    rest.remove_prefix(end == rest.npos ? rest.size() : end + 1);
  }
  return names;
}

}  // namespace sandboxd::gofer_fs
