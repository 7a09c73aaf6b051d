// The one table of system calls. Each family file (sys_<family>.cc) contributes its rows:
//
//   Result<uint64_t> SysGetpid(Task& t) { return t.tgid().value; }
//   Result<void> SysClose(Task& t, FdNum fd) { … }
//   constexpr Row kRows[] = {
//       Full<SysGetpid>(SYS_getpid, "getpid"),
//       Partial<SysFcntl>(SYS_fcntl, "fcntl", "F_SETLEASE is refused with EAGAIN"),
//       Refused(SYS_bpf, "bpf", Errno::kENOSYS, "no eBPF: as a kernel without CONFIG_BPF_SYSCALL"),
//   };
//   std::span<const Row> ProcessRows() { return kRows; }
//
// and declares its rows function in families.h. Argument decoding, --strace, docs/syscalls.md and
// the counters come from here. A number with no row is ENOSYS and counted as unimplemented.
#pragma once

#include <sys/syscall.h>

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <type_traits>
#include <utility>

#include "kernel/syscalls/args.h"
#include "platform/base/result.h"

namespace sandboxd::syscalls {

enum class Support : uint8_t { kFull, kPartial, kRefused };

inline constexpr int kTableSize = 512;

struct Row {
  using Handler = Result<uint64_t> (*)(Task&, const std::array<uint64_t, 6>&);
  using ArgFormatter = std::string (*)(Task&, uint64_t);
  uint16_t number = 0;
  const char* name = nullptr;
  Handler handler = nullptr;  // null: refused with `refusal`
  Support support = Support::kRefused;
  Errno refusal = Errno::kENOSYS;
  const char* note = "";  // what is missing, for people
  uint8_t arg_count = 0;
  std::array<ArgFormatter, 6> format = {};
};

namespace internal {

template <auto F>
struct Wrapper;

template <typename R, typename... Args, R (*F)(Task&, Args...)>
struct Wrapper<F> {
  static_assert(sizeof...(Args) <= 6);
  static Result<uint64_t> Call(Task& t, const std::array<uint64_t, 6>& regs) {
    return Invoke(t, regs, std::index_sequence_for<Args...>());
  }
  template <size_t... I>
  static Result<uint64_t> Invoke(Task& t, [[maybe_unused]] const std::array<uint64_t, 6>& regs,
                                 std::index_sequence<I...>) {
    if constexpr (std::is_same_v<R, Result<void>>) {
      TRY(F(t, ArgTraits<Args>::Decode(regs[I])...));
      return uint64_t{0};
    } else {
      return F(t, ArgTraits<Args>::Decode(regs[I])...);
    }
  }
  static constexpr std::array<Row::ArgFormatter, 6> Formatters() {
    return {&ArgTraits<Args>::Format...};
  }
  static constexpr uint8_t kArgs = sizeof...(Args);
};

}  // namespace internal

template <auto F>
constexpr Row Full(int number, const char* name) {
  using W = internal::Wrapper<F>;
  return {static_cast<uint16_t>(number),
          name,
          &W::Call,
          Support::kFull,
          Errno::kENOSYS,
          "",
          W::kArgs,
          W::Formatters()};
}
template <auto F>
constexpr Row Partial(int number, const char* name, const char* note) {
  using W = internal::Wrapper<F>;
  return {static_cast<uint16_t>(number),
          name,
          &W::Call,
          Support::kPartial,
          Errno::kENOSYS,
          note,
          W::kArgs,
          W::Formatters()};
}
constexpr Row Refused(int number, const char* name, Errno e, const char* note) {
  return {static_cast<uint16_t>(number), name, nullptr, Support::kRefused, e, note, 0, {}};
}

// The row of a number, or null.
const Row* FindRow(uint64_t number);

// The names of all 6.1 x86-64 calls, in number order, with those that have no row (null row).
struct NamedNumber {
  uint16_t number;
  const char* name;
};
std::span<const NamedNumber> AllLinuxCalls();

// docs/syscalls.md.
std::string GenerateDocs();

struct StraceOptions {
  bool enabled = false;
};
std::unique_ptr<task::SyscallDispatcher> MakeDispatcher(const StraceOptions& strace);

}  // namespace sandboxd::syscalls
