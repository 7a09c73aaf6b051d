// The program of a stub that is the monitor of a virtual machine (Kind::kMachine). Like that of
// free stubs (free_main_stub.h), it lies in the section of stub/snippets_stub.h.
#pragma once

#include <cstdint>

#pragma GCC visibility push(hidden)
extern "C" {
// The template's main loop: our region and the end of user addresses. Never returns.
void sandboxd_stub_machine_template_main(uint64_t start, uint64_t end, uint64_t user_end);
// Where a further thread starts. Never returns.
void sandboxd_stub_machine_thread_main(uint64_t slot);
// The handler of the signals that are handled.
void sandboxd_stub_machine_handler(int signo, void* info, void* ucontext);

// In assembly (machine_entry_stub.S):
void sandboxd_stub_machine_template();
long sandboxd_stub_start_machine_thread(uint64_t flags, uint64_t stack, uint64_t slot);
}
#pragma GCC visibility pop
