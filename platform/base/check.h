// CHECK: an invariant of our own, tested in every build. A value that a program or a client chose
// is never CHECKed; it gets an errno or a status.
#pragma once

namespace sandboxd::internal {
[[noreturn]] __attribute__((cold, noinline, format(printf, 4, 5))) void CheckFailed(
    const char* file, int line, const char* condition, const char* format, ...);
}  // namespace sandboxd::internal

#define CHECK(cond)                                                           \
  do {                                                                        \
    if (__builtin_expect(!(cond), 0))                                         \
      ::sandboxd::internal::CheckFailed(__FILE__, __LINE__, #cond, "%s", ""); \
  } while (0)
#define CHECK_MSG(cond, ...)                                                     \
  do {                                                                           \
    if (__builtin_expect(!(cond), 0))                                            \
      ::sandboxd::internal::CheckFailed(__FILE__, __LINE__, #cond, __VA_ARGS__); \
  } while (0)
