// The program of a stub that runs free (Kind::kFree). Its code lies in the section of
// stub/snippets_stub.h, and with it in every stub's memory.
#pragma once

#include <cstdint>

namespace sandboxd::platform::stub {
struct SharedContext;
}

#pragma GCC visibility push(hidden)
extern "C" {
// Where a thread without a signal frame starts, with its stack pointer at the end of its stack.
// Never returns.
void sandboxd_stub_thread_main(uint64_t slot);
// The handler of every signal.
void sandboxd_stub_handler(int signo, void* info, void* ucontext);

// A system call that came by a patched site; the registers are in the slot. 0 if the way back is
// that of a plain `syscall` instruction, with rcx and r11 as that leaves them.
uint64_t sandboxd_stub_direct_call(sandboxd::platform::stub::SharedContext* c);

// In assembly (free_direct_stub.S):
void sandboxd_stub_direct();       // where trampolines lead
void sandboxd_stub_direct_jump();  // where that goes back to the application, in two ways
void sandboxd_stub_direct_iret();
// Where a call that the stub answers by itself is as good as done: the number is in rax still, then
// the answer from the slot, then the result.
void sandboxd_stub_answer();
void sandboxd_stub_answered();
void sandboxd_stub_answer_taken();
void sandboxd_stub_answer_end();
void sandboxd_stub_xsave(void* area, uint64_t components);
uint64_t sandboxd_stub_xrstor(const void* area, uint64_t components);
void sandboxd_stub_xrstor_at();
void sandboxd_stub_failed();  // returns ~0

// In assembly (free_entry_stub.S):
void sandboxd_stub_restorer();       // rt_sigreturn
void sandboxd_stub_free_template();  // the template's loop
void sandboxd_stub_boot_trap();      // ud2: makes a signal frame for a new thread
uint64_t sandboxd_stub_copy(void* to, const void* from, uint64_t size);  // bytes not copied
uint64_t sandboxd_stub_load32(uint64_t address);                         // the word, or ~0
uint64_t sandboxd_stub_cas32(uint64_t address, uint32_t expected, uint32_t desired);  // likewise
long sandboxd_stub_start_thread(uint64_t flags, uint64_t stack, uint64_t slot);
extern const char sandboxd_stub_copy_at[], sandboxd_stub_copy_fixup[];
extern const char sandboxd_stub_load32_at[], sandboxd_stub_cas32_at[], sandboxd_stub_word_fixup[];
}
#pragma GCC visibility pop
