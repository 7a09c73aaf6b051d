#include "platform/base/result.h"

#include <gtest/gtest.h>

#include <memory>

namespace sandboxd {
namespace {

Result<int> Half(int n) {
  if (n % 2 != 0) return Errno::kEINVAL;
  return n / 2;
}

Result<int> Quarter(int n) { return TRY(Half(TRY(Half(n)))); }

Result<void> CheckEven(int n) {
  TRY(Half(n));
  return Ok();
}

TEST(ResultTest, TryYieldsTheValue) {
  Result<int> r = Quarter(12);
  ASSERT_TRUE(r.ok());
  EXPECT_EQ(*r, 3);
}

TEST(ResultTest, TryReturnsTheFirstError) {
  EXPECT_TRUE(Quarter(6).Is(Errno::kEINVAL));
  EXPECT_TRUE(CheckEven(7).Is(Errno::kEINVAL));
  EXPECT_TRUE(CheckEven(8).ok());
}

TEST(ResultTest, CarriesMoveOnlyValues) {
  Result<std::unique_ptr<int>> r = std::make_unique<int>(5);
  ASSERT_TRUE(r.ok());
  std::unique_ptr<int> taken = std::move(r).value();
  EXPECT_EQ(*taken, 5);
}

TEST(ResultTest, ValueOrIsTheValueOrTheDefault) {
  EXPECT_EQ(Half(4).value_or(9), 2);
  EXPECT_EQ(Half(3).value_or(9), 9);
}

TEST(ResultDeathTest, ValueOfAnErrorIsFatal) {
  Result<int> r = Errno::kENOENT;
  EXPECT_DEATH(r.value(), "CHECK failed");
  EXPECT_DEATH(MUST(Half(1)), "EINVAL");
}

TEST(ErrnoTest, KnowsLinuxNamesAndTheInternalOnes) {
  EXPECT_STREQ(ErrnoName(Errno::kENOENT), "ENOENT");
  EXPECT_STREQ(ErrnoName(Errno::kERESTARTSYS), "ERESTARTSYS");
  EXPECT_STREQ(ErrnoMessage(Errno::kENOENT), "No such file or directory");
  EXPECT_TRUE(IsRestart(Errno::kERESTARTNOHAND));
  EXPECT_FALSE(IsRestart(Errno::kEINTR));
}

TEST(ErrnoTest, HostErrnoOutsideLinuxRangeBecomesEio) {
  EXPECT_EQ(FromHostErrno(2), Errno::kENOENT);
  EXPECT_EQ(FromHostErrno(0), Errno::kEIO);
  EXPECT_EQ(FromHostErrno(512), Errno::kEIO);
}

}  // namespace
}  // namespace sandboxd
