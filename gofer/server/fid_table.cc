#include "gofer/server/fid_table.h"

namespace sandboxd::gofer {

Result<Fid*> FidTable::Get(uint32_t number) {
  auto it = fids_.find(number);
  if (it == fids_.end()) return Errno::kEBADF;
  return &it->second;
}

Result<Ref<Node>> FidTable::GetNode(uint32_t number) { return TRY(Get(number))->node; }

Result<void> FidTable::CheckFree(uint32_t number) const {
  if (number == kNoFid || fids_.contains(number)) return Errno::kEINVAL;
  if (fids_.size() >= limit_) return Errno::kEMFILE;
  return Ok();
}

}  // namespace sandboxd::gofer
