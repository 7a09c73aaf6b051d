// The way of a system call that comes by a patched call site (systrap/call_site_x86_64.h): from a
// trampoline straight to the stub's program and back, without a signal. SAFETY: as for
// stub/snippets_stub.S. No memory of the application's is touched, and no register lost; the stack
// is the one that is otherwise for signals, where a signal's frame goes below what we use.
#include "platform/stub/region_stub.h"

	.section sandboxd_stub, "ax", @progbits

	.macro LABEL name
	.globl \name
	.hidden \name
\name:
	.endm

	// struct user_regs_struct
	.set REG_R15, SANDBOXD_SLOT_REGISTERS + 0 * 8
	.set REG_R14, SANDBOXD_SLOT_REGISTERS + 1 * 8
	.set REG_R13, SANDBOXD_SLOT_REGISTERS + 2 * 8
	.set REG_R12, SANDBOXD_SLOT_REGISTERS + 3 * 8
	.set REG_RBP, SANDBOXD_SLOT_REGISTERS + 4 * 8
	.set REG_RBX, SANDBOXD_SLOT_REGISTERS + 5 * 8
	.set REG_R11, SANDBOXD_SLOT_REGISTERS + 6 * 8
	.set REG_R10, SANDBOXD_SLOT_REGISTERS + 7 * 8
	.set REG_R9, SANDBOXD_SLOT_REGISTERS + 8 * 8
	.set REG_R8, SANDBOXD_SLOT_REGISTERS + 9 * 8
	.set REG_RAX, SANDBOXD_SLOT_REGISTERS + 10 * 8
	.set REG_RCX, SANDBOXD_SLOT_REGISTERS + 11 * 8
	.set REG_RDX, SANDBOXD_SLOT_REGISTERS + 12 * 8
	.set REG_RSI, SANDBOXD_SLOT_REGISTERS + 13 * 8
	.set REG_RDI, SANDBOXD_SLOT_REGISTERS + 14 * 8
	.set REG_ORIG_RAX, SANDBOXD_SLOT_REGISTERS + 15 * 8
	.set REG_RIP, SANDBOXD_SLOT_REGISTERS + 16 * 8
	.set REG_CS, SANDBOXD_SLOT_REGISTERS + 17 * 8
	.set REG_EFLAGS, SANDBOXD_SLOT_REGISTERS + 18 * 8
	.set REG_RSP, SANDBOXD_SLOT_REGISTERS + 19 * 8
	.set REG_SS, SANDBOXD_SLOT_REGISTERS + 20 * 8
	.set REG_FS_BASE, SANDBOXD_SLOT_REGISTERS + 21 * 8
	.set REG_GS_BASE, SANDBOXD_SLOT_REGISTERS + 22 * 8

	.set USER_CS, 0x33
	.set USER_DS, 0x2b
	// Trap, direction, nested task, alignment check: not for our code.
	.set ODD_FLAGS, 0x44500

// In: r11 the slot, which is the gs base too; rcx the address behind the site's `syscall`;
// everything else is the application's. No instruction before the flags are saved changes them.
LABEL sandboxd_stub_direct
	movl	$1, SANDBOXD_SLOT_PHASE(%r11)	// Phase::kServing
	mov	%rsp, REG_RSP(%r11)
	mov	SANDBOXD_SLOT_STACK_END(%r11), %rsp
	pushfq
	popq	REG_EFLAGS(%r11)
	cmp	$SANDBOXD_SLOT_ANSWER_COUNT, %rax
	jae	.Lcall
	cmpq	$0, SANDBOXD_SLOT_ANSWERS(%r11, %rax, 8)
	je	.Lcall
	testl	$ODD_FLAGS, REG_EFLAGS(%r11)
	jnz	.Lcall
	// The answer is known. An interrupt that came before the next comparison has left a mark, and the
	// call is made; who comes after it finds the call done (FinishAnswer in free_main_stub.cc).
	cmpl	$0, SANDBOXD_SLOT_INTERRUPTED(%r11)
LABEL sandboxd_stub_answer
	jne	.Lcall
	mov	SANDBOXD_SLOT_ANSWERS(%r11, %rax, 8), %rax
LABEL sandboxd_stub_answered
	lea	-1(%rax), %rax
LABEL sandboxd_stub_answer_taken
	pushq	REG_EFLAGS(%r11)
	popfq
	mov	REG_RSP(%r11), %rsp
	mov	REG_EFLAGS(%r11), %r11
	jmp	*%rcx
LABEL sandboxd_stub_answer_end
.Lcall:
	mov	%rax, REG_ORIG_RAX(%r11)
	mov	%rcx, REG_RIP(%r11)
	mov	%rcx, REG_RCX(%r11)
	mov	%r15, REG_R15(%r11)
	mov	%r14, REG_R14(%r11)
	mov	%r13, REG_R13(%r11)
	mov	%r12, REG_R12(%r11)
	mov	%rbp, REG_RBP(%r11)
	mov	%rbx, REG_RBX(%r11)
	mov	%r10, REG_R10(%r11)
	mov	%r9, REG_R9(%r11)
	mov	%r8, REG_R8(%r11)
	mov	%rdx, REG_RDX(%r11)
	mov	%rsi, REG_RSI(%r11)
	mov	%rdi, REG_RDI(%r11)
	movq	$-38, REG_RAX(%r11)		// -ENOSYS
	movq	$USER_CS, REG_CS(%r11)
	movq	$USER_DS, REG_SS(%r11)
	movq	$0, REG_GS_BASE(%r11)
	mov	%r11, %rbx
	rdfsbase %rbp
	mov	%rbp, REG_FS_BASE(%rbx)
	mov	REG_EFLAGS(%rbx), %rax
	mov	%rax, REG_R11(%rbx)
	test	$ODD_FLAGS, %eax
	jz	1f
	pushq	$2
	popfq
1:	mov	%rbx, %rdi
	call	sandboxd_stub_direct_call
	cmp	REG_FS_BASE(%rbx), %rbp
	je	2f
	mov	REG_FS_BASE(%rbx), %rcx
	wrfsbase %rcx
2:	mov	REG_GS_BASE(%rbx), %rcx
	test	%rcx, %rcx
	jz	3f
	wrgsbase %rcx
3:	mov	REG_R15(%rbx), %r15
	mov	REG_R14(%rbx), %r14
	mov	REG_R13(%rbx), %r13
	mov	REG_R12(%rbx), %r12
	mov	REG_RBP(%rbx), %rbp
	mov	REG_R10(%rbx), %r10
	mov	REG_R9(%rbx), %r9
	mov	REG_R8(%rbx), %r8
	mov	REG_RDX(%rbx), %rdx
	mov	REG_RSI(%rbx), %rsi
	mov	REG_RDI(%rbx), %rdi
	test	%eax, %eax
	jnz	4f
	// What `syscall` leaves: rcx and r11 are the address and the flags.
	mov	REG_RAX(%rbx), %rax
	pushq	REG_EFLAGS(%rbx)
	popfq
	mov	REG_EFLAGS(%rbx), %r11
	mov	REG_RIP(%rbx), %rcx
	mov	REG_RSP(%rbx), %rsp
	mov	REG_RBX(%rbx), %rbx
LABEL sandboxd_stub_direct_jump
	jmp	*%rcx
	// Any registers.
4:	pushq	$USER_DS
	pushq	REG_RSP(%rbx)
	pushq	REG_EFLAGS(%rbx)
	pushq	$USER_CS
	pushq	REG_RIP(%rbx)
	mov	REG_RAX(%rbx), %rax
	mov	REG_RCX(%rbx), %rcx
	mov	REG_R11(%rbx), %r11
	mov	REG_RBX(%rbx), %rbx
LABEL sandboxd_stub_direct_iret
	iretq

// rdi a 64-byte aligned area with a zeroed header, rsi components.
LABEL sandboxd_stub_xsave
	mov	%esi, %eax
	mov	%rsi, %rdx
	shr	$32, %rdx
	xsave64	(%rdi)
	ret

// Likewise. 0, or ~0 if the processor refuses the area.
LABEL sandboxd_stub_xrstor
	mov	%esi, %eax
	mov	%rsi, %rdx
	shr	$32, %rdx
LABEL sandboxd_stub_xrstor_at
	xrstor64 (%rdi)
	xor	%eax, %eax
	ret

	.section .note.GNU-stack, "", @progbits
