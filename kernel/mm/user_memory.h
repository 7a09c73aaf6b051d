// UserMemory: the only way from a user pointer to bytes. Every copy can fail with EFAULT; nothing
// else is trusted.
#pragma once

#include <string>
#include <type_traits>
#include <vector>

#include "kernel/mm/io.h"
#include "platform/address_space.h"
#include "platform/base/result.h"
#include "platform/base/types.h"
#include "platform/context.h"

namespace sandboxd::mm {

struct IoVec {  // struct iovec of the x86-64 ABI
  uint64_t base = 0;
  uint64_t len = 0;
};
static_assert(sizeof(IoVec) == 16);
inline constexpr size_t kIovMax = 1024;            // UIO_MAXIOV
inline constexpr size_t kMaxRwCount = 0x7ffff000;  // MAX_RW_COUNT: INT_MAX rounded down to a page

// A view of one address space from one thread: through the task's own context where there is one
// (fast), else remote.
class UserMemory {
 public:
  explicit UserMemory(platform::Context& own) : own_(&own), as_(&own.address_space()) {}
  explicit UserMemory(platform::AddressSpace& remote) : as_(&remote) {}

  Result<void> CopyIn(UserAddr src, Bytes dst) const;  // all or EFAULT
  Result<void> CopyOut(UserAddr dst, ConstBytes src) const;
  size_t CopyInPartial(UserAddr src, Bytes dst) const;  // count before the first bad byte
  size_t CopyOutPartial(UserAddr dst, ConstBytes src) const;

  template <typename T>
  requires std::is_trivially_copyable_v<T> Result<T> Read(UserAddr src)
  const {
    T object;
    TRY(CopyIn(src, AsWritableBytes(object)));
    return object;
  }
  template <typename T>
  requires std::is_trivially_copyable_v<T> Result<void> Write(UserAddr dst, const T& object)
  const { return CopyOut(dst, AsBytes(object)); }
  template <typename T>
  requires std::is_trivially_copyable_v<T> Result<std::vector<T>> ReadArray(UserAddr src,
                                                                            size_t count)
  const {
    std::vector<T> array(count);
    TRY(CopyIn(src, std::as_writable_bytes(std::span(array))));
    return array;
  }
  // A string up to its NUL. ENAMETOOLONG if there is none within `max` bytes (NUL included);
  // EFAULT.
  Result<std::string> ReadCString(UserAddr src, size_t max) const;
  // A path: at most PATH_MAX (4096) bytes.
  Result<std::string> ReadPath(UserAddr src) const { return ReadCString(src, 4096); }
  // readv(2): EINVAL for too many or a sum over SSIZE_MAX; lengths are cut to MAX_RW_COUNT in
  // total.
  Result<std::vector<IoVec>> ReadIoVec(UserAddr src, uint64_t count) const;
  Result<void> Zero(UserAddr dst, size_t n) const;

  Result<uint32_t> Load32(UserAddr a) const;
  Result<uint32_t> CompareExchange32(UserAddr a, uint32_t expected, uint32_t desired) const;

  platform::AddressSpace& address_space() const { return *as_; }

 private:
  platform::Context* own_ = nullptr;  // outlived by the task that made this
  platform::AddressSpace* as_;
};

class UserSink final : public IoSink {
 public:
  UserSink(const UserMemory& memory, UserAddr addr, size_t n);
  UserSink(const UserMemory& memory, std::vector<IoVec> iov);

 protected:
  size_t DoPut(ConstBytes bytes) override;

 private:
  UserMemory memory_;
  std::vector<IoVec> iov_;
  size_t index_ = 0;
  uint64_t offset_ = 0;
};

class UserSource final : public IoSource {
 public:
  UserSource(const UserMemory& memory, UserAddr addr, size_t n);
  UserSource(const UserMemory& memory, std::vector<IoVec> iov);

 protected:
  size_t DoGet(Bytes out) override;
  void DoUnget(size_t n) override;

 private:
  UserMemory memory_;
  std::vector<IoVec> iov_;
  size_t index_ = 0;
  uint64_t offset_ = 0;
};

}  // namespace sandboxd::mm
