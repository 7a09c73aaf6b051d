#include "platform/kvm/range_map.h"

#include <gtest/gtest.h>

#include <string>

namespace sandboxd::platform::kvm {
namespace {

AddrRange R(uint64_t start, uint64_t end) { return {UserAddr(start), UserAddr(end)}; }

std::string Text(const RangeMap& map, AddrRange within = R(0, ~uint64_t{0})) {
  std::string text;
  map.ForEach(within, [&](const RangeMap::Area& a) {
    text += std::to_string(a.range.start.value) + "-" + std::to_string(a.range.end.value) + ":" +
            std::to_string(a.prot) + " ";
  });
  return text;
}

TEST(RangeMapTest, SetReplacesWhatIsThere) {
  RangeMap map;
  map.Set(R(10, 20), 1);
  map.Set(R(14, 16), 2);
  EXPECT_EQ(Text(map), "10-14:1 14-16:2 16-20:1 ");
  map.Set(R(5, 15), 3);
  EXPECT_EQ(Text(map), "5-15:3 15-16:2 16-20:1 ");
  map.Set(R(0, 30), 4);
  EXPECT_EQ(Text(map), "0-30:4 ");
}

TEST(RangeMapTest, LikeNeighboursBecomeOne) {
  RangeMap map;
  map.Set(R(10, 20), 1);
  map.Set(R(30, 40), 1);
  map.Set(R(20, 30), 1);
  EXPECT_EQ(Text(map), "10-40:1 ");
  map.Protect(R(15, 20), 2);
  map.Protect(R(15, 20), 1);
  EXPECT_EQ(Text(map), "10-40:1 ");
}

TEST(RangeMapTest, EraseCutsHoles) {
  RangeMap map;
  map.Set(R(10, 40), 1);
  map.Erase(R(20, 30));
  EXPECT_EQ(Text(map), "10-20:1 30-40:1 ");
  map.Erase(R(0, 15));
  map.Erase(R(35, 100));
  map.Erase(R(25, 25));
  EXPECT_EQ(Text(map), "15-20:1 30-35:1 ");
}

TEST(RangeMapTest, ProtectChangesOnlyWhatIsMapped) {
  RangeMap map;
  map.Set(R(10, 20), 1);
  map.Set(R(30, 40), 1);
  map.Protect(R(15, 35), 5);
  EXPECT_EQ(Text(map), "10-15:1 15-20:5 30-35:5 35-40:1 ");
}

TEST(RangeMapTest, FindAndPartsKnowTheEdges) {
  RangeMap map;
  map.Set(R(10, 20), 1);
  EXPECT_FALSE(map.Find(UserAddr(9)).has_value());
  EXPECT_FALSE(map.Find(UserAddr(20)).has_value());
  ASSERT_TRUE(map.Find(UserAddr(19)).has_value());
  EXPECT_EQ(map.Find(UserAddr(10))->range, R(10, 20));
  EXPECT_EQ(Text(map, R(12, 15)), "12-15:1 ");
  EXPECT_EQ(Text(map, R(0, 10)), "");
  EXPECT_EQ(Text(map, R(20, 30)), "");
}

}  // namespace
}  // namespace sandboxd::platform::kvm
