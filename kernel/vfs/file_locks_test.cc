#include "kernel/vfs/file_locks.h"

#include <gtest/gtest.h>

namespace sandboxd::vfs {
namespace {

int a_identity, b_identity, c_identity;
const LockOwner kA{LockOwner::Kind::kPosix, &a_identity};
const LockOwner kB{LockOwner::Kind::kPosix, &b_identity};
const LockOwner kC{LockOwner::Kind::kPosix, &c_identity};

RecordLock Lock(const LockOwner& owner, LockType type, int64_t start, int64_t end) {
  return {{start, end}, type, owner, 1};
}

TEST(FileLocksTest, ReadersShareWritersDoNot) {
  FileLocks locks;
  EXPECT_TRUE(locks.SetRecord(Lock(kA, LockType::kRead, 0, 10)).ok());
  EXPECT_TRUE(locks.SetRecord(Lock(kB, LockType::kRead, 5, 15)).ok());
  EXPECT_TRUE(locks.SetRecord(Lock(kB, LockType::kWrite, 9, 12)).Is(Errno::kEAGAIN));
  EXPECT_TRUE(locks.SetRecord(Lock(kB, LockType::kWrite, 10, 12)).ok());
}

TEST(FileLocksTest, RangesSplitAndMerge) {
  FileLocks locks;
  ASSERT_TRUE(locks.SetRecord(Lock(kA, LockType::kWrite, 0, 100)).ok());
  ASSERT_TRUE(locks.SetRecord(Lock(kA, LockType::kUnlock, 40, 60)).ok());
  EXPECT_EQ(locks.List().size(), 2u);
  EXPECT_FALSE(locks.FindConflict(Lock(kB, LockType::kWrite, 40, 60)).has_value());
  auto held = locks.FindConflict(Lock(kB, LockType::kRead, 50, 70));
  ASSERT_TRUE(held.has_value());
  EXPECT_EQ(held->range.start, 60);
  ASSERT_TRUE(locks.SetRecord(Lock(kA, LockType::kWrite, 40, 60)).ok());
  ASSERT_EQ(locks.List().size(), 1u);
  EXPECT_EQ(locks.List()[0].range.end, 100);
}

TEST(FileLocksTest, CycleOfThreeWaitersIsADeadlock) {
  FileLocks one, two, three;
  ASSERT_TRUE(one.SetRecord(Lock(kA, LockType::kWrite, 0, 1)).ok());
  ASSERT_TRUE(two.SetRecord(Lock(kB, LockType::kWrite, 0, 1)).ok());
  ASSERT_TRUE(three.SetRecord(Lock(kC, LockType::kWrite, 0, 1)).ok());
  int wait_a, wait_b, wait_c;
  EXPECT_TRUE(two.SetRecord(Lock(kA, LockType::kWrite, 0, 1), &wait_a).Is(Errno::kEAGAIN));
  EXPECT_TRUE(three.SetRecord(Lock(kB, LockType::kWrite, 0, 1), &wait_b).Is(Errno::kEAGAIN));
  EXPECT_TRUE(one.SetRecord(Lock(kC, LockType::kWrite, 0, 1), &wait_c).Is(Errno::kEDEADLK));
  // Once B has given up its wait the cycle is none.
  FileLocks::ForgetWait(&wait_b);
  EXPECT_TRUE(one.SetRecord(Lock(kC, LockType::kWrite, 0, 1), &wait_c).Is(Errno::kEAGAIN));
  FileLocks::ForgetWait(&wait_a);
  FileLocks::ForgetWait(&wait_c);
}

TEST(FileLocksTest, FlockConversionDropsTheOldLockFirst) {
  FileLocks locks;
  LockOwner x{LockOwner::Kind::kFlock, &a_identity}, y{LockOwner::Kind::kFlock, &b_identity};
  ASSERT_TRUE(locks.SetFlock(x, LockType::kRead, 1).ok());
  ASSERT_TRUE(locks.SetFlock(y, LockType::kRead, 1).ok());
  EXPECT_TRUE(locks.SetFlock(x, LockType::kWrite, 1).Is(Errno::kEAGAIN));
  EXPECT_TRUE(locks.SetFlock(y, LockType::kWrite, 1).ok());
}

}  // namespace
}  // namespace sandboxd::vfs
