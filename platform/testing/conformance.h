// What the parts of platform_conformance_test share: a platform, an address space with one context,
// a page of code and a page of data.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "platform/platform.h"
#include "platform/testing/guest_code.h"

namespace sandboxd::platform {

inline constexpr UserAddr kCode{0x400000};
inline constexpr UserAddr kData{0x500000};
inline constexpr UserAddr kStack{0x600000};  // its end; one page below
inline constexpr AddrRange kDataPage{kData, UserAddr(kData.value + kPageSize)};

constexpr AddrRange Pages(UserAddr start, uint64_t count) {
  return {start, start + count * kPageSize};
}

std::vector<std::string> AvailablePlatforms();
std::string PlatformTestName(const testing::TestParamInfo<std::string>& info);
// One instance a name, made on first use.
Platform& PlatformNamed(const std::string& name);
// Host processes that are children of this one, zombies too; and open descriptors.
int CountChildren();
int CountOpenFds();

class ConformanceTest : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override;

  Platform& platform() { return PlatformNamed(GetParam()); }
  AddressSpace& as() { return *as_; }

  // Puts code at kCode and registers that start it, with a stack.
  void LoadCode(ConstBytes code);
  void Map(AddrRange range, int prot, Backing backing = {});
  Stop Run(StepMode step = StepMode::kRun) { return context_->Switch(regs_, step); }
  // Runs and expects a system call; its number.
  uint64_t RunToSyscall(Context& context, arch::Registers& regs);
  uint64_t RunToSyscall() { return RunToSyscall(*context_, regs_); }

  static uint32_t Peek(AddressSpace& as, UserAddr at);
  static void Poke(AddressSpace& as, UserAddr at, uint32_t value);
  uint32_t Peek(UserAddr at) { return Peek(as(), at); }
  void Poke(UserAddr at, uint32_t value) { Poke(as(), at, value); }

  Ref<AddressSpace> as_;
  std::unique_ptr<Context> context_;
  arch::Registers regs_;
};

#define INSTANTIATE_CONFORMANCE(suite)                                                \
  GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(suite);                               \
  INSTANTIATE_TEST_SUITE_P(Platforms, suite, testing::ValuesIn(AvailablePlatforms()), \
                           PlatformTestName)

}  // namespace sandboxd::platform
