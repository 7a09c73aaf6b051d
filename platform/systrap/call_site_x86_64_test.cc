#include "platform/systrap/call_site_x86_64.h"

#include <gtest/gtest.h>

#include <cstring>
#include <initializer_list>

namespace sandboxd::platform::systrap {
namespace {

constexpr UserAddr kSyscall{0x7f00'0000'1000};

// Nops, `front`, syscall and what follows: cmp $-4095,%rax unless told.
std::optional<CallSite> Find(std::initializer_list<int> front, uint64_t number,
                             std::initializer_list<int> back = {0x48, 0x3d}) {
  std::vector<std::byte> code(kBytesBefore + kBytesFrom, std::byte{0x90});
  size_t at = kBytesBefore - front.size();
  for (int b : front) code[at++] = static_cast<std::byte>(b);
  for (int b : {0x0f, 0x05}) code[at++] = static_cast<std::byte>(b);
  for (int b : back) code[at++] = static_cast<std::byte>(b);
  return FindCallSite(kSyscall, code, number);
}

TEST(CallSiteTest, MovToEax) {
  auto site = Find({0xb8, 0x27, 0, 0, 0}, 0x27);
  ASSERT_TRUE(site.has_value());
  EXPECT_EQ(site->size, 5);
  EXPECT_EQ(site->start(), kSyscall - 5);
  EXPECT_EQ(site->end(), kSyscall + 2);
  // Anywhere in reach.
  EXPECT_TRUE(site->window.Contains(kSyscall + (uint64_t{1} << 30)));
  EXPECT_TRUE(site->window.Contains(kSyscall - (uint64_t{1} << 30)));
  EXPECT_FALSE(site->window.Contains(kSyscall + (uint64_t{2} << 30)));
}

TEST(CallSiteTest, ShortInstructionsFixTheWindow) {
  struct Case {
    std::initializer_list<int> front;
    uint64_t low, size;
  };
  const Case cases[] = {
      {{0x31, 0xc0}, 0x4805'0f00, 0x100},                   // xor %eax,%eax
      {{0x44, 0x89, 0xc8}, 0x050f'0000, 0x1'0000},          // mov %r9d,%eax
      {{0x8b, 0x7c, 0x24, 0x08}, 0x0f00'0000, 0x100'0000},  // mov 8(%rsp),%edi
  };
  for (const Case& c : cases) {
    auto site = Find(c.front, 0);
    ASSERT_TRUE(site.has_value()) << c.low;
    EXPECT_EQ(site->size, c.front.size());
    EXPECT_EQ(site->window.start, site->start() + kJumpSize + c.low);
    EXPECT_EQ(site->window.length(), c.size);
  }
}

// The jump ends in the bytes of `syscall` and of what follows.
TEST(CallSiteTest, JumpsLeaveSyscallInPlace) {
  auto site = Find({0x31, 0xc0}, 0);
  ASSERT_TRUE(site.has_value());
  const UserAddr trampoline = site->window.start + 0x40;
  const auto jump = MakeJump(*site, trampoline);
  ASSERT_EQ(jump.size(), 2u);
  EXPECT_EQ(jump[0], std::byte{0xe9});
  const std::byte all[5] = {jump[0], jump[1], std::byte{0x0f}, std::byte{0x05}, std::byte{0x48}};
  int32_t displacement;
  std::memcpy(&displacement, all + 1, sizeof(displacement));
  EXPECT_EQ(site->start() + kJumpSize + static_cast<uint64_t>(int64_t{displacement}), trampoline);
}

TEST(CallSiteTest, WhatIsLoadedMustBeTheNumber) {
  EXPECT_FALSE(Find({0xb8, 0x27, 0, 0, 0}, 0x28).has_value());
  EXPECT_FALSE(Find({0x31, 0xc0}, 1).has_value());
}

// xor %r8d,%r8d and mov $0x27,%r8d end like instructions that load eax.
TEST(CallSiteTest, LongerInstructionsAreNotTakenForTheirEnds) {
  auto clear = Find({0x45, 0x31, 0xc0}, 0);
  ASSERT_TRUE(clear.has_value());
  EXPECT_EQ(clear->size, 3);
  auto move = Find({0x41, 0xb8, 0x27, 0, 0, 0}, 0x27);
  EXPECT_TRUE(!move.has_value() || move->size == 6);
  // movq $0x27,-0x48(%rsp)
  auto store = Find({0x48, 0xc7, 0x44, 0x24, 0xb8, 0x27, 0, 0, 0}, 0x27);
  EXPECT_TRUE(!store.has_value() || store->size == 9);
}

TEST(CallSiteTest, ZerosOfAnImmediateAreNoDoubt) {
  // jne; mov $0x66,%eax: two bytes of zero are an instruction too.
  EXPECT_TRUE(Find({0x75, 0x66, 0xb8, 0x66, 0, 0, 0}, 0x66).has_value());
}

TEST(CallSiteTest, WhatCannotBeMovedStays) {
  EXPECT_FALSE(Find({0x48, 0x8d, 0x35, 1, 2, 3, 4}, 1).has_value());  // lea x(%rip),%rsi
  EXPECT_FALSE(Find({0xeb, 0x02}, 1).has_value());                    // jmp
  EXPECT_FALSE(Find({0xe8, 1, 2, 3, 4}, 1).has_value());              // call
  EXPECT_FALSE(Find({0x0f, 0x05}, 1).has_value());                    // syscall
  EXPECT_FALSE(Find({0x90}, 1).has_value());                          // too short
  EXPECT_FALSE(Find({0xf4}, 1).has_value());
}

TEST(CallSiteTest, WindowsMayLieBelow) {
  auto back = Find({0x31, 0xc0}, 0, {0x90, 0x90});
  ASSERT_TRUE(back.has_value());
  EXPECT_LT(back->window.end, kSyscall);
}

TEST(CallSiteTest, NoSyscallNoSite) {
  std::vector<std::byte> code(kBytesBefore + kBytesFrom, std::byte{0x90});
  EXPECT_FALSE(FindCallSite(kSyscall, code, 0).has_value());
  EXPECT_FALSE(FindCallSite(kSyscall, ConstBytes(code).first(10), 0).has_value());
}

TEST(CallSiteTest, TrampolinesBeginWithTheDisplacedInstruction) {
  auto site = Find({0x4c, 0x8b, 0x4c, 0x24, 0x08}, 5);
  ASSERT_TRUE(site.has_value());
  const UserAddr at = kSyscall + 0x1000'0000;
  const auto code = MakeTrampoline(*site, at, at - 64);
  EXPECT_TRUE(std::equal(code.begin(), code.begin() + 5, site->displaced.begin()));
  // Its end: jmp *entry(%rip), then nothing that can be run.
  EXPECT_EQ(code.back(), std::byte{0xcc});
}

}  // namespace
}  // namespace sandboxd::platform::systrap
