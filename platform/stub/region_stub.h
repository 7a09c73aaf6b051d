// Where things are in a stub's own region of memory, shared by C++ and assembly.
//
//   code      read and execute
//   scratch   one page, read and write: the message header for receiving descriptors, small answers
//   vector    one page, read and write: mincore's answer
//   vdso      the host's vvar and vdso pages, as they follow each other
// and for stubs that run by themselves (systrap):
//   slots     memory shared with the kernel process, one slot a thread
//   stacks    one stack a thread, private (systrap: its signal stack)
// and for stubs that are monitors of a virtual machine:
//   runs      struct kvm_run of each thread's virtual processor
//   vm        what the stub knows of its machine, private
//   tables    the guest's page tables and what else the machine needs, shared with the kernel
//   process
#pragma once

// CLONE_PARENT | CLONE_UNTRACED: a stub is a child of the kernel process, whoever made it, and no
// debugger follows. No exit signal.
#define SANDBOXD_STUB_FORK_FLAGS 0x00808000
// The same with CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_SYSVSEM: a "thread" is a
// process of its own on the same memory. It can be killed, waited for and reaped by itself.
#define SANDBOXD_STUB_THREAD_FLAGS 0x00848f00

// The descriptor that every stub may have.
#define SANDBOXD_STUB_SOCKET 0

#define SANDBOXD_STUB_CODE 0x0000
#define SANDBOXD_STUB_CODE_SIZE 0x4000
#define SANDBOXD_STUB_SCRATCH 0x4000
#define SANDBOXD_STUB_VECTOR 0x5000
#define SANDBOXD_STUB_VDSO 0x10000
#define SANDBOXD_STUB_SMALL_SIZE 0x40000
#define SANDBOXD_STUB_SLOTS 0x1000000
#define SANDBOXD_STUB_SLOTS_SIZE 0x2000000
#define SANDBOXD_STUB_STACKS 0x4000000
#define SANDBOXD_STUB_STACKS_SIZE 0x4000000
#define SANDBOXD_STUB_STACK_SIZE 0x8000
#define SANDBOXD_STUB_FULL_SIZE 0x8000000

// A page where nothing is, ever.
#define SANDBOXD_STUB_HOLE 0x800000
#define SANDBOXD_STUB_RUNS 0x8000000
#define SANDBOXD_STUB_RUNS_SIZE 0x2000000
#define SANDBOXD_STUB_RUN_SIZE 0x4000
#define SANDBOXD_STUB_VM 0xa000000
#define SANDBOXD_STUB_VM_SIZE 0x10000
#define SANDBOXD_STUB_TABLES 0x10000000
#define SANDBOXD_STUB_TABLES_SIZE 0x10000000
#define SANDBOXD_STUB_VM_FULL_SIZE 0x20000000

// The descriptors that a stub with a virtual machine keeps besides: /dev/kvm and its machine. Those
// of the virtual processors follow.
#define SANDBOXD_STUB_KVM 1
#define SANDBOXD_STUB_MACHINE 2

// In the scratch page: struct msghdr, its iovec and data byte, its control message (one
// descriptor), and four bytes for the template's answers or socketpair's descriptors.
#define SANDBOXD_STUB_MSG_CONTROLLEN 0x28
#define SANDBOXD_STUB_IOVEC 0x40
#define SANDBOXD_STUB_CONTROL 0x80
#define SANDBOXD_STUB_CONTROL_SIZE 0x18
#define SANDBOXD_STUB_RECEIVED_FD 0x90
#define SANDBOXD_STUB_REPLY 0x100

// In a slot (struct SharedContext), for code that isn't C++.
#define SANDBOXD_SLOT_OWN_NEGATIVE 0x40
#define SANDBOXD_SLOT_STACK_END 0x48
#define SANDBOXD_SLOT_PHASE 0x50
#define SANDBOXD_SLOT_INTERRUPTED 0x54
#define SANDBOXD_SLOT_REGISTERS 0x100
#define SANDBOXD_SLOT_ANSWERS 0x400
#define SANDBOXD_SLOT_ANSWER_COUNT 0x100
