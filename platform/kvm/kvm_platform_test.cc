// What is this platform's own: how often the virtual processor leaves the machine, and what ends in
// it. What all platforms have in common is in platform_conformance_test.
#include "platform/kvm/kvm_platform.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstring>
#include <thread>

#include "platform/arch/xstate.h"
#include "platform/base/unique_fd.h"
#include "platform/kvm/kvm_context.h"
#include "platform/testing/guest_code.h"

namespace sandboxd::platform::kvm {
namespace {

constexpr UserAddr kCode{0x400000}, kData{0x10'0000'0000};
constexpr int kRw = PROT_READ | PROT_WRITE;

class KvmPlatformTest : public testing::Test {
 protected:
  static Platform& platform() {
    static const std::unique_ptr<Platform> made = MUST(KvmPlatform::Create());
    return *made;
  }
  static AddrRange Pages(UserAddr start, uint64_t count) {
    return {start, start + count * kPageSize};
  }

  void SetUp() override {
    const Availability can = KvmPlatform::Probe();
    if (!can.available) GTEST_SKIP() << can.reason;
    space_ = MUST(platform().NewAddressSpace());
    context_ = MUST(space_->NewContext());
  }
  void LoadCode(ConstBytes code) {
    ASSERT_TRUE(space_->Map(*context_, Pages(kCode, 1), kRw, {}).ok());
    ASSERT_EQ(space_->CopyOut(kCode, code), code.size());
    ASSERT_TRUE(space_->Protect(*context_, Pages(kCode, 1), PROT_READ | PROT_EXEC).ok());
    regs_ = arch::InitialRegisters(kCode.value, 0);
  }
  Stop Run() { return context_->Switch(regs_, StepMode::kRun); }
  uint64_t exits() { return static_cast<KvmContext&>(*context_).exits(); }

  Ref<AddressSpace> space_;
  std::unique_ptr<Context> context_;
  arch::Registers regs_;
};

GUEST_CODE(Calls, "1: syscall\n jmp 1b");
TEST_F(KvmPlatformTest, ACallIsOneExit) {
  LoadCode(kCalls);
  ASSERT_EQ(Run().kind, Stop::Kind::kSyscall);
  const uint64_t before = exits();
  for (int i = 0; i < 100; i++) ASSERT_EQ(Run().kind, Stop::Kind::kSyscall);
  EXPECT_EQ(exits() - before, 100u);
}

// A page of each 4 KiB, up to rbx pages, and then a call.
GUEST_CODE(Touch, "1: incl (%rdi)\n add $4096, %rdi\n dec %rbx\n jnz 1b\n syscall");
TEST_F(KvmPlatformTest, TouchingASmallMappingIsNoExit) {
  LoadCode(kTouch);
  constexpr uint64_t kPages = 512;
  ASSERT_TRUE(space_->Map(*context_, Pages(kData, kPages), kRw, {}).ok());
  regs_.rdi = kData.value;
  regs_.rbx = kPages;
  const uint64_t before = exits();
  ASSERT_EQ(Run().kind, Stop::Kind::kSyscall);
  EXPECT_EQ(exits() - before, 1u);
}

TEST_F(KvmPlatformTest, TouchingALargeMappingIsAnExitForEach2MiB) {
  LoadCode(kTouch);
  constexpr uint64_t kPages = 512 * 40;  // 80 MiB: more than one window
  ASSERT_TRUE(space_->Map(*context_, Pages(kData, kPages), kRw, {}).ok());
  regs_.rdi = kData.value;
  regs_.rbx = kPages;
  const uint64_t before = exits();
  ASSERT_EQ(Run().kind, Stop::Kind::kSyscall);
  EXPECT_EQ(exits() - before, 41u);
  uint32_t word = 0;
  ASSERT_EQ(space_->CopyIn(kData + (kPages - 1) * kPageSize, AsWritableBytes(word)), sizeof(word));
  EXPECT_EQ(word, 1u);
}

TEST_F(KvmPlatformTest, AForkRunsOnWithoutFaults) {
  LoadCode(kTouch);
  ASSERT_TRUE(space_->Map(*context_, Pages(kData, 8), kRw, {}).ok());
  regs_.rdi = kData.value;
  regs_.rbx = 8;
  const arch::Registers start = regs_;
  ASSERT_EQ(Run().kind, Stop::Kind::kSyscall);
  auto child = MUST(space_->Fork(*context_));
  auto context = MUST(child->NewContext());
  arch::Registers regs = start;
  ASSERT_EQ(context->Switch(regs, StepMode::kRun).kind, Stop::Kind::kSyscall);
  EXPECT_EQ(static_cast<KvmContext&>(*context).exits(), 1u);
}

// A process that has used memory all over the place, and one that does.
TEST_F(KvmPlatformTest, AForkOfAScatteredSpaceRunsOn) {
  LoadCode(kTouch);
  constexpr uint64_t kSpaces = 40, kApart = uint64_t{1} << 30;
  auto at = [](uint64_t i) { return kData + i * kApart; };
  for (uint64_t i = 0; i < kSpaces; i++) {
    ASSERT_TRUE(space_->Map(*context_, Pages(at(i), 2), kRw, {}).ok());
  }
  for (uint64_t left : {kSpaces, uint64_t{3}}) {
    for (uint64_t i = left; i < kSpaces; i++) {
      ASSERT_TRUE(space_->Unmap(*context_, Pages(at(i), 2)).ok());
    }
    auto child = MUST(space_->Fork(*context_));
    auto context = MUST(child->NewContext());
    for (uint64_t i = 0; i < kSpaces; i++) {
      arch::Registers regs = regs_;
      regs.rdi = at(i).value;
      regs.rbx = 2;
      const Stop stop = context->Switch(regs, StepMode::kRun);
      ASSERT_EQ(stop.kind, i < left ? Stop::Kind::kSyscall : Stop::Kind::kFault) << i;
      if (i >= left) {
        ASSERT_TRUE(child->Map(*context, Pages(at(i), 2), kRw, {}).ok());
        ASSERT_EQ(context->Switch(regs, StepMode::kRun).kind, Stop::Kind::kSyscall);
      }
    }
  }
}

// What one thread maps, protects and unmaps beside it, another that computes doesn't notice; and a
// page that comes and goes is there or not, and nothing else.
GUEST_CODE(Watch, "1: incl (%rbx)\n mov (%rdi), %eax\n test %eax, %eax\n jz 1b\n syscall");
TEST_F(KvmPlatformTest, ChangesBesideARunningThreadAreExact) {
  LoadCode(kWatch);
  constexpr int kRounds = 300;
  const UserAddr counter = kData, watched = kData + kPageSize, other = kData + 2 * kPageSize;
  ASSERT_TRUE(space_->Map(*context_, Pages(counter, 1), kRw, {}).ok());
  ASSERT_TRUE(space_->Map(*context_, Pages(watched, 1), kRw, {}).ok());
  ASSERT_TRUE(space_->PrepareThread(*context_).ok());
  std::atomic<Context*> running{nullptr};
  std::thread watcher([&] {
    auto context = MUST(space_->NewContext());
    running = context.get();
    arch::Registers regs = regs_;
    regs.rbx = counter.value;
    regs.rdi = watched.value;
    for (;;) {
      const Stop stop = context->Switch(regs, StepMode::kRun);
      if (stop.kind == Stop::Kind::kInterrupt) return;
      ASSERT_EQ(stop.kind, Stop::Kind::kFault) << "read " << regs.rax;
      ASSERT_EQ(stop.fault.addr, watched);
      ASSERT_EQ(stop.fault.code, SEGV_MAPERR);
    }
  });
  while (running == nullptr) std::this_thread::yield();
  const uint32_t mark = 1;
  for (int i = 0; i < kRounds; i++) {
    ASSERT_TRUE(space_->Map(*context_, Pages(other, 4), kRw, {}).ok());
    ASSERT_EQ(space_->CopyOut(other, AsBytes(mark)), sizeof(mark));
    ASSERT_TRUE(space_->Protect(*context_, Pages(other, 2), PROT_READ).ok());
    ASSERT_TRUE(space_->Unmap(*context_, Pages(other, 4)).ok());
    ASSERT_TRUE(space_->Unmap(*context_, Pages(watched, 1)).ok());
    ASSERT_TRUE(space_->Map(*context_, Pages(watched, 1), kRw, {}).ok());
    ASSERT_TRUE(space_->Protect(*context_, Pages(watched, 1), PROT_READ).ok());
  }
  // It has moved on all the time.
  uint32_t before = 0, after = 0;
  ASSERT_EQ(space_->CopyIn(counter, AsWritableBytes(before)), sizeof(before));
  do {
    ASSERT_EQ(space_->CopyIn(counter, AsWritableBytes(after)), sizeof(after));
  } while (after == before);
  running.load()->Interrupt();
  watcher.join();
}

// The host can't provide the last page: after it has said so, the processor says which.
GUEST_CODE(CopyString, "rep movsb\n syscall");
TEST_F(KvmPlatformTest, TheFirstMissingPageOfALongInstructionIsFound) {
  LoadCode(kCopyString);
  const UniqueFd file = MUST(WrapFd(memfd_create("short", MFD_CLOEXEC)));
  ASSERT_EQ(ftruncate(file.get(), 50 * kPageSize), 0);
  ASSERT_TRUE(space_->Map(*context_, Pages(kData, 60), kRw, {.host_fd = file.get()}).ok());
  const UserAddr to = kData + 100 * kPageSize;
  ASSERT_TRUE(space_->Map(*context_, Pages(to, 60), kRw, {}).ok());
  regs_.rsi = kData.value;
  regs_.rdi = to.value;
  regs_.rcx = 60 * kPageSize;
  const Stop stop = Run();
  ASSERT_EQ(stop.kind, Stop::Kind::kFault);
  EXPECT_EQ(stop.fault.signo, SIGBUS);
  EXPECT_EQ(stop.fault.code, BUS_ADRERR);
  EXPECT_EQ(stop.fault.addr, kData + 50 * kPageSize);
  EXPECT_EQ(regs_.rcx, 10 * kPageSize);
  // And everything goes on once there is a page.
  ASSERT_EQ(ftruncate(file.get(), 60 * kPageSize), 0);
  EXPECT_EQ(Run().kind, Stop::Kind::kSyscall);
}

// Our own region isn't there for the application, nor is the system's part of the guest.
GUEST_CODE(Read, "mov (%rdi), %rax\n syscall");
TEST_F(KvmPlatformTest, NothingOfOursIsInReach) {
  LoadCode(kRead);
  for (uint64_t at : {kApplicationEnd.value, kApplicationEnd.value + 0x4000,
                      uint64_t{0x7fff'1000'0000}, stub::kSystemBase + stub::kGdtOffset,
                      stub::kSystemBase + stub::ThreadPage(0), stub::kSystemBase}) {
    regs_.rip = kCode.value;
    regs_.rdi = at;
    const Stop stop = Run();
    ASSERT_EQ(stop.kind, Stop::Kind::kFault) << std::hex << at;
    EXPECT_EQ(stop.fault.signo, SIGSEGV);
    EXPECT_EQ(stop.fault.code, SEGV_MAPERR);
    EXPECT_EQ(stop.fault.addr.value, at);
  }
}

GUEST_CODE(InvalidX87, "fldz\n fldz\n fdivp\n fwait\n syscall");
GUEST_CODE(DivideSse, "xorps %xmm0, %xmm0\n divss %xmm0, %xmm1\n syscall");
TEST_F(KvmPlatformTest, UnmaskedFloatingPointExceptionsSayWhich) {
  LoadCode(kDivideSse);
  ASSERT_TRUE(context_->ResetFpState().ok());
  auto state = MUST(context_->GetFpState());
  const uint32_t unmasked = 0;
  std::memcpy(state.data() + arch::kXstateMxcsrOffset, &unmasked, sizeof(unmasked));
  const uint16_t control = 0x340;
  std::memcpy(state.data() + arch::kXstateFcwOffset, &control, sizeof(control));
  ASSERT_TRUE(context_->SetFpState(state).ok());
  Stop stop = Run();
  ASSERT_EQ(stop.kind, Stop::Kind::kFault);
  EXPECT_EQ(stop.fault.signo, SIGFPE);
  EXPECT_EQ(stop.fault.code, FPE_FLTINV);  // 0/0
  EXPECT_EQ(stop.fault.trapno, 19u);

  LoadCode(kInvalidX87);
  ASSERT_TRUE(context_->SetFpState(state).ok());
  stop = Run();
  ASSERT_EQ(stop.kind, Stop::Kind::kFault);
  EXPECT_EQ(stop.fault.signo, SIGFPE);
  EXPECT_EQ(stop.fault.code, FPE_FLTINV);
  EXPECT_EQ(stop.fault.trapno, 16u);
}

GUEST_CODE(FarCall, "pushq $0x23\n lea 1f(%rip), %rax\n push %rax\n lretq\n 1: nop\n syscall");
TEST_F(KvmPlatformTest, SegmentsOf32BitsEndInASignal) {
  LoadCode(kFarCall);
  ASSERT_TRUE(space_->Map(*context_, Pages(kData, 1), kRw, {}).ok());
  regs_.rsp = kData.value + kPageSize;
  const Stop stop = Run();
  // Where the processor runs ring 3 by itself, the host's own table may have such a segment; a
  // call from it is refused in any case.
  ASSERT_EQ(stop.kind, Stop::Kind::kFault);
  EXPECT_TRUE(stop.fault.signo == SIGSEGV || stop.fault.signo == SIGILL) << stop.fault.signo;
}

}  // namespace
}  // namespace sandboxd::platform::kvm
