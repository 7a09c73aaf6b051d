#include "kernel/mm/vma_set.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <random>

namespace sandboxd::mm {
namespace {

constexpr uint64_t kBase = 0x100000;
AddrRange Pages(uint64_t first, uint64_t end) {
  return {UserAddr(kBase + first * kPageSize), UserAddr(kBase + end * kPageSize)};
}
UserAddr Page(uint64_t n) { return UserAddr(kBase + n * kPageSize); }
Vma Anon(AddrRange range, int prot = PROT_READ | PROT_WRITE) {
  Vma vma;
  vma.range = range;
  vma.prot = prot;
  vma.max_prot = 7;
  return vma;
}

TEST(VmaSetTest, EqualNeighboursMerge) {
  VmaSet set;
  set.Insert(Anon(Pages(0, 1)));
  set.Insert(Anon(Pages(2, 3)));
  EXPECT_EQ(set.size(), 2u);
  set.Insert(Anon(Pages(1, 2)));
  ASSERT_EQ(set.size(), 1u);
  EXPECT_EQ(set.Find(Page(1))->range, Pages(0, 3));
}

TEST(VmaSetTest, DifferentProtectionsStayApart) {
  VmaSet set;
  set.Insert(Anon(Pages(0, 1)));
  set.Insert(Anon(Pages(1, 2), PROT_READ));
  EXPECT_EQ(set.size(), 2u);
}

TEST(VmaSetTest, ObjectsMergeOnlyWhereOffsetsContinue) {
  VmaSet set;
  Vma low = Anon(Pages(0, 1));
  low.sharing = platform::Sharing::kShared;
  low.shared_anon_id = 7;
  Vma next = low;
  next.range = Pages(1, 2);
  next.offset = 5 * kPageSize;
  Vma last = low;
  last.range = Pages(2, 3);
  last.offset = 6 * kPageSize;
  set.Insert(low);
  set.Insert(next);
  set.Insert(last);
  EXPECT_EQ(set.size(), 2u);
  EXPECT_EQ(set.Find(Page(2))->OffsetOf(Page(2)), 6 * kPageSize);
}

TEST(VmaSetTest, RemoveSplits) {
  VmaSet set;
  set.Insert(Anon(Pages(0, 5)));
  EXPECT_EQ(set.SplitsOfRemove(Pages(1, 2)), 1u);
  EXPECT_EQ(set.SplitsOfRemove(Pages(0, 2)), 0u);
  auto removed = set.Remove(Pages(1, 2));
  ASSERT_EQ(removed.size(), 1u);
  EXPECT_EQ(removed[0].range, Pages(1, 2));
  EXPECT_EQ(set.size(), 2u);
  EXPECT_EQ(set.Find(Page(1)), nullptr);
  EXPECT_EQ(set.FindFrom(Page(1))->range, Pages(2, 5));
  EXPECT_FALSE(set.Covers(Pages(0, 5)));
  EXPECT_EQ(set.CoveredUntil(Pages(0, 5)), Page(1));
  EXPECT_EQ(set.MappedBytes(Pages(0, 5)), 4 * kPageSize);
}

TEST(VmaSetTest, UpdateInTheMiddleAndBackMergesAgain) {
  VmaSet set;
  set.Insert(Anon(Pages(0, 5)));
  set.Update(Pages(1, 2), [](Vma& v) { v.prot = PROT_READ; });
  EXPECT_EQ(set.size(), 3u);
  set.Update(Pages(0, 5), [](Vma& v) { v.prot = PROT_READ | PROT_WRITE; });
  EXPECT_EQ(set.size(), 1u);
}

TEST(VmaSetTest, PlacementIsTopDownWithARoomBelowTheStack) {
  VmaSet set;
  Vma stack = Anon({UserAddr(0x80000000), UserAddr(0x80100000)});
  stack.grows_down = true;
  set.Insert(stack);
  auto place = set.FindTopDown(kPageSize, UserAddr(0x10000), UserAddr(0x80100000));
  ASSERT_TRUE(place);
  EXPECT_EQ(*place, UserAddr(0x80000000 - kStackGuardGap - kPageSize));
  set.Insert(Anon({*place, *place + kPageSize}));
  EXPECT_EQ(*set.FindTopDown(kPageSize, UserAddr(0x10000), UserAddr(0x80100000)),
            *place - kPageSize);
  EXPECT_FALSE(set.FindTopDown(0x80000000, UserAddr(0x10000), UserAddr(0x80100000)));
}

TEST(VmaSetTest, PlacementUsesAHoleOfTheRightSize) {
  VmaSet set;
  set.Insert(Anon(Pages(10, 20)));
  set.Insert(Anon(Pages(22, 30)));
  EXPECT_EQ(*set.FindTopDown(2 * kPageSize, Page(0), Page(30)), Page(20));
  EXPECT_EQ(*set.FindTopDown(3 * kPageSize, Page(0), Page(30)), Page(7));
  EXPECT_EQ(*set.FindBottomUp(2 * kPageSize, Page(10), Page(100)), Page(20));
  EXPECT_EQ(*set.FindBottomUp(3 * kPageSize, Page(10), Page(100)), Page(30));
  EXPECT_FALSE(set.FindBottomUp(3 * kPageSize, Page(10), Page(31)));
}

// The search remembers where it was; what it finds must be what a search from the top would find.
TEST(VmaSetTest, PlacementIsTheHighestWhateverCameBefore) {
  std::mt19937 random(3);
  for (int round = 0; round < 50; round++) {
    VmaSet set;
    for (int step = 0; step < 200; step++) {
      uint64_t first = random() % 100, end = first + 1 + random() % 8;
      if (random() % 3 == 0) {
        set.Remove(Pages(first, end));
        continue;
      }
      if (random() % 5 == 0) {
        set.Update(Pages(first, end), [&](Vma& v) { v.prot ^= PROT_WRITE; });
        continue;
      }
      uint64_t length = (1 + random() % 6) * kPageSize;
      auto found = set.FindTopDown(length, Page(0), Page(100));
      std::optional<UserAddr> best;
      for (UserAddr at = Page(100) - length;; at = at - kPageSize) {
        if (!set.Overlaps({at, at + length})) best = at;
        if (best || at == Page(0)) break;
      }
      ASSERT_EQ(found, best) << round << " " << step;
      if (found && random() % 4 != 0) {
        set.Insert(Anon({*found, *found + length}, random() % 2 == 0 ? PROT_READ : PROT_NONE));
      }
    }
  }
}

TEST(VmaSetTest, TotalsFollowTheMap) {
  VmaSet set;
  set.Insert(Anon(Pages(0, 4)));
  set.Insert(Anon(Pages(4, 6), PROT_READ | PROT_EXEC));
  EXPECT_EQ(set.totals().total, 6 * kPageSize);
  EXPECT_EQ(set.totals().data, 4 * kPageSize);
  EXPECT_EQ(set.totals().exec, 2 * kPageSize);
  set.Update(Pages(0, 1), [](Vma& v) { v.prot = PROT_READ; });
  EXPECT_EQ(set.totals().data, 3 * kPageSize);
  set.Update(Pages(1, 2), [](Vma& v) { v.locked = true; });
  EXPECT_EQ(set.totals().locked, kPageSize);
  set.Remove(Pages(0, 6));
  EXPECT_EQ(set.totals().total, 0u);
  EXPECT_EQ(set.totals().locked, 0u);
}

}  // namespace
}  // namespace sandboxd::mm
