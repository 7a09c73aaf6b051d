// The fids of one session: numbers that the client chose.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "gofer/server/node.h"
#include "platform/base/ref.h"
#include "platform/base/result.h"
#include "platform/base/unique_fd.h"

namespace sandboxd::gofer {

// A fid that Txattrwalk or Txattrcreate made: it reads or collects a value.
struct XattrIo {
  // `live` counts them: each may hold 64 KiB of the client's choice.
  explicit XattrIo(size_t& live) : live_count(live) { ++live_count; }
  ~XattrIo() { --live_count; }
  XattrIo(const XattrIo&) = delete;
  XattrIo& operator=(const XattrIo&) = delete;

  size_t& live_count;
  std::string name;
  std::vector<std::byte> value;
  bool writing = false;
  uint64_t size = 0;  // announced by Txattrcreate
  uint32_t flags = 0;
};

struct Fid {
  Ref<Node> node;
  UniqueFd open;              // after Tlopen or Tlcreate
  bool writable = false;      // `open` is
  uint64_t dir_offset = 0;    // where the next getdents64 on `open` goes on
  bool close_at_end = false;  // `open` is a directory that Treaddir opened by itself
  std::unique_ptr<XattrIo> xattr;
};

class FidTable {
 public:
  explicit FidTable(size_t limit) : limit_(limit) {}

  // EBADF if there is none.
  Result<Fid*> Get(uint32_t number);
  Result<Ref<Node>> GetNode(uint32_t number);
  // Whether a new fid may have this number: EINVAL if it is in use or kNoFid, EMFILE if the table
  // is full.
  Result<void> CheckFree(uint32_t number) const;
  // Replaces what was there; the caller has asked CheckFree where that is an error.
  void Set(uint32_t number, Fid fid) { fids_[number] = std::move(fid); }
  bool Erase(uint32_t number) { return fids_.erase(number) != 0; }
  void Clear() { fids_.clear(); }
  size_t size() const { return fids_.size(); }

 private:
  std::unordered_map<uint32_t, Fid> fids_;
  const size_t limit_;
};

}  // namespace sandboxd::gofer
