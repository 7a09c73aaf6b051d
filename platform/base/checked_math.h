// Arithmetic on numbers that an application chose: nullopt instead of wrapping.
#pragma once

#include <concepts>
#include <cstdint>
#include <optional>

namespace sandboxd {

template <std::integral T>
constexpr std::optional<T> CheckedAdd(T a, T b) {
  T r;
  if (__builtin_add_overflow(a, b, &r)) return std::nullopt;
  return r;
}
template <std::integral T>
constexpr std::optional<T> CheckedSub(T a, T b) {
  T r;
  if (__builtin_sub_overflow(a, b, &r)) return std::nullopt;
  return r;
}
template <std::integral T>
constexpr std::optional<T> CheckedMul(T a, T b) {
  T r;
  if (__builtin_mul_overflow(a, b, &r)) return std::nullopt;
  return r;
}

inline constexpr uint64_t kPageSize = 4096;
constexpr bool IsPageAligned(uint64_t x) { return (x & (kPageSize - 1)) == 0; }
constexpr uint64_t PageRoundDown(uint64_t x) { return x & ~(kPageSize - 1); }
constexpr std::optional<uint64_t> PageRoundUp(uint64_t x) {
  auto r = CheckedAdd<uint64_t>(x, kPageSize - 1);
  if (!r) return std::nullopt;
  return PageRoundDown(*r);
}

}  // namespace sandboxd
