// The parts of machine_main_stub.cc that can't be C++. SAFETY: as for stub/snippets_stub.S.
#include <asm/unistd_64.h>

#include "platform/stub/region_stub.h"

	.section sandboxd_stub, "ax", @progbits

	.macro LABEL name
	.globl \name
	.hidden \name
\name:
	.endm

// In: r12 start and r13 end of our region, rbp the end of user addresses.
LABEL sandboxd_stub_machine_template
	lea	SANDBOXD_STUB_STACKS + SANDBOXD_STUB_STACK_SIZE(%r12), %rsp
	mov	%r12, %rdi
	mov	%r13, %rsi
	mov	%rbp, %rdx
	xor	%ebp, %ebp
	call	sandboxd_stub_machine_template_main
	ud2

// rdi flags, rsi stack, rdx slot.
LABEL sandboxd_stub_start_machine_thread
	push	%rbx
	mov	%rdx, %rbx
	xor	%edx, %edx
	xor	%r10d, %r10d
	xor	%r8d, %r8d
	mov	$__NR_clone, %eax
	syscall
	test	%rax, %rax
	jz	1f
	pop	%rbx
	ret
1:	xor	%ebp, %ebp
	mov	%rbx, %rdi
	call	sandboxd_stub_machine_thread_main
	ud2

	.section .note.GNU-stack, "", @progbits
