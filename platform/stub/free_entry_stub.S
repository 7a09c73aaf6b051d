// The parts of the systrap stub that can't be C++. SAFETY: as for stub/snippets_stub.S: copied
// elsewhere, refers to nothing outside its section.
#include <asm/unistd_64.h>

#include "platform/stub/region_stub.h"

	.section sandboxd_stub, "ax", @progbits

	.macro LABEL name
	.globl \name
	.hidden \name
\name:
	.endm

LABEL sandboxd_stub_restorer
	mov	$__NR_rt_sigreturn, %eax
	syscall

LABEL sandboxd_stub_boot_trap
	ud2
	ret

// rdi to, rsi from, rdx size. A fault leaves the rest in rcx.
LABEL sandboxd_stub_copy
	mov	%rdx, %rcx
LABEL sandboxd_stub_copy_at
	rep movsb
LABEL sandboxd_stub_copy_fixup
	mov	%rcx, %rax
	ret

LABEL sandboxd_stub_load32
LABEL sandboxd_stub_load32_at
	mov	(%rdi), %eax
	ret

LABEL sandboxd_stub_cas32
	mov	%esi, %eax
LABEL sandboxd_stub_cas32_at
	lock cmpxchg %edx, (%rdi)
	mov	%eax, %eax
	ret
LABEL sandboxd_stub_word_fixup
LABEL sandboxd_stub_failed
	mov	$-1, %rax
	ret

// rdi flags, rsi stack, rdx slot.
LABEL sandboxd_stub_start_thread
	push	%rbx
	mov	%rdx, %rbx
	xor	%edx, %edx
	xor	%r10d, %r10d
	xor	%r8d, %r8d
	mov	$__NR_clone, %eax
	syscall
	test	%rax, %rax
	jz	.Lthread
	pop	%rbx
	ret
.Lthread:
	xor	%ebp, %ebp
	mov	%rbx, %rdi
	call	sandboxd_stub_thread_main
	ud2

// In: r12 start and r13 end of our region, rbp the end of user addresses. Forgets everything else,
// says so with four bytes of zero, and answers every request, which brings a descriptor of shared
// memory, with the process id of a new stub or a negative error number.
LABEL sandboxd_stub_free_template
	xor	%edi, %edi
	mov	%r12, %rsi
	mov	$__NR_munmap, %eax
	syscall
	test	%rax, %rax
	jnz	.Lleave
	mov	%r13, %rdi
	mov	%rbp, %rsi
	sub	%r13, %rsi
	mov	$__NR_munmap, %eax
	syscall
	test	%rax, %rax
	jnz	.Lleave
	lea	SANDBOXD_STUB_SCRATCH(%r12), %r14
	movl	$0, SANDBOXD_STUB_REPLY(%r14)
.Lreply:
	mov	$SANDBOXD_STUB_SOCKET, %edi
	lea	SANDBOXD_STUB_REPLY(%r14), %rsi
	mov	$4, %edx
	mov	$0x4000, %r10d			// MSG_NOSIGNAL
	xor	%r8d, %r8d
	xor	%r9d, %r9d
	mov	$__NR_sendto, %eax
	syscall
	cmp	$4, %rax
	jne	.Lleave
	movq	$SANDBOXD_STUB_CONTROL_SIZE, SANDBOXD_STUB_MSG_CONTROLLEN(%r14)
	movl	$-1, SANDBOXD_STUB_RECEIVED_FD(%r14)
	mov	$SANDBOXD_STUB_SOCKET, %edi
	mov	%r14, %rsi
	mov	$0x40000000, %edx		// MSG_CMSG_CLOEXEC
	mov	$__NR_recvmsg, %eax
	syscall
	test	%rax, %rax
	jle	.Lleave
	mov	SANDBOXD_STUB_RECEIVED_FD(%r14), %r15d
	mov	$SANDBOXD_STUB_FORK_FLAGS, %edi
	xor	%esi, %esi
	xor	%edx, %edx
	xor	%r10d, %r10d
	xor	%r8d, %r8d
	mov	$__NR_clone, %eax
	syscall
	test	%eax, %eax
	jz	.Lchild
	mov	%eax, SANDBOXD_STUB_REPLY(%r14)
	mov	%r15d, %edi
	mov	$__NR_close, %eax
	syscall
	jmp	.Lreply
.Lleave:
	mov	$__NR_exit_group, %eax
	mov	$1, %edi
	syscall
	ud2

.Lchild:
	lea	SANDBOXD_STUB_SLOTS(%r12), %rdi
	mov	$SANDBOXD_STUB_SLOTS_SIZE, %esi
	mov	$3, %edx			// PROT_READ | PROT_WRITE
	mov	$0x11, %r10d			// MAP_SHARED | MAP_FIXED
	movslq	%r15d, %r8
	xor	%r9d, %r9d
	mov	$__NR_mmap, %eax
	syscall
	test	%rax, %rax
	js	.Lleave
	mov	%r15d, %edi
	mov	$__NR_close, %eax
	syscall
	mov	$SANDBOXD_STUB_SOCKET, %edi
	mov	$__NR_close, %eax
	syscall
	lea	SANDBOXD_STUB_STACKS + SANDBOXD_STUB_STACK_SIZE(%r12), %rsp
	xor	%ebp, %ebp
	xor	%edi, %edi
	call	sandboxd_stub_thread_main
	ud2

	.section .note.GNU-stack, "", @progbits
