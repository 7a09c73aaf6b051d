// Typed system call arguments: how a register becomes a handler's parameter, and how --strace
// prints it.
#pragma once

#include <cstdint>
#include <string>

#include "kernel/task/task.h"
#include "platform/base/types.h"

namespace sandboxd::syscalls {

using task::Task;

// A user pointer to a NUL-terminated string (strace shows its text) and to a path.
struct UserCStr : UserAddr {
  constexpr explicit UserCStr(uint64_t v) : UserAddr(v) {}
};
struct UserPath : UserAddr {
  constexpr explicit UserPath(uint64_t v) : UserAddr(v) {}
};
// A user pointer to a T that the call reads, or writes.
template <typename T>
struct UserIn : UserAddr {
  constexpr explicit UserIn(uint64_t v) : UserAddr(v) {}
  Result<T> Read(Task& t) const { return t.memory().template Read<T>(*this); }
};
template <typename T>
struct UserOut : UserAddr {
  constexpr explicit UserOut(uint64_t v) : UserAddr(v) {}
  Result<void> Write(Task& t, const T& v) const { return t.memory().template Write<T>(*this, v); }
};

// How one register is decoded; the kernel ABI takes the low 32 bits of int arguments.
template <typename T>
struct ArgTraits;

std::string FormatUserString(Task& t, UserAddr addr);

template <>
struct ArgTraits<int32_t> {
  static int32_t Decode(uint64_t v) { return static_cast<int32_t>(v); }
  static std::string Format(Task&, uint64_t v) { return std::to_string(static_cast<int32_t>(v)); }
};
template <>
struct ArgTraits<uint32_t> {
  static uint32_t Decode(uint64_t v) { return static_cast<uint32_t>(v); }
  static std::string Format(Task&, uint64_t v);
};
template <>
struct ArgTraits<int64_t> {
  static int64_t Decode(uint64_t v) { return static_cast<int64_t>(v); }
  static std::string Format(Task&, uint64_t v) { return std::to_string(static_cast<int64_t>(v)); }
};
template <>
struct ArgTraits<uint64_t> {
  static uint64_t Decode(uint64_t v) { return v; }
  static std::string Format(Task&, uint64_t v);
};
template <typename Tag, typename Rep>
struct ArgTraits<StrongInt<Tag, Rep>> {
  static StrongInt<Tag, Rep> Decode(uint64_t v) { return StrongInt<Tag, Rep>(static_cast<Rep>(v)); }
  static std::string Format(Task&, uint64_t v) { return std::to_string(static_cast<Rep>(v)); }
};
template <>
struct ArgTraits<Signo> {
  static Signo Decode(uint64_t v) { return Signo(static_cast<int32_t>(v)); }
  static std::string Format(Task&, uint64_t v);
};
template <>
struct ArgTraits<UserAddr> {
  static UserAddr Decode(uint64_t v) { return UserAddr(v); }
  static std::string Format(Task&, uint64_t v);
};
template <>
struct ArgTraits<UserCStr> {
  static UserCStr Decode(uint64_t v) { return UserCStr(v); }
  static std::string Format(Task& t, uint64_t v) { return FormatUserString(t, UserAddr(v)); }
};
template <>
struct ArgTraits<UserPath> {
  static UserPath Decode(uint64_t v) { return UserPath(v); }
  static std::string Format(Task& t, uint64_t v) { return FormatUserString(t, UserAddr(v)); }
};
template <typename T>
struct ArgTraits<UserIn<T>> {
  static UserIn<T> Decode(uint64_t v) { return UserIn<T>(v); }
  static std::string Format(Task& t, uint64_t v) { return ArgTraits<UserAddr>::Format(t, v); }
};
template <typename T>
struct ArgTraits<UserOut<T>> {
  static UserOut<T> Decode(uint64_t v) { return UserOut<T>(v); }
  static std::string Format(Task& t, uint64_t v) { return ArgTraits<UserAddr>::Format(t, v); }
};

}  // namespace sandboxd::syscalls
