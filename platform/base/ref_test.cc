#include "platform/base/ref.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace sandboxd {
namespace {

class Counted : public RefCounted {
 public:
  explicit Counted(int* destroyed) : destroyed_(destroyed) {}
  ~Counted() override { ++*destroyed_; }

 private:
  int* const destroyed_;  // outlives every object of a test
};

class Special : public Counted {
 public:
  using Counted::Counted;
};

TEST(RefTest, TheLastReferenceDestroys) {
  int destroyed = 0;
  Ref<Counted> a = MakeRef<Counted>(&destroyed);
  Ref<Counted> b = a;
  EXPECT_EQ(a->ref_count_for_tests(), 2u);
  a.Reset();
  EXPECT_EQ(destroyed, 0);
  b = nullptr;
  EXPECT_EQ(destroyed, 1);
}

TEST(RefTest, MoveAndConversionKeepTheCount) {
  int destroyed = 0;
  Ref<Special> special = MakeRef<Special>(&destroyed);
  Ref<Counted> base = std::move(special);
  EXPECT_FALSE(special);  // NOLINT(bugprone-use-after-move): empty is what a move promises
  EXPECT_EQ(base->ref_count_for_tests(), 1u);
  Ref<Special> back = StaticRefCast<Special>(base);
  EXPECT_EQ(back.get(), base.get());
  EXPECT_EQ(back->ref_count_for_tests(), 2u);
}

TEST(RefTest, SelfAssignmentKeepsTheObject) {
  int destroyed = 0;
  Ref<Counted> a = MakeRef<Counted>(&destroyed);
  Ref<Counted>& same = a;
  a = same;
  EXPECT_EQ(destroyed, 0);
  EXPECT_EQ(a->ref_count_for_tests(), 1u);
}

TEST(RefTest, ReleaseAndAdoptHandOverOneReference) {
  int destroyed = 0;
  Counted* raw = MakeRef<Counted>(&destroyed).Release();
  EXPECT_EQ(raw->ref_count_for_tests(), 1u);
  EXPECT_TRUE(raw->TryIncRef());
  raw->DecRef();
  Ref<Counted>::Adopt(raw).Reset();
  EXPECT_EQ(destroyed, 1);
}

TEST(RefTest, CountsAcrossThreads) {
  int destroyed = 0;
  Ref<Counted> shared = MakeRef<Counted>(&destroyed);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; t++) {
    threads.emplace_back([shared] {
      for (int i = 0; i < 10000; i++) Ref<Counted> copy = shared;
    });
  }
  for (std::thread& t : threads) t.join();
  threads.clear();
  EXPECT_EQ(shared->ref_count_for_tests(), 1u);
  shared.Reset();
  EXPECT_EQ(destroyed, 1);
}

}  // namespace
}  // namespace sandboxd
