// A place in an application's code where it makes system calls, and how a jump gets there.
//
// Only the instruction in front of `syscall` is replaced, by a jump to a trampoline that carries
// out a copy of it; `syscall` itself stays where it is, so that who jumps to it still traps. If
// that instruction is shorter than the jump, the jump's last bytes are those that are there anyway:
//   31 c0 | 0f 05 | 48 ...      xor %eax,%eax; syscall; cmp ...
//   e9 xx | 0f 05   48          jmp .+0x48050fxx
// Then the trampoline must lie in a small window, whose place follows from them.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "platform/base/types.h"

namespace sandboxd::platform::systrap {

inline constexpr size_t kSyscallSize = 2;
inline constexpr size_t kJumpSize = 5;
// How much of the code in front of `syscall` FindCallSite wants, and how much from it on.
inline constexpr size_t kBytesBefore = 30;
inline constexpr size_t kBytesFrom = 4;

struct CallSite {
  UserAddr syscall;                       // of 0f 05
  std::array<std::byte, 15> displaced{};  // the instruction in front of it
  uint8_t size = 0;                       // its length
  // Where the trampoline may begin.
  AddrRange window;

  UserAddr start() const { return syscall - size; }
  UserAddr end() const { return syscall + kSyscallSize; }
};

// `code`: kBytesBefore bytes in front of `syscall` and kBytesFrom from it on. Nothing if the bytes
// leave any doubt which instruction stands in front, or if it can't be carried out elsewhere.
// `number` is the application's rax when it got there.
std::optional<CallSite> FindCallSite(UserAddr syscall, ConstBytes code, uint64_t number);

// The bytes of the jump from the site to `trampoline` that differ from what is there: as many as
// the displaced instruction has, at most kJumpSize.
std::vector<std::byte> MakeJump(const CallSite& site, UserAddr trampoline);

inline constexpr size_t kTrampolineSize = 64;
// The code of a trampoline at `at`. It goes on at the address that the word at `entry_pointer`
// holds, with the slot in r11 and the address behind `syscall` in rcx; to the site's `syscall` if
// the thread's gs base is not that of a slot. Touches no flags and no memory of the application's.
std::array<std::byte, kTrampolineSize> MakeTrampoline(const CallSite& site, UserAddr at,
                                                      UserAddr entry_pointer);

}  // namespace sandboxd::platform::systrap
