// Call sites of code that is mapped from a file, called often enough that a platform may change
// them: to the application nothing may be different.
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstring>
#include <set>
#include <thread>

#include "platform/arch/xstate.h"
#include "platform/base/unique_fd.h"
#include "platform/testing/conformance.h"

namespace sandboxd::platform {
namespace {

// Code somewhere in the middle of a page, as a program's is.
constexpr uint64_t kCodeOffset = 256;
constexpr UserAddr kText{0x10'0000'0000};
constexpr UserAddr kEntry{kText.value + kCodeOffset};
constexpr int kOften = 20;

// Everything but a few pages is free.
class Keeper final : public RoomKeeper {
 public:
  Result<UserAddr> Reserve(AddrRange window) override {
    UserAddr at(PageRoundDown(window.start.value));
    while (taken_.count(at.value) != 0) at = at + kPageSize;
    if (at >= window.end || at >= kApplicationEnd) return Errno::kENOMEM;
    taken_.insert(at.value);
    return at;
  }
  const std::set<uint64_t>& taken() const { return taken_; }

 private:
  std::set<uint64_t> taken_;
};

class CallSiteTest : public ConformanceTest {
 protected:
  // Maps `code` as a program's text, between instructions that lead to it and away.
  void LoadText(ConstBytes code) {
    std::vector<std::byte> page(kPageSize, std::byte{0x90});
    std::copy(code.begin(), code.end(), page.begin() + kCodeOffset);
    text_ = page;
    UniqueFd fd(memfd_create("text", MFD_CLOEXEC));
    ASSERT_EQ(write(fd.get(), page.data(), page.size()), static_cast<ssize_t>(page.size()));
    Backing backing;
    backing.host_fd = fd.get();
    Map(Pages(kText, 1), PROT_READ | PROT_EXEC, backing);
    Map(Pages(kStack - kPageSize, 1), PROT_READ | PROT_WRITE);
    as().set_room_keeper(&keeper_);
    regs_ = arch::InitialRegisters(kEntry.value, kStack.value);
  }

  // A thread's registers before and after a call, but for those that it changes.
  static void ExpectSame(arch::Registers before, arch::Registers after) {
    for (arch::Registers* r : {&before, &after}) {
      r->rax = r->rcx = r->r11 = r->orig_rax = r->rip = 0;
    }
    EXPECT_EQ(before.eflags, after.eflags);
    EXPECT_EQ(std::memcmp(&before, &after, sizeof(before)), 0);
  }

  void ExpectOriginalText() {
    std::vector<std::byte> now(kPageSize);
    ASSERT_EQ(as().CopyIn(kText, now), now.size());
    EXPECT_EQ(now, text_);
    ASSERT_EQ(context_->CopyIn(kText, now), now.size());
    EXPECT_EQ(now, text_);
  }

  Keeper keeper_;
  std::vector<std::byte> text_;
};
INSTANTIATE_CONFORMANCE(CallSiteTest);

// The stack pointer is a number: nothing may be written below it, nor read.
GUEST_CODE(Loop, "1: mov $0x6e, %eax\n syscall\n jmp 1b");

TEST_P(CallSiteTest, RegistersAndFlagsSurvive) {
  LoadText(kLoop);
  regs_.rbx = 0xb;
  regs_.rdx = 0xd;
  regs_.rdi = 0xd1;
  regs_.rsi = 0x51;
  regs_.rbp = 0xbb;
  regs_.rsp = 0x1234;
  regs_.r8 = 8, regs_.r9 = 9, regs_.r10 = 10;
  regs_.r12 = 12, regs_.r13 = 13, regs_.r14 = 14, regs_.r15 = 15;
  regs_.fs_base = kData.value;
  for (uint64_t i = 0; i < kOften; i++) {
    // Carry, zero, sign, direction, overflow, alignment check.
    regs_.eflags = 0x202 | (i % 2 != 0 ? 0x40cc1 : 0) | (i % 3 != 0 ? 0x800 : 0);
    const arch::Registers before = regs_;
    ASSERT_EQ(RunToSyscall(), 0x6eu);
    ExpectSame(before, regs_);
    EXPECT_EQ(static_cast<int64_t>(regs_.rax), -ENOSYS);
    EXPECT_EQ(regs_.rip, kEntry.value + 7);
    EXPECT_EQ(regs_.rcx, regs_.rip);
    EXPECT_EQ(regs_.r11, regs_.eflags);
    regs_.set_return_value(i);
    regs_.r15 = i * i;
    regs_.rdi = ~i;
    regs_.fs_base = kData.value + i * 16;
  }
  ExpectOriginalText();
}

// Registers that `syscall` doesn't leave so, as after a signal's handler.
TEST_P(CallSiteTest, AnyRegistersCanFollowACall) {
  LoadText(kLoop);
  for (uint64_t i = 0; i < kOften; i++) {
    ASSERT_EQ(RunToSyscall(), 0x6eu);
    regs_.rip = kEntry.value;
    regs_.rcx = i;
    regs_.r11 = ~i;
    context_->Interrupt();
    const arch::Registers before = regs_;
    ASSERT_EQ(Run().kind, Stop::Kind::kInterrupt);
    EXPECT_EQ(std::memcmp(&before, &regs_, sizeof(before)), 0);
  }
}

// Asks who it is a thousand times, then makes another call. rdi: the sum of the answers.
GUEST_CODE(WhoAmI,
           "xor %edi, %edi\n mov $1000, %ebp\n"
           "1: mov $39, %eax\n syscall\n add %rax, %rdi\n dec %ebp\n jnz 1b\n"
           "mov $110, %eax\n syscall\n mov $105, %eax\n syscall");
TEST_P(CallSiteTest, AnswersThatAreKnownAreTheSame) {
  LoadText(kWhoAmI);
  std::atomic<bool> done{false};
  std::thread interrupter([&] {
    while (!done) context_->Interrupt();
  });
  for (uint64_t pid : {77, 78}) {
    regs_.rip = kEntry.value;
    regs_.rbx = 0xb;
    const arch::Registers before = regs_;
    int calls = 0;
    for (;;) {
      Stop stop = Run();
      if (stop.kind == Stop::Kind::kInterrupt) {
        EXPECT_GE(regs_.rip, kEntry.value);
        EXPECT_LT(regs_.rip, kEntry.value + 64);
        continue;
      }
      ASSERT_EQ(stop.kind, Stop::Kind::kSyscall);
      if (regs_.syscall_number() != SYS_getpid) break;
      calls++;
      regs_.set_return_value(pid);
    }
    EXPECT_EQ(regs_.syscall_number(), static_cast<uint64_t>(SYS_getppid));
    EXPECT_EQ(regs_.rdi, 1000 * pid);
    EXPECT_LE(calls, 1000);
    EXPECT_EQ(regs_.rbx, before.rbx);
    EXPECT_EQ(regs_.rsp, before.rsp);
    // Now it becomes somebody else.
    while (Run().kind == Stop::Kind::kInterrupt) {
    }
    EXPECT_EQ(regs_.syscall_number(), static_cast<uint64_t>(SYS_setuid));
    regs_.set_return_value(0);
  }
  done = true;
  interrupter.join();
}

GUEST_CODE(Shapes,
           "1: nop\n xor %eax, %eax\n syscall\n cmp $-4095, %rax\n"
           "mov $2, %edx\n mov %edx, %eax\n syscall\n cmp $-4095, %rax\n"
           "mov $3, %eax\n mov %rbx, %rdi\n syscall\n cmp $-4095, %rax\n"
           "mov $4, %rax\n syscall\n"
           "mov $5, %eax\n mov 8(%rsp), %r9\n syscall\n ret");
TEST_P(CallSiteTest, AllShapesOfCode) {
  LoadText(kShapes);
  regs_.rsp = kStack.value - 64;
  regs_.rbx = 0xb0b;
  Poke(kStack - 64 + 8, 0x919);
  for (int i = 0; i < kOften; i++) {
    regs_.rip = kEntry.value;
    for (uint64_t number : {0, 2, 3, 4, 5}) {
      ASSERT_EQ(RunToSyscall(), number);
      EXPECT_EQ(regs_.rcx, regs_.rip);
      regs_.set_return_value(77);
    }
    EXPECT_EQ(regs_.rdi, 0xb0bu);
    EXPECT_EQ(regs_.r9 & 0xffff'ffff, 0x919u);
  }
  ExpectOriginalText();
}

GUEST_CODE(JumpToSyscall, "1: mov $7, %eax\n 2: syscall\n mov $8, %eax\n jmp 2b");
TEST_P(CallSiteTest, JumpsToTheInstructionItself) {
  LoadText(kJumpToSyscall);
  for (int i = 0; i < kOften; i++) {
    regs_.rip = kEntry.value;
    ASSERT_EQ(RunToSyscall(), 7u);
    ASSERT_EQ(RunToSyscall(), 8u);
    EXPECT_EQ(regs_.rip, kEntry.value + 7);
  }
}

TEST_P(CallSiteTest, RewoundCallsRunAgain) {
  LoadText(kLoop);
  for (int i = 0; i < kOften; i++) {
    ASSERT_EQ(RunToSyscall(), 0x6eu);
    regs_.RewindSyscall();
    ASSERT_EQ(RunToSyscall(), 0x6eu);
    EXPECT_EQ(regs_.rip, kEntry.value + 7);
  }
}

TEST_P(CallSiteTest, VectorStateSurvivesAndCanBeReadAndWritten) {
  LoadText(kLoop);
  for (int i = 0; i < kOften; i++) {
    ASSERT_EQ(RunToSyscall(), 0x6eu);
    std::vector<std::byte> state = MUST(context_->GetFpState());
    constexpr size_t kXmm3 = 160 + 3 * 16;
    if (i > 0) {
      EXPECT_EQ(state[kXmm3], static_cast<std::byte>(i - 1));
    }
    std::fill_n(state.begin() + kXmm3, 16, static_cast<std::byte>(i));
    state[arch::kXstateBvOffset] |= std::byte{arch::kXfeatureSse};
    ASSERT_TRUE(context_->SetFpState(state).ok());
    EXPECT_EQ(MUST(context_->GetFpState())[kXmm3], static_cast<std::byte>(i));
  }
  ASSERT_TRUE(context_->ResetFpState().ok());
}

GUEST_CODE(Count, "1: incq (%rbx)\n mov $0x6e, %eax\n syscall\n jmp 1b");
TEST_P(CallSiteTest, InterruptsNeitherLoseNorDoubleCalls) {
  LoadText(kCount);
  regs_.rbx = kData.value;
  std::atomic<bool> done{false};
  std::thread interrupter([&] {
    while (!done) context_->Interrupt();
  });
  uint32_t calls = 0;
  int interrupts = 0;
  while (calls < 20000) {
    Stop stop = Run();
    if (stop.kind == Stop::Kind::kInterrupt) {
      interrupts++;
      // Somewhere in the program, never in what is not its own.
      EXPECT_GE(regs_.rip, kEntry.value);
      EXPECT_LT(regs_.rip, kEntry.value + 16);
      continue;
    }
    ASSERT_EQ(stop.kind, Stop::Kind::kSyscall);
    calls++;
    ASSERT_EQ(Peek(kData), calls);
  }
  done = true;
  interrupter.join();
  EXPECT_GT(interrupts, 0);
}

TEST_P(CallSiteTest, ForksHaveTheSameCode) {
  LoadText(kLoop);
  for (int i = 0; i < kOften; i++) ASSERT_EQ(RunToSyscall(), 0x6eu);
  auto child = MUST(as().Fork(*context_));
  auto context = MUST(child->NewContext());
  arch::Registers regs = regs_;
  for (int i = 0; i < kOften; i++) {
    ASSERT_EQ(RunToSyscall(*context, regs), 0x6eu);
    ExpectSame(regs_, regs);
    ASSERT_EQ(RunToSyscall(), 0x6eu);
  }
  std::vector<std::byte> now(kPageSize);
  ASSERT_EQ(child->CopyIn(kText, now), now.size());
  EXPECT_EQ(now, text_);
}

TEST_P(CallSiteTest, ThreadsInTheSiteWhileItChanges) {
  constexpr int kThreads = 4;
  constexpr uint32_t kCalls = 3000;
  LoadText(kCount);
  std::atomic<int> ready{0};
  auto work = [&](int n) {
    auto context = MUST(as().NewContext());
    arch::Registers regs = arch::InitialRegisters(kEntry.value, kStack.value);
    regs.rbx = kData.value + 8 * n;
    ready++;
    while (ready < kThreads) std::this_thread::yield();
    for (uint32_t i = 1; i <= kCalls; i++) {
      ASSERT_EQ(RunToSyscall(*context, regs), 0x6eu);
      ASSERT_EQ(Peek(as(), UserAddr(regs.rbx)), i);
    }
  };
  std::vector<std::thread> threads;
  for (int n = 0; n < kThreads; n++) {
    ASSERT_TRUE(as().PrepareThread(*context_).ok());
    threads.emplace_back(work, n);
  }
  // Meanwhile the text is taken for writing and given back, again and again.
  for (int i = 0; i < 50; i++) {
    ASSERT_TRUE(as().Protect(*context_, Pages(kText, 1), PROT_READ | PROT_WRITE | PROT_EXEC).ok());
    std::vector<std::byte> now(kPageSize);
    ASSERT_EQ(as().CopyIn(kText, now), now.size());
    EXPECT_EQ(now, text_);
    std::this_thread::yield();
    UniqueFd fd(memfd_create("text", MFD_CLOEXEC));
    ASSERT_EQ(write(fd.get(), text_.data(), text_.size()), static_cast<ssize_t>(text_.size()));
    Backing backing;
    backing.host_fd = fd.get();
    Map(Pages(kText, 1), PROT_READ | PROT_EXEC, backing);
    std::this_thread::yield();
  }
  for (std::thread& t : threads) t.join();
}

TEST_P(CallSiteTest, WritableTextIsTheOriginal) {
  LoadText(kLoop);
  for (int i = 0; i < kOften; i++) ASSERT_EQ(RunToSyscall(), 0x6eu);
  ASSERT_TRUE(as().Protect(*context_, Pages(kText, 1), PROT_READ | PROT_WRITE | PROT_EXEC).ok());
  ExpectOriginalText();
  // mov $0x28, %eax
  Poke(kEntry + 1, 0x28);
  for (int i = 0; i < kOften; i++) ASSERT_EQ(RunToSyscall(), 0x28u);
}

TEST_P(CallSiteTest, MovedTextIsTheOriginal) {
  LoadText(kLoop);
  for (int i = 0; i < kOften; i++) ASSERT_EQ(RunToSyscall(), 0x6eu);
  const UserAddr to = kText + 64 * kPageSize;
  ASSERT_TRUE(as().Remap(*context_, Pages(kText, 1), Pages(to, 1), false).ok());
  regs_.rip = to.value + kCodeOffset;
  for (int i = 0; i < kOften; i++) {
    ASSERT_EQ(RunToSyscall(), 0x6eu);
    EXPECT_EQ(regs_.rip, to.value + kCodeOffset + 7);
  }
}

TEST_P(CallSiteTest, SingleSteps) {
  LoadText(kLoop);
  for (int i = 0; i < kOften; i++) ASSERT_EQ(RunToSyscall(), 0x6eu);
  for (int i = 0; i < 3; i++) {
    // jmp, mov
    for (uint64_t ip : {kEntry.value, kEntry.value + 5}) {
      Stop stop = Run(StepMode::kSingleStep);
      ASSERT_EQ(stop.kind, Stop::Kind::kFault);
      EXPECT_EQ(stop.fault.signo, SIGTRAP);
      EXPECT_EQ(regs_.rip, ip);
    }
    ASSERT_EQ(Run(StepMode::kSingleStep).kind, Stop::Kind::kSyscall);
    EXPECT_EQ(regs_.rip, kEntry.value + 7);
  }
}

GUEST_CODE(OwnGs,
           "1: wrgsbase %rbx\n mov $1, %eax\n syscall\n"
           "rdgsbase %rdi\n mov $2, %eax\n syscall\n"
           "xor %esi, %esi\n mov %esi, %gs\n mov $3, %eax\n syscall\n jmp 1b");
TEST_P(CallSiteTest, TheApplicationMayUseGs) {
  LoadText(kOwnGs);
  for (int i = 0; i < kOften; i++) {
    regs_.rbx = i % 2 != 0 ? kData.value : 0x1234'5678'0000 + static_cast<uint64_t>(i);
    for (uint64_t number : {1, 2, 3}) ASSERT_EQ(RunToSyscall(), number);
    EXPECT_EQ(regs_.rdi, regs_.rbx);
    regs_.gs_base = i % 3 != 0 ? kData.value + 8 : 0;
  }
}

GUEST_CODE(BadStack, "1: nop\n mov 8(%rsp), %r9\n syscall\n jmp 1b");
TEST_P(CallSiteTest, FaultsOfTheInstructionInFront) {
  LoadText(kBadStack);
  regs_.rsp = kStack.value - 64;
  regs_.rax = 5;
  for (int i = 0; i < kOften; i++) RunToSyscall();
  regs_.rsp = 0x5000;
  Stop stop = Run();
  ASSERT_EQ(stop.kind, Stop::Kind::kFault);
  EXPECT_EQ(stop.fault.signo, SIGSEGV);
  EXPECT_EQ(stop.fault.addr, UserAddr(0x5008));
  EXPECT_EQ(regs_.rip, kEntry.value + 1);
  regs_.rsp = kStack.value - 64;
  RunToSyscall();
}

TEST_P(CallSiteTest, WhatThePlatformReservedIsSpared) {
  LoadText(kLoop);
  for (int i = 0; i < kOften; i++) ASSERT_EQ(RunToSyscall(), 0x6eu);
  for (uint64_t page : keeper_.taken()) {
    const AddrRange around{UserAddr(page - kPageSize), UserAddr(page + 2 * kPageSize)};
    EXPECT_FALSE(as().Map(*context_, around, PROT_READ, {}).ok());
    EXPECT_TRUE(as().Unmap(*context_, around).ok());
  }
  for (int i = 0; i < kOften; i++) ASSERT_EQ(RunToSyscall(), 0x6eu);
}

// A debugger's breakpoint in place of a site that was changed.
TEST_P(CallSiteTest, BreakpointsAreTheApplications) {
  LoadText(kLoop);
  for (int i = 0; i < kOften; i++) ASSERT_EQ(RunToSyscall(), 0x6eu);
  ASSERT_TRUE(as().Protect(*context_, Pages(kText, 1), PROT_READ | PROT_WRITE | PROT_EXEC).ok());
  const std::byte int3{0xcc};
  ASSERT_EQ(as().CopyOut(kEntry, {&int3, 1}), 1u);
  Stop stop = Run();
  ASSERT_EQ(stop.kind, Stop::Kind::kFault);
  EXPECT_EQ(stop.fault.signo, SIGTRAP);
  EXPECT_EQ(regs_.rip, kEntry.value + 1);
}

}  // namespace
}  // namespace sandboxd::platform
