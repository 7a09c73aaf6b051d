#include "kernel/mm/user_memory.h"

#include <algorithm>
#include <array>
#include <climits>
#include <cstring>
#include <utility>

namespace sandboxd::mm {
namespace {

// memory and offset walk of an iovec, one piece at a time. `copy(addr, done, n)` returns how many
// of `n` bytes it moved.
template <typename Copy>
size_t WalkIoVec(const std::vector<IoVec>& iov, size_t& index, uint64_t& offset, size_t size,
                 const Copy& copy) {
  size_t done = 0;
  while (done < size && index < iov.size()) {
    const IoVec& v = iov[index];
    if (offset == v.len) {
      index++;
      offset = 0;
      continue;
    }
    size_t n = std::min<uint64_t>(size - done, v.len - offset);
    size_t moved = copy(UserAddr(v.base + offset), done, n);
    done += moved;
    offset += moved;
    if (moved < n) break;
  }
  return done;
}

size_t Sum(const std::vector<IoVec>& iov) {
  size_t sum = 0;
  for (const IoVec& v : iov) sum += v.len;
  return sum;
}

}  // namespace

size_t UserMemory::CopyInPartial(UserAddr src, Bytes dst) const {
  if (dst.empty()) return 0;
  return own_ != nullptr ? own_->CopyIn(src, dst) : as_->CopyIn(src, dst);
}

size_t UserMemory::CopyOutPartial(UserAddr dst, ConstBytes src) const {
  if (src.empty()) return 0;
  return own_ != nullptr ? own_->CopyOut(dst, src) : as_->CopyOut(dst, src);
}

Result<void> UserMemory::CopyIn(UserAddr src, Bytes dst) const {
  if (CopyInPartial(src, dst) != dst.size()) return Errno::kEFAULT;
  return Ok();
}

Result<void> UserMemory::CopyOut(UserAddr dst, ConstBytes src) const {
  if (CopyOutPartial(dst, src) != src.size()) return Errno::kEFAULT;
  return Ok();
}

Result<std::string> UserMemory::ReadCString(UserAddr src, size_t max) const {
  std::string out;
  std::array<std::byte, 256> chunk;
  while (out.size() < max) {
    if (!CheckedAdd<uint64_t>(src.value, out.size())) return Errno::kEFAULT;
    UserAddr at = src + out.size();
    // Pieces end at multiples of the chunk's size, so that a string at the end of a page asks for
    // nothing of the next one.
    size_t want = std::min(chunk.size() - at.value % chunk.size(), max - out.size());
    size_t n = CopyInPartial(at, Bytes(chunk).first(want));
    const char* text = reinterpret_cast<const char*>(chunk.data());
    size_t length = strnlen(text, n);
    out.append(text, length);
    if (length < n) return out;
    if (n < want) return Errno::kEFAULT;
  }
  return Errno::kENAMETOOLONG;
}

// The end of what a program can map (kTaskSize).
constexpr uint64_t kUserEnd = 0x7fff'ffff'f000;

Result<std::vector<IoVec>> UserMemory::ReadIoVec(UserAddr src, uint64_t count) const {
  if (count > kIovMax) return Errno::kEINVAL;
  auto iov = TRY(ReadArray<IoVec>(src, count));
  // readv(2): "EINVAL The sum of the iov_len values overflows an ssize_t value." A single negative
  // length is EINVAL too.
  uint64_t total = 0;
  for (const IoVec& v : iov) {
    if (v.len > SSIZE_MAX) return Errno::kEINVAL;
    // All of them are looked at before any is used.
    auto end = CheckedAdd(v.base, v.len);
    if (v.len > 0 && (!end || *end > kUserEnd)) return Errno::kEFAULT;
    auto sum = CheckedAdd(total, v.len);
    if (!sum || *sum > SSIZE_MAX) return Errno::kEINVAL;
    total = *sum;
  }
  total = 0;
  for (IoVec& v : iov) {
    v.len = std::min<uint64_t>(v.len, kMaxRwCount - total);
    total += v.len;
  }
  return iov;
}

Result<void> UserMemory::Zero(UserAddr dst, size_t n) const {
  static constexpr std::array<std::byte, 4096> kZeros{};
  while (n > 0) {
    size_t now = std::min(n, kZeros.size());
    TRY(CopyOut(dst, ConstBytes(kZeros).first(now)));
    dst = dst + now;
    n -= now;
  }
  return Ok();
}

Result<uint32_t> UserMemory::Load32(UserAddr a) const {
  if (own_ != nullptr) return own_->Load32(a);
  return Read<uint32_t>(a);
}

Result<uint32_t> UserMemory::CompareExchange32(UserAddr a, uint32_t expected,
                                               uint32_t desired) const {
  // From outside there is no atomic way: only the owner of a context may.
  if (own_ == nullptr) return Errno::kEFAULT;
  return own_->CompareExchange32(a, expected, desired);
}

UserSink::UserSink(const UserMemory& memory, UserAddr addr, size_t n)
    : IoSink(n), memory_(memory), iov_{{addr.value, n}} {}
UserSink::UserSink(const UserMemory& memory, std::vector<IoVec> iov)
    : IoSink(Sum(iov)), memory_(memory), iov_(std::move(iov)) {}

size_t UserSink::DoPut(ConstBytes bytes) {
  return WalkIoVec(iov_, index_, offset_, bytes.size(), [&](UserAddr at, size_t done, size_t n) {
    return memory_.CopyOutPartial(at, bytes.subspan(done, n));
  });
}

UserSource::UserSource(const UserMemory& memory, UserAddr addr, size_t n)
    : IoSource(n), memory_(memory), iov_{{addr.value, n}} {}
UserSource::UserSource(const UserMemory& memory, std::vector<IoVec> iov)
    : IoSource(Sum(iov)), memory_(memory), iov_(std::move(iov)) {}

size_t UserSource::DoGet(Bytes out) {
  return WalkIoVec(iov_, index_, offset_, out.size(), [&](UserAddr at, size_t done, size_t n) {
    return memory_.CopyInPartial(at, out.subspan(done, n));
  });
}

void UserSource::DoUnget(size_t n) {
  while (n > 0) {
    if (offset_ == 0) {
      CHECK(index_ > 0);
      index_--;
      offset_ = iov_[index_].len;
      continue;
    }
    uint64_t back = std::min<uint64_t>(n, offset_);
    offset_ -= back;
    n -= back;
  }
}

}  // namespace sandboxd::mm
