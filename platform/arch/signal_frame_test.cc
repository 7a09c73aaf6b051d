#include "platform/arch/signal_frame.h"

#include <gtest/gtest.h>
#include <ucontext.h>

#include <array>
#include <csignal>
#include <cstring>

#include "platform/arch/xstate.h"

namespace sandboxd::arch {
namespace {

constexpr size_t kStateSize = 832;  // with AVX's component
constexpr size_t kXmm0 = 160;

class SignalFrameTest : public testing::Test {
 protected:
  SignalFrameTest() {
    auto initial = InitialXstate();
    std::copy(initial.begin(), initial.end(), state_.begin());
    state_[kXmm0] = std::byte{0x42};
    uint64_t n = 100;
    for (uint64_t* r : {&regs_.rax, &regs_.rbx, &regs_.rcx, &regs_.rdx, &regs_.rsi, &regs_.rdi,
                        &regs_.rbp, &regs_.r8, &regs_.r9, &regs_.r10, &regs_.r11, &regs_.r12,
                        &regs_.r13, &regs_.r14, &regs_.r15}) {
      *r = n++;
    }
    regs_.fs_base = 0x1234000;
    info_[0] = std::byte{SIGUSR1};
  }
  BuiltSignalFrame Build() {
    return BuildSignalFrame({.regs = regs_,
                             .xstate = state_,
                             .signo = SIGUSR1,
                             .info = info_,
                             .handler = 0x402000,
                             .restorer = 0x403000,
                             .sigmask = 0x5555,
                             .stack = {0x9000, 2, 0, 0x2000},
                             .top = top_,
                             .trapno = 14,
                             .error_code = 4,
                             .fault_addr = 0x666});
  }
  template <typename T>
  static T At(const BuiltSignalFrame& frame, uint64_t address) {
    T value;
    EXPECT_GE(address, frame.address);
    EXPECT_LE(address + sizeof(T), frame.address + frame.bytes.size());
    std::memcpy(&value, frame.bytes.data() + (address - frame.address), sizeof(T));
    return value;
  }
  static std::vector<std::byte> FpArea(const BuiltSignalFrame& frame) {
    const auto uc = At<UContext>(frame, frame.regs.rdx);
    return {frame.bytes.begin() + static_cast<ptrdiff_t>(uc.mcontext.fpstate - frame.address),
            frame.bytes.end()};
  }

  std::vector<std::byte> state_ = std::vector<std::byte>(kStateSize);
  Registers regs_ = InitialRegisters(0x401000, 0x7000'1238);
  std::array<std::byte, 128> info_{};
  uint64_t top_ = regs_.rsp - kRedZone;
};

// The C library's own idea of the frame.
TEST_F(SignalFrameTest, HandlerFindsWhatTheCLibraryExpects) {
  BuiltSignalFrame frame = Build();
  EXPECT_EQ(frame.regs.rip, 0x402000u);
  EXPECT_EQ(frame.regs.rdi, static_cast<uint64_t>(SIGUSR1));
  EXPECT_EQ(frame.regs.rsp, frame.address);
  EXPECT_EQ(frame.regs.rsp % 16, 8u);
  EXPECT_EQ(At<uint64_t>(frame, frame.regs.rsp), 0x403000u);
  EXPECT_EQ(At<siginfo_t>(frame, frame.regs.rsi).si_signo, SIGUSR1);
  EXPECT_EQ(frame.regs.fs_base, regs_.fs_base);

  auto uc = At<ucontext_t>(frame, frame.regs.rdx);
  const greg_t* g = uc.uc_mcontext.gregs;
  EXPECT_EQ(static_cast<uint64_t>(g[REG_RIP]), regs_.rip);
  EXPECT_EQ(static_cast<uint64_t>(g[REG_RSP]), regs_.rsp);
  EXPECT_EQ(static_cast<uint64_t>(g[REG_RAX]), regs_.rax);
  EXPECT_EQ(static_cast<uint64_t>(g[REG_R15]), regs_.r15);
  EXPECT_EQ(g[REG_CR2], 0x666);
  EXPECT_EQ(g[REG_TRAPNO], 14);
  EXPECT_EQ(g[REG_ERR], 4);
  EXPECT_EQ(reinterpret_cast<uint64_t>(uc.uc_stack.ss_sp), 0x9000u);
  EXPECT_EQ(uc.uc_stack.ss_size, 0x2000u);
  uint64_t mask;
  std::memcpy(&mask, &uc.uc_sigmask, sizeof(mask));
  EXPECT_EQ(mask, 0x5555u);
  EXPECT_EQ(reinterpret_cast<uint64_t>(uc.uc_mcontext.fpregs) % 64, 0u);
  EXPECT_EQ(FpArea(frame)[kXmm0], std::byte{0x42});
}

TEST_F(SignalFrameTest, NothingAboveTheTopIsTouched) {
  for (uint64_t slack = 0; slack < 64; slack += 7) {
    top_ = 0x7000'0000 + slack;
    BuiltSignalFrame frame = Build();
    EXPECT_LE(frame.address + frame.bytes.size(), top_);
    EXPECT_GT(frame.address + frame.bytes.size(), top_ - 64);
  }
}

TEST_F(SignalFrameTest, HandlerStartsWithClearedDirectionAndTrapFlags) {
  regs_.eflags |= 0x400 | 0x100 | 0x10000 | 1;
  BuiltSignalFrame frame = Build();
  EXPECT_EQ(frame.regs.eflags & (0x400 | 0x100 | 0x10000), 0u);
  EXPECT_EQ(frame.regs.eflags & 1, 1u);
}

TEST_F(SignalFrameTest, ReturnRestoresEverything) {
  BuiltSignalFrame frame = Build();
  Registers at_return = frame.regs;
  at_return.rsp += 8;
  at_return.fs_base = 77;
  EXPECT_EQ(UContextAddress(at_return), frame.regs.rdx);
  const auto uc = At<UContext>(frame, frame.regs.rdx);
  Registers restored = RestoreRegisters(uc, at_return);
  Registers expected = regs_;
  expected.fs_base = 77;
  EXPECT_EQ(std::memcmp(&restored, &expected, sizeof(expected)), 0);

  const std::vector<std::byte> area = FpArea(frame);
  std::span<const std::byte, 512> legacy(area.data(), 512);
  EXPECT_EQ(XstateSizeInFrame(legacy, 4096), kStateSize);
  const auto state = XstateFromFrame(area);
  EXPECT_EQ(state.size(), kStateSize);
  EXPECT_EQ(state[kXmm0], std::byte{0x42});
}

TEST_F(SignalFrameTest, ForgedSegmentsAndPrivilegedFlagsHaveNoEffect) {
  BuiltSignalFrame frame = Build();
  auto uc = At<UContext>(frame, frame.regs.rdx);
  uc.mcontext.cs = 0x10;
  uc.mcontext.ss = 0x18;
  uc.mcontext.fs = 3;
  uc.mcontext.flags = ~uint64_t{0};
  Registers restored = RestoreRegisters(uc, frame.regs);
  EXPECT_EQ(restored.cs, regs_.cs);
  EXPECT_EQ(restored.ss, regs_.ss);
  EXPECT_EQ(restored.fs, regs_.fs);
  EXPECT_EQ(restored.eflags & 0x3000, 0u) << "IOPL";
  EXPECT_EQ(restored.eflags & 0x24000, 0u) << "NT, VM";
  EXPECT_EQ(restored.eflags & 0x200, 0x200u) << "IF";
  uc.mcontext.flags = 0;
  EXPECT_EQ(RestoreRegisters(uc, frame.regs).eflags, 0x202u);
}

// As Linux: sizes that can't be and missing magic numbers make it a legacy area.
TEST_F(SignalFrameTest, UnannouncedExtendedStateIsIgnored) {
  constexpr uint32_t kBad = 0x7fff'ffff;
  for (size_t offset : {size_t{464}, size_t{480}}) {
    std::vector<std::byte> area = FpArea(Build());
    std::memcpy(area.data() + offset, &kBad, sizeof(kBad));
    EXPECT_EQ(XstateSizeInFrame(std::span<const std::byte, 512>(area.data(), 512), 4096), 512u);
  }
  std::vector<std::byte> area = FpArea(Build());
  std::memcpy(area.data() + kStateSize, &kBad, sizeof(kBad));
  const auto state = XstateFromFrame(area);
  EXPECT_EQ(state.size(), kMinXstateSize);
  EXPECT_EQ(state[kXmm0], std::byte{0x42});
}

}  // namespace
}  // namespace sandboxd::arch
