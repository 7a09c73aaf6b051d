#include "platform/testing/fake_platform.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <thread>

namespace sandboxd::platform {
namespace {

constexpr AddrRange kTwoPages{UserAddr(0x100000), UserAddr(0x102000)};

class FakePlatformTest : public testing::Test {
 protected:
  Ref<FakeAddressSpace> as_ = MakeRef<FakeAddressSpace>();
  std::unique_ptr<FakeContext> context_ = as_->NewFakeContext();

  bool Map(AddrRange range, int prot, Backing backing = {}) {
    return as_->Map(*context_, range, prot, backing).ok();
  }
  static uint32_t Word(AddressSpace& as, UserAddr at) {
    uint32_t w = 0;
    EXPECT_EQ(as.CopyIn(at, AsWritableBytes(w)), sizeof(w));
    return w;
  }
  static void Put(AddressSpace& as, UserAddr at, uint32_t w) {
    EXPECT_EQ(as.CopyOut(at, AsBytes(w)), sizeof(w));
  }
};

TEST_F(FakePlatformTest, CopyStopsAtTheEndOfTheMapping) {
  ASSERT_TRUE(Map(kTwoPages, PROT_READ | PROT_WRITE));
  std::vector<std::byte> buffer(100, std::byte{7});
  EXPECT_EQ(as_->CopyOut(kTwoPages.end - 30, buffer), 30u);
  EXPECT_EQ(as_->CopyIn(kTwoPages.end, buffer), 0u);
}

TEST_F(FakePlatformTest, ProtectionsAreRespected) {
  ASSERT_TRUE(Map(kTwoPages, PROT_READ));
  uint32_t w = 1;
  EXPECT_EQ(as_->CopyOut(kTwoPages.start, AsBytes(w)), 0u);
  EXPECT_EQ(Word(*as_, kTwoPages.start), 0u);
  ASSERT_TRUE(as_->Protect(*context_, kTwoPages, PROT_NONE).ok());
  EXPECT_EQ(as_->CopyIn(kTwoPages.start, AsWritableBytes(w)), 0u);
}

TEST_F(FakePlatformTest, ForkCopiesPrivateAndSharesSharedPages) {
  const AddrRange shared{UserAddr(0x200000), UserAddr(0x201000)};
  ASSERT_TRUE(Map(kTwoPages, PROT_READ | PROT_WRITE));
  ASSERT_TRUE(Map(shared, PROT_READ | PROT_WRITE, {.sharing = Sharing::kShared}));
  Put(*as_, kTwoPages.start, 1);
  auto child = MUST(as_->Fork(*context_));
  Put(*as_, kTwoPages.start, 2);
  Put(*as_, shared.start, 3);
  EXPECT_EQ(Word(*child, kTwoPages.start), 1u);
  EXPECT_EQ(Word(*child, shared.start), 3u);
}

TEST_F(FakePlatformTest, FileMappingsReadAndWriteTheFile) {
  UniqueFd file = MUST(WrapFd(memfd_create("t", MFD_CLOEXEC)));
  ASSERT_EQ(ftruncate(file.get(), 100), 0);
  ASSERT_TRUE(
      Map(kTwoPages, PROT_READ | PROT_WRITE, {.host_fd = file.get(), .sharing = Sharing::kShared}));
  Put(*as_, kTwoPages.start, 0x11223344);
  uint32_t w = 0;
  ASSERT_EQ(pread(file.get(), &w, sizeof(w), 0), 4);
  EXPECT_EQ(w, 0x11223344u);
  EXPECT_EQ(as_->CopyIn(kTwoPages.start + kPageSize, AsWritableBytes(w)), 0u) << "beyond its end";
  const AddrRange priv{UserAddr(0x300000), UserAddr(0x301000)};
  ASSERT_TRUE(Map(priv, PROT_READ | PROT_WRITE, {.host_fd = file.get()}));
  Put(*as_, priv.start, 5);
  ASSERT_EQ(pread(file.get(), &w, sizeof(w), 0), 4);
  EXPECT_EQ(w, 0x11223344u);
}

TEST_F(FakePlatformTest, RemapMovesContents) {
  const AddrRange to{UserAddr(0x400000), UserAddr(0x403000)};
  ASSERT_TRUE(Map(kTwoPages, PROT_READ | PROT_WRITE));
  Put(*as_, kTwoPages.start + 8, 9);
  ASSERT_TRUE(as_->Remap(*context_, kTwoPages, to, false).ok());
  EXPECT_EQ(Word(*as_, to.start + 8), 9u);
  EXPECT_EQ(as_->ProtectionOf(kTwoPages.start), -1);
  EXPECT_EQ(as_->mapped_pages(), 3u);
}

TEST_F(FakePlatformTest, CompareExchangeStoresOnlyOnAMatch) {
  ASSERT_TRUE(Map(kTwoPages, PROT_READ | PROT_WRITE));
  EXPECT_EQ(MUST(context_->CompareExchange32(kTwoPages.start, 0, 4)), 0u);
  EXPECT_EQ(MUST(context_->CompareExchange32(kTwoPages.start, 0, 5)), 4u);
  EXPECT_EQ(Word(*as_, kTwoPages.start), 4u);
  EXPECT_TRUE(context_->CompareExchange32(kTwoPages.end, 0, 1).Is(Errno::kEFAULT));
}

TEST_F(FakePlatformTest, SwitchPlaysTheScriptAndHearsInterruptAndKill) {
  arch::Registers regs = arch::InitialRegisters(0x1000, 0x2000);
  context_->AddSyscall(39, {1, 2, 3, 4, 5, 6});
  EXPECT_EQ(context_->Switch(regs, StepMode::kRun).kind, Stop::Kind::kSyscall);
  EXPECT_EQ(regs.syscall_number(), 39u);
  EXPECT_EQ(regs.syscall_arg(3), 4u);
  std::thread other([&] { context_->Interrupt(); });
  EXPECT_EQ(context_->Switch(regs, StepMode::kRun).kind, Stop::Kind::kInterrupt);
  other.join();
  as_->Kill();
  EXPECT_EQ(context_->Switch(regs, StepMode::kRun).kind, Stop::Kind::kDead);
}

TEST_F(FakePlatformTest, FailNextCallFailsOnce) {
  as_->FailNextCall(Errno::kENOMEM);
  EXPECT_TRUE(as_->Map(*context_, kTwoPages, PROT_READ, {}).Is(Errno::kENOMEM));
  EXPECT_EQ(as_->mapped_pages(), 0u);
  EXPECT_TRUE(Map(kTwoPages, PROT_READ));
}

}  // namespace
}  // namespace sandboxd::platform
