#include "platform/base/types.h"

#include <gtest/gtest.h>

namespace sandboxd {
namespace {

AddrRange Range(uint64_t start, uint64_t end) { return {UserAddr(start), UserAddr(end)}; }

TEST(AddrRangeTest, EndIsOutside) {
  AddrRange r = Range(0x1000, 0x3000);
  EXPECT_EQ(r.length(), 0x2000u);
  EXPECT_TRUE(r.Contains(UserAddr(0x1000)));
  EXPECT_TRUE(r.Contains(UserAddr(0x2fff)));
  EXPECT_FALSE(r.Contains(UserAddr(0x3000)));
}

TEST(AddrRangeTest, NeighboursDoNotOverlap) {
  EXPECT_FALSE(Range(0, 0x1000).Overlaps(Range(0x1000, 0x2000)));
  EXPECT_TRUE(Range(0, 0x1001).Overlaps(Range(0x1000, 0x2000)));
  EXPECT_TRUE(Range(0, 0x1000).Intersect(Range(0x1000, 0x2000)).empty());
  EXPECT_EQ(Range(0, 0x2000).Intersect(Range(0x1000, 0x3000)), Range(0x1000, 0x2000));
}

TEST(StrongIntTest, ComparesByValueAndKindsDoNotMix) {
  EXPECT_LT(FdNum(3), FdNum(4));
  EXPECT_EQ(Tid(7), Tid(7));
  static_assert(!std::is_convertible_v<FdNum, Tid>);
  static_assert(!std::is_convertible_v<int, FdNum>);
}

TEST(AsBytesTest, SeesTheObjectItself) {
  uint32_t n = 0;
  AsWritableBytes(n)[0] = std::byte{7};
  EXPECT_EQ(n, 7u);
  EXPECT_EQ(AsBytes(n).size(), 4u);
}

}  // namespace
}  // namespace sandboxd
