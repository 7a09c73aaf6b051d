// See snippets_stub.h. SAFETY: the whole section is copied elsewhere and run there, so that it may
// refer to nothing outside itself; jumps are relative and short. The application can jump to any
// byte of it: every call it could make here is on the stub's seccomp list (stub_seccomp.cc), where
// the reason stands why it is harmless.
#include <asm/unistd_64.h>

#include "platform/stub/region_stub.h"

	.section sandboxd_stub, "ax", @progbits

	.macro LABEL name
	.globl \name
	.type \name, @notype
	.hidden \name
\name:
	.endm

// In: rax and rdi rsi rdx r10 r8 r9, as for the call. Out: rax.
LABEL sandboxd_stub_syscall
	syscall
	int3

// In: rax = __NR_clone and its arguments; ebx = 1 if the child gets a copy of the file table.
// Out, in the parent: rax. The child inherits the number 0, the parent's socket, through which it
// could take descriptors that are meant for the parent, and gives it up first.
LABEL sandboxd_stub_clone
	syscall
	test	%eax, %eax
	jz	.Lchild
	int3
.Lchild:
	test	%ebx, %ebx
	jz	sandboxd_stub_isolated
	mov	$SANDBOXD_STUB_SOCKET, %edi
	mov	$__NR_close, %eax
	syscall
LABEL sandboxd_stub_isolated
	mov	$1, %edi			// PR_SET_PDEATHSIG
	mov	$9, %esi			// SIGKILL
	mov	$__NR_prctl, %eax
	syscall
LABEL sandboxd_stub_park
	mov	$__NR_pause, %eax
	syscall
	jmp	sandboxd_stub_park
LABEL sandboxd_stub_park_end

// In: rdi. Out: eax. A fault here is the caller's EFAULT.
LABEL sandboxd_stub_load
	mov	(%rdi), %eax
	int3

// In: rdi, eax expected, edx desired. Out: eax found.
LABEL sandboxd_stub_cmpxchg
	lock cmpxchg %edx, (%rdi)
	int3

// In: rbx the scratch page with its msghdr set up, r12 address, r13 length, r14 prot, r15 flags,
// rbp offset. Out: rax, mmap's result or recvmsg's.
LABEL sandboxd_stub_map_fd
	movq	$SANDBOXD_STUB_CONTROL_SIZE, SANDBOXD_STUB_MSG_CONTROLLEN(%rbx)
	movl	$-1, SANDBOXD_STUB_RECEIVED_FD(%rbx)
	mov	$SANDBOXD_STUB_SOCKET, %edi
	mov	%rbx, %rsi
	mov	$0x40000000, %edx		// MSG_CMSG_CLOEXEC
	mov	$__NR_recvmsg, %eax
	syscall
	test	%rax, %rax
	js	1f
	mov	%r12, %rdi
	mov	%r13, %rsi
	mov	%r14, %rdx
	mov	%r15, %r10
	movslq	SANDBOXD_STUB_RECEIVED_FD(%rbx), %r8
	mov	%rbp, %r9
	mov	%r8, %r13
	mov	$__NR_mmap, %eax
	syscall
	mov	%rax, %r12
	mov	%r13, %rdi
	mov	$__NR_close, %eax
	syscall
	mov	%r12, %rax
1:	int3

// In: r12 start and r13 end of our region, rbp the end of user addresses, r14 the scratch page.
// Forgets everything else that is mapped, says so with four bytes of zero, and answers every request
// with the process id of a new stub or a negative error number. Leaves when the socket closes.
LABEL sandboxd_stub_template
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
	mov	$SANDBOXD_STUB_SOCKET, %edi
	lea	SANDBOXD_STUB_REPLY(%r14), %rsi
	mov	$4, %edx
	xor	%r10d, %r10d
	xor	%r8d, %r8d
	xor	%r9d, %r9d
	mov	$__NR_recvfrom, %eax
	syscall
	test	%rax, %rax
	jle	.Lleave
	mov	$SANDBOXD_STUB_FORK_FLAGS, %edi
	xor	%esi, %esi
	xor	%edx, %edx
	xor	%r10d, %r10d
	xor	%r8d, %r8d
	mov	$1, %ebx
	mov	$__NR_clone, %eax
	syscall
	test	%eax, %eax
	jz	.Lchild
	mov	%eax, SANDBOXD_STUB_REPLY(%r14)
	jmp	.Lreply
.Lleave:
	mov	$__NR_exit_group, %eax
	mov	$1, %edi
	syscall
	ud2

	.section .note.GNU-stack, "", @progbits
