// Strong types for the numbers that cross the system call boundary, and byte spans.
#pragma once

#include <chrono>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <span>

#include "platform/base/checked_math.h"

namespace sandboxd {

using Bytes = std::span<std::byte>;
using ConstBytes = std::span<const std::byte>;
using Nanos = std::chrono::nanoseconds;

// An address in an application's address space. Never dereferenced by us.
struct UserAddr {
  uint64_t value = 0;
  constexpr UserAddr() = default;
  constexpr explicit UserAddr(uint64_t v) : value(v) {}
  constexpr bool null() const { return value == 0; }
  constexpr UserAddr operator+(uint64_t n) const { return UserAddr(value + n); }
  constexpr UserAddr operator-(uint64_t n) const { return UserAddr(value - n); }
  constexpr uint64_t operator-(UserAddr o) const { return value - o.value; }
  constexpr auto operator<=>(const UserAddr&) const = default;
};

// [start, end), in bytes.
struct AddrRange {
  UserAddr start;
  UserAddr end;
  constexpr uint64_t length() const { return end.value - start.value; }
  constexpr bool empty() const { return end.value <= start.value; }
  constexpr bool Contains(UserAddr a) const { return a >= start && a < end; }
  constexpr bool Contains(const AddrRange& o) const { return o.start >= start && o.end <= end; }
  constexpr bool Overlaps(const AddrRange& o) const { return start < o.end && o.start < end; }
  constexpr AddrRange Intersect(const AddrRange& o) const {
    return {start > o.start ? start : o.start, end < o.end ? end : o.end};
  }
  constexpr bool operator==(const AddrRange&) const = default;
};

template <typename Tag, typename Rep>
struct StrongInt {
  Rep value{};
  constexpr StrongInt() = default;
  constexpr explicit StrongInt(Rep v) : value(v) {}
  constexpr auto operator<=>(const StrongInt&) const = default;
};

using FdNum = StrongInt<struct FdNumTag, int32_t>;
using Tid = StrongInt<struct TidTag, int32_t>;  // a thread or process id inside some pid namespace
using Signo = StrongInt<struct SignoTag, int32_t>;  // 1..64; 0 where a call says "no signal"

template <typename T>
ConstBytes AsBytes(const T& object) {
  return ConstBytes(reinterpret_cast<const std::byte*>(&object), sizeof(T));
}
template <typename T>
Bytes AsWritableBytes(T& object) {
  return Bytes(reinterpret_cast<std::byte*>(&object), sizeof(T));
}

}  // namespace sandboxd
