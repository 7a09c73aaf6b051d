// Running code: system calls, registers, faults, interrupts, single steps, vector state.
#include <elf.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <atomic>
#include <csignal>
#include <cstring>
#include <ctime>
#include <thread>

#include "platform/arch/xstate.h"
#include "platform/testing/conformance.h"

namespace sandboxd::platform {
namespace {

class RunConformanceTest : public ConformanceTest {
 protected:
  Stop::Fault RunToFault(ConstBytes code, StepMode step = StepMode::kRun) {
    LoadCode(code);
    Stop stop = Run(step);
    EXPECT_EQ(stop.kind, Stop::Kind::kFault);
    return stop.fault;
  }
};
INSTANTIATE_CONFORMANCE(RunConformanceTest);

GUEST_CODE(Syscalls, "1: syscall\n jmp 1b");

TEST_P(RunConformanceTest, SyscallArrivesWithItsArguments) {
  LoadCode(kSyscalls);
  regs_.rax = 39;
  regs_.rdi = 0x1111'2222'3333'4444;
  regs_.rsi = 2;
  regs_.rdx = 3;
  regs_.r10 = 4;
  regs_.r8 = 5;
  regs_.r9 = ~uint64_t{0};
  ASSERT_EQ(RunToSyscall(), 39u);
  EXPECT_EQ(regs_.syscall_arg(0), 0x1111'2222'3333'4444u);
  EXPECT_EQ(regs_.syscall_arg(1), 2u);
  EXPECT_EQ(regs_.syscall_arg(2), 3u);
  EXPECT_EQ(regs_.syscall_arg(3), 4u);
  EXPECT_EQ(regs_.syscall_arg(4), 5u);
  EXPECT_EQ(regs_.syscall_arg(5), ~uint64_t{0});
  EXPECT_EQ(regs_.rip, kCode.value + 2);
  EXPECT_EQ(static_cast<int64_t>(regs_.rax), -ENOSYS);
  EXPECT_EQ(regs_.rcx, regs_.rip);
}

TEST_P(RunConformanceTest, RegistersSurviveARoundTrip) {
  LoadCode(kSyscalls);
  regs_.rbx = 0xb;
  regs_.rbp = 0xbb;
  regs_.r12 = 12;
  regs_.r13 = 13;
  regs_.r14 = 14;
  regs_.r15 = 15;
  regs_.rax = 1;
  for (uint64_t i = 0; i < 50; i++) {
    arch::Registers before = regs_;
    ASSERT_EQ(RunToSyscall(), before.rax);
    arch::Registers after = regs_;
    for (arch::Registers* r : {&before, &after}) {
      r->rax = r->rcx = r->r11 = r->orig_rax = r->rip = 0;
    }
    ASSERT_EQ(std::memcmp(&before, &after, sizeof(before)), 0);
    regs_.set_return_value(i);
    regs_.r15 = i * i;
    regs_.rdi = ~i;
  }
}

// A number that would be a real call of the host, and results that look like the host's restart
// codes.
TEST_P(RunConformanceTest, ResultsAreNotTakenForRestartCodes) {
  LoadCode(kSyscalls);
  regs_.rax = SYS_exit_group;
  for (int64_t result : {-512, -513, -514, -516, -4}) {
    RunToSyscall();
    regs_.set_return_value(static_cast<uint64_t>(result));
    context_->Interrupt();
    arch::Registers before = regs_;
    ASSERT_EQ(Run().kind, Stop::Kind::kInterrupt);
    EXPECT_EQ(regs_.rip, before.rip);
    ASSERT_EQ(RunToSyscall(), static_cast<uint64_t>(result));
  }
}

TEST_P(RunConformanceTest, RewoundSyscallRunsAgain) {
  LoadCode(kSyscalls);
  regs_.rax = 7;
  ASSERT_EQ(RunToSyscall(), 7u);
  regs_.RewindSyscall();
  ASSERT_EQ(RunToSyscall(), 7u);
  EXPECT_EQ(regs_.rip, kCode.value + 2);
}

GUEST_CODE(Tls, "mov %fs:0, %rdi\n mov %gs:0, %rsi\n syscall");

TEST_P(RunConformanceTest, SegmentBasesAreTheContexts) {
  LoadCode(kTls);
  Poke(kData, 77);
  Poke(kData + 8, 88);
  regs_.set_tls(kData.value);
  regs_.gs_base = kData.value + 8;
  RunToSyscall();
  EXPECT_EQ(regs_.rdi & 0xffff'ffff, 77u);
  EXPECT_EQ(regs_.rsi & 0xffff'ffff, 88u);
  EXPECT_EQ(regs_.tls(), kData.value);
}

GUEST_CODE(ReadZero, "mov 16, %rax");
TEST_P(RunConformanceTest, ReadOfNothingFaults) {
  Stop::Fault f = RunToFault(kReadZero);
  EXPECT_EQ(f.signo, SIGSEGV);
  EXPECT_EQ(f.code, SEGV_MAPERR);
  EXPECT_EQ(f.addr, UserAddr(16));
  EXPECT_EQ(f.trapno, 14u);
  EXPECT_EQ(regs_.rip, kCode.value);
}

GUEST_CODE(WriteSelf, "nop\n movl $1, 0(%rip)");
TEST_P(RunConformanceTest, WriteToReadOnlyMemoryFaults) {
  Stop::Fault f = RunToFault(kWriteSelf);
  EXPECT_EQ(f.signo, SIGSEGV);
  EXPECT_EQ(f.code, SEGV_ACCERR);
  EXPECT_EQ(PageRoundDown(f.addr.value), kCode.value);
  EXPECT_EQ(regs_.rip, kCode.value + 1);
}

GUEST_CODE(JumpToData, "jmp *%rbx");
TEST_P(RunConformanceTest, ExecutingDataFaults) {
  LoadCode(kJumpToData);
  regs_.rbx = kData.value;
  Stop stop = Run();
  ASSERT_EQ(stop.kind, Stop::Kind::kFault);
  EXPECT_EQ(stop.fault.signo, SIGSEGV);
  EXPECT_EQ(stop.fault.code, SEGV_ACCERR);
  EXPECT_EQ(stop.fault.addr, kData);
}

GUEST_CODE(NonCanonical, "mov $0x8000000000000000, %rax\n mov (%rax), %rax");
TEST_P(RunConformanceTest, NonCanonicalAddressIsAGeneralProtectionFault) {
  Stop::Fault f = RunToFault(kNonCanonical);
  EXPECT_EQ(f.signo, SIGSEGV);
  EXPECT_EQ(f.code, SI_KERNEL);
  EXPECT_EQ(f.addr, UserAddr(0));
  EXPECT_EQ(f.trapno, 13u);
}

GUEST_CODE(Illegal, "ud2");
TEST_P(RunConformanceTest, IllegalInstruction) {
  Stop::Fault f = RunToFault(kIllegal);
  EXPECT_EQ(f.signo, SIGILL);
  EXPECT_EQ(f.code, ILL_ILLOPN);
  EXPECT_EQ(f.addr, kCode);
  EXPECT_EQ(f.trapno, 6u);
}

GUEST_CODE(Divide, "xor %ecx, %ecx\n mov $1, %eax\n xor %edx, %edx\n div %ecx");
TEST_P(RunConformanceTest, DivisionByZero) {
  Stop::Fault f = RunToFault(kDivide);
  EXPECT_EQ(f.signo, SIGFPE);
  EXPECT_EQ(f.code, FPE_INTDIV);
  EXPECT_EQ(f.trapno, 0u);
  EXPECT_EQ(f.addr.value, regs_.rip);
}

GUEST_CODE(Breakpoint, "int3\n nop");
TEST_P(RunConformanceTest, Breakpoint) {
  Stop::Fault f = RunToFault(kBreakpoint);
  EXPECT_EQ(f.signo, SIGTRAP);
  EXPECT_EQ(f.code, SI_KERNEL);
  EXPECT_EQ(f.trapno, 3u);
  EXPECT_EQ(regs_.rip, kCode.value + 1);
}

GUEST_CODE(Privileged, "hlt");
TEST_P(RunConformanceTest, PrivilegedInstruction) {
  Stop::Fault f = RunToFault(kPrivileged);
  EXPECT_EQ(f.signo, SIGSEGV);
  EXPECT_EQ(f.code, SI_KERNEL);
  EXPECT_EQ(regs_.rip, kCode.value);
}

// As on a kernel without 32-bit support. 20 is getpid there: the host must not see it.
GUEST_CODE(Int80, "mov $20, %eax\n int $0x80\n mov $1, %eax\n syscall");
TEST_P(RunConformanceTest, Int80IsRefused) {
  Stop::Fault f = RunToFault(kInt80);
  EXPECT_EQ(f.signo, SIGSEGV);
  EXPECT_EQ(f.code, SI_KERNEL);
  EXPECT_EQ(f.trapno, 13u);
  EXPECT_EQ(regs_.rip, kCode.value + 5);
  EXPECT_EQ(regs_.rax, 20u);
}

GUEST_CODE(Sysenter, "mov $20, %eax\n mov %rsp, %rbp\n sub $64, %rbp\n sysenter");
TEST_P(RunConformanceTest, SysenterIsRefused) {
  Stop::Fault f = RunToFault(kSysenter);
  EXPECT_TRUE(f.signo == SIGSEGV || f.signo == SIGILL);
}

GUEST_CODE(Steps, "mov $1, %eax\n mov $2, %ebx\n syscall\n mov $3, %ecx");
TEST_P(RunConformanceTest, SingleStep) {
  LoadCode(kSteps);
  for (uint64_t at : {5u, 10u}) {
    Stop stop = Run(StepMode::kSingleStep);
    ASSERT_EQ(stop.kind, Stop::Kind::kFault);
    EXPECT_EQ(stop.fault.signo, SIGTRAP);
    EXPECT_EQ(stop.fault.code, TRAP_TRACE);
    EXPECT_EQ(regs_.rip, kCode.value + at);
    EXPECT_EQ(regs_.eflags & 0x100, 0u);
  }
  ASSERT_EQ(Run(StepMode::kSingleStep).kind, Stop::Kind::kSyscall);
  EXPECT_EQ(regs_.rip, kCode.value + 12);
  EXPECT_EQ(regs_.syscall_number(), 1u);
  ASSERT_EQ(Run(StepMode::kSingleStep).fault.signo, SIGTRAP);
  EXPECT_EQ(regs_.rip, kCode.value + 17);
}

GUEST_CODE(Spin, "1: incl (%rbx)\n jmp 1b");
TEST_P(RunConformanceTest, InterruptStopsABusyLoop) {
  LoadCode(kSpin);
  regs_.rbx = kData.value;
  for (int i = 0; i < 20; i++) {
    std::thread other([&] {
      // Once the loop has moved it is surely under way.
      const uint32_t before = Peek(kData);
      while (Peek(kData) == before) std::this_thread::yield();
      context_->Interrupt();
    });
    EXPECT_EQ(Run().kind, Stop::Kind::kInterrupt);
    other.join();
    EXPECT_GE(regs_.rip, kCode.value);
    EXPECT_LT(regs_.rip, kCode.value + kSpin.size());
  }
}

TEST_P(RunConformanceTest, InterruptBeforeSwitchIsNotLost) {
  LoadCode(kSpin);
  regs_.rbx = kData.value;
  context_->Interrupt();
  context_->Interrupt();
  EXPECT_EQ(Run().kind, Stop::Kind::kInterrupt);
  EXPECT_EQ(regs_.rip, kCode.value) << "nothing has run";
}

// However the two race, each interrupt is seen, and no stray signal reaches the application.
TEST_P(RunConformanceTest, InterruptsRaceWithSyscalls) {
  LoadCode(kSyscalls);
  regs_.rax = 1;
  std::atomic<bool> done{false};
  std::thread other([&] {
    while (!done.load()) context_->Interrupt();
  });
  int syscalls = 0;
  for (int i = 0; i < 3000; i++) {
    Stop stop = Run();
    ASSERT_NE(stop.kind, Stop::Kind::kFault);
    ASSERT_NE(stop.kind, Stop::Kind::kDead);
    if (stop.kind == Stop::Kind::kSyscall) syscalls++;
    ASSERT_TRUE(regs_.rip == kCode.value || regs_.rip == kCode.value + 2);
  }
  done = true;
  other.join();
  while (syscalls == 0) {
    if (Run().kind == Stop::Kind::kSyscall) syscalls++;
  }
}

GUEST_CODE(Vector,
           "movdqu (%rbx), %xmm5\n xor %eax, %eax\n syscall\n movdqu %xmm5, 16(%rbx)\n syscall");
TEST_P(RunConformanceTest, VectorStateSurvivesAndCanBeReadAndWritten) {
  LoadCode(kVector);
  regs_.rbx = kData.value;
  Poke(kData, 0xcafe);
  RunToSyscall();
  auto state = MUST(context_->GetFpState());
  constexpr size_t kXmm5 = 160 + 5 * 16;
  uint32_t word;
  std::memcpy(&word, state.data() + kXmm5, sizeof(word));
  EXPECT_EQ(word, 0xcafeu);
  word = 0xbeef;
  std::memcpy(state.data() + kXmm5, &word, sizeof(word));
  ASSERT_TRUE(context_->SetFpState(state).ok());
  RunToSyscall();
  EXPECT_EQ(Peek(kData + 16), 0xbeefu);
  ASSERT_TRUE(context_->ResetFpState().ok());
  state = MUST(context_->GetFpState());
  std::memcpy(&word, state.data() + kXmm5, sizeof(word));
  EXPECT_EQ(word, 0u);
  std::memcpy(&word, state.data() + arch::kXstateMxcsrOffset, sizeof(word));
  EXPECT_EQ(word, arch::kInitialMxcsr);
}

TEST_P(RunConformanceTest, VectorStateOfTheWrongSizeIsRefused) {
  EXPECT_TRUE(context_->SetFpState(std::vector<std::byte>(100)).Is(Errno::kEINVAL));
  EXPECT_TRUE(context_->SetFpState(std::vector<std::byte>(1 << 20)).Is(Errno::kEINVAL));
}

// Finds a function of the vdso by its dynamic symbols, in a copy of the image.
uint64_t VdsoFunction(const std::vector<std::byte>& image, const char* wanted) {
  auto at = [&](uint64_t offset) { return image.data() + offset; };
  Elf64_Ehdr header;
  std::memcpy(&header, at(0), sizeof(header));
  for (int i = 0; i < header.e_shnum; i++) {
    Elf64_Shdr section;
    std::memcpy(&section, at(header.e_shoff + i * sizeof(section)), sizeof(section));
    if (section.sh_type != SHT_DYNSYM) continue;
    Elf64_Shdr strings;
    std::memcpy(&strings, at(header.e_shoff + section.sh_link * sizeof(strings)), sizeof(strings));
    for (uint64_t o = 0; o < section.sh_size; o += sizeof(Elf64_Sym)) {
      Elf64_Sym symbol;
      std::memcpy(&symbol, at(section.sh_offset + o), sizeof(symbol));
      const char* name = reinterpret_cast<const char*>(at(strings.sh_offset + symbol.st_name));
      if (std::strcmp(name, wanted) == 0) return symbol.st_value;
    }
  }
  return 0;
}

GUEST_CODE(CallVdso, "call *%rbx\n mov %rax, %rdi\n mov $500, %eax\n syscall");
TEST_P(RunConformanceTest, VdsoTellsTheTime) {
  const AddrRange vdso = platform().vdso().vdso;
  if (vdso.empty()) GTEST_SKIP() << "the host has no vdso";
  LoadCode(kCallVdso);
  std::vector<std::byte> image(vdso.length());
  ASSERT_GT(vdso.start, kApplicationEnd);
  // The image is the host's, the same as in our own process.
  std::memcpy(image.data(), reinterpret_cast<const void*>(getauxval(AT_SYSINFO_EHDR)),
              image.size());
  const uint64_t function = VdsoFunction(image, "__vdso_clock_gettime");
  ASSERT_NE(function, 0u);
  regs_.rbx = vdso.start.value + function;
  regs_.rdi = CLOCK_MONOTONIC;
  regs_.rsi = kData.value;
  timespec before, after, theirs;
  clock_gettime(CLOCK_MONOTONIC, &before);
  uint64_t number = RunToSyscall();
  clock_gettime(CLOCK_MONOTONIC, &after);
  if (number == SYS_clock_gettime) GTEST_SKIP() << "the host's clock needs a system call";
  ASSERT_EQ(number, 500u);
  EXPECT_EQ(regs_.rdi, 0u);
  ASSERT_EQ(as().CopyIn(kData, AsWritableBytes(theirs)), sizeof(theirs));
  EXPECT_GE(theirs.tv_sec * 1'000'000'000 + theirs.tv_nsec,
            before.tv_sec * 1'000'000'000 + before.tv_nsec);
  EXPECT_LE(theirs.tv_sec * 1'000'000'000 + theirs.tv_nsec,
            after.tv_sec * 1'000'000'000 + after.tv_nsec);
}

}  // namespace
}  // namespace sandboxd::platform
