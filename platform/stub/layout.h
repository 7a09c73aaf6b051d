// Where things are in a stub's own region of memory, shared by C++ and assembly.
//
//   code      one page, read and execute
//   scratch   one page, read and write: the message header for receiving descriptors, small answers
//   vector    one page, read and write: mincore's answer
//   vdso      the host's vvar and vdso pages, as they follow each other
#pragma once

// CLONE_PARENT | CLONE_UNTRACED: a stub is a child of the kernel process, whoever made it, and no
// debugger follows. No exit signal.
#define SANDBOXD_STUB_FORK_FLAGS 0x00808000
// The same with CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_SYSVSEM: a "thread" is a
// process of its own on the same memory. It can be killed, waited for and reaped by itself.
#define SANDBOXD_STUB_THREAD_FLAGS 0x00848f00

// The only descriptor that a stub keeps.
#define SANDBOXD_STUB_SOCKET 0

#define SANDBOXD_STUB_CODE 0x0000
#define SANDBOXD_STUB_SCRATCH 0x1000
#define SANDBOXD_STUB_VECTOR 0x2000
#define SANDBOXD_STUB_VDSO 0x10000
#define SANDBOXD_STUB_REGION_SIZE 0x40000

// In the scratch page: struct msghdr, its iovec and data byte, its control message (one
// descriptor), and four bytes for the template's answers or socketpair's descriptors.
#define SANDBOXD_STUB_MSG_CONTROLLEN 0x28
#define SANDBOXD_STUB_IOVEC 0x40
#define SANDBOXD_STUB_CONTROL 0x80
#define SANDBOXD_STUB_CONTROL_SIZE 0x18
#define SANDBOXD_STUB_RECEIVED_FD 0x90
#define SANDBOXD_STUB_REPLY 0x100

#ifndef __ASSEMBLER__

#include <cstdint>

#include "platform/platform.h"

namespace sandboxd::platform::stub {

// The user part of the address space ends here (TASK_SIZE_MAX with four-level page tables).
inline constexpr uint64_t kUserEnd = 0x7fff'ffff'f000;

struct Layout {
  uint64_t base = 0;  // somewhere in [kApplicationEnd, kUserEnd); the same in all stubs
  VdsoLayout vdso;

  uint64_t code() const { return base + SANDBOXD_STUB_CODE; }
  uint64_t scratch() const { return base + SANDBOXD_STUB_SCRATCH; }
  uint64_t vector() const { return base + SANDBOXD_STUB_VECTOR; }
  uint64_t end() const { return base + SANDBOXD_STUB_REGION_SIZE; }
};

}  // namespace sandboxd::platform::stub

#endif
