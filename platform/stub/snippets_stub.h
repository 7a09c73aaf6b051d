// The code that lives in every stub process, at Layout::code: a page of snippets that the kernel
// process runs there, one at a time, by setting registers.
//
// The bytes are in our own binary as data (section .sandboxd_stub) and are copied to the page,
// which is mapped at another address: the code is position-independent, has no data of its own,
// uses no stack, and touches no vector register.
#pragma once

#include <cstdint>

#pragma GCC visibility push(hidden)
extern "C" {
// The section. The linker makes these two.
extern const char sandboxd_stub_begin[] asm("__start_sandboxd_stub");
extern const char sandboxd_stub_end[] asm("__stop_sandboxd_stub");
extern const char sandboxd_stub_syscall[];   // rax, rdi…: a host call; ends in int3 with rax
extern const char sandboxd_stub_clone[];     // clone; the parent ends in int3, the child parks
extern const char sandboxd_stub_isolated[];  // from here on a child has dropped the parent's socket
extern const char sandboxd_stub_park[];      // sleeps until somebody attaches
extern const char sandboxd_stub_park_end[];
extern const char sandboxd_stub_load[];      // eax = *rdi; int3
extern const char sandboxd_stub_cmpxchg[];   // compare-exchange of *rdi: eax, edx; int3
extern const char sandboxd_stub_map_fd[];    // receives a descriptor, maps it, closes it; int3
extern const char sandboxd_stub_template[];  // the template process's main loop
}
#pragma GCC visibility pop

namespace sandboxd::platform::stub {

// Where a snippet is, relative to the start of the code.
inline uint64_t OffsetOf(const char* label) {
  return static_cast<uint64_t>(label - sandboxd_stub_begin);
}

}  // namespace sandboxd::platform::stub
