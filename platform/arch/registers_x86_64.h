// The general-purpose registers of an x86-64 thread, in the layout of struct user_regs_struct
// (arch/x86/include/asm/user_64.h), so that ptrace and core-dump users can take it as it is.
#pragma once

#include <cstdint>

namespace sandboxd::arch {

struct Registers {
  uint64_t r15 = 0, r14 = 0, r13 = 0, r12 = 0, rbp = 0, rbx = 0, r11 = 0, r10 = 0, r9 = 0, r8 = 0;
  uint64_t rax = 0, rcx = 0, rdx = 0, rsi = 0, rdi = 0, orig_rax = 0, rip = 0, cs = 0, eflags = 0;
  uint64_t rsp = 0, ss = 0, fs_base = 0, gs_base = 0, ds = 0, es = 0, fs = 0, gs = 0;

  // System call convention: number in rax (saved in orig_rax at the stop), arguments in rdi rsi rdx
  // r10 r8 r9.
  uint64_t syscall_number() const { return orig_rax; }
  uint64_t syscall_arg(int i) const {
    switch (i) {
      case 0:
        return rdi;
      case 1:
        return rsi;
      case 2:
        return rdx;
      case 3:
        return r10;
      case 4:
        return r8;
      default:
        return r9;
    }
  }
  uint64_t return_value() const { return rax; }
  void set_return_value(uint64_t v) { rax = v; }
  // Makes the thread run its system call instruction again, with the number it used before.
  void RewindSyscall() {
    rax = orig_rax;
    rip -= kSyscallInstructionSize;
  }
  uint64_t ip() const { return rip; }
  void set_ip(uint64_t v) { rip = v; }
  uint64_t sp() const { return rsp; }
  void set_sp(uint64_t v) { rsp = v; }
  uint64_t tls() const { return fs_base; }
  void set_tls(uint64_t v) { fs_base = v; }

  static constexpr int kSyscallInstructionSize = 2;
};
static_assert(sizeof(Registers) == 27 * 8);

// What execve(2) leaves: everything zero but ip, sp, flags and the 64-bit user segments.
Registers InitialRegisters(uint64_t ip, uint64_t sp);

}  // namespace sandboxd::arch
