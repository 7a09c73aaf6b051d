#include "platform/base/checked_math.h"

#include <gtest/gtest.h>

#include <limits>

namespace sandboxd {
namespace {

constexpr uint64_t kMax = std::numeric_limits<uint64_t>::max();
constexpr int64_t kMin = std::numeric_limits<int64_t>::min();

TEST(CheckedMathTest, GivesTheNumberWhenItFits) {
  EXPECT_EQ(CheckedAdd<uint64_t>(kMax - 1, 1), kMax);
  EXPECT_EQ(CheckedSub<uint64_t>(5, 5), 0u);
  EXPECT_EQ(CheckedMul<int32_t>(-3, 7), -21);
}

TEST(CheckedMathTest, GivesNothingWhenItWouldWrap) {
  EXPECT_EQ(CheckedAdd<uint64_t>(kMax, 1), std::nullopt);
  EXPECT_EQ(CheckedSub<uint64_t>(4, 5), std::nullopt);
  EXPECT_EQ(CheckedSub<int64_t>(kMin, 1), std::nullopt);
  EXPECT_EQ(CheckedMul<uint64_t>(uint64_t{1} << 33, uint64_t{1} << 31), std::nullopt);
  EXPECT_EQ(CheckedMul<int64_t>(kMin, -1), std::nullopt);
}

TEST(CheckedMathTest, RoundsToPages) {
  EXPECT_TRUE(IsPageAligned(0));
  EXPECT_FALSE(IsPageAligned(4095));
  EXPECT_EQ(PageRoundDown(8191), 4096u);
  EXPECT_EQ(PageRoundUp(1), 4096u);
  EXPECT_EQ(PageRoundUp(4096), 4096u);
  EXPECT_EQ(PageRoundUp(kMax - 4094), std::nullopt);
  EXPECT_EQ(PageRoundUp(kMax - 4095), kMax - 4095);
}

}  // namespace
}  // namespace sandboxd
