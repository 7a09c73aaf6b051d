#include "daemon/error/error.h"

#include <gtest/gtest.h>

#include <cerrno>

namespace sandboxd::daemon {
namespace {

TEST(ErrorTest, EveryReasonButInternalOnesHasACodeOfItsOwn) {
  for (int i = v1::ErrorReason_MIN; i <= v1::ErrorReason_MAX; ++i) {
    if (!v1::ErrorReason_IsValid(i)) continue;
    const auto reason = static_cast<v1::ErrorReason>(i);
    const bool internal =
        reason == v1::ERROR_REASON_UNSPECIFIED || reason == v1::ERROR_REASON_INTERNAL ||
        reason == v1::ERROR_REASON_KERNEL_START_FAILED || reason == v1::ERROR_REASON_GOFER_FAILED ||
        reason == v1::ERROR_REASON_STATE_STORAGE_FAILED;
    EXPECT_EQ(CodeOf(reason) == Code::kInternal, internal) << ReasonName(reason);
  }
}

TEST(ErrorTest, ReasonNameHasNoPrefix) {
  EXPECT_EQ(ReasonName(v1::ERROR_REASON_PROGRAM_NOT_FOUND), "PROGRAM_NOT_FOUND");
}

TEST(ErrorTest, AllViolationsAreKeptAndTheFirstAreInTheSentence) {
  const Error e = Error::Fields({{"a", "1"}, {"b", "2"}, {"c", "3"}, {"d", "4"}});
  EXPECT_EQ(e.violations().size(), 4u);
  EXPECT_EQ(e.message(), "a: 1; b: 2; c: 3; and 1 more");
  EXPECT_EQ(e.code(), Code::kInvalidArgument);
}

TEST(ErrorTest, AFullDiskIsResourceExhausted) {
  EXPECT_EQ(StorageError("cannot write /x", ENOSPC).code(), Code::kResourceExhausted);
  EXPECT_EQ(StorageError("cannot write /x", EIO).code(), Code::kInternal);
}

Outcome<int> Half(int n) {
  if (n % 2 != 0) return Error::Internal("odd");
  return n / 2;
}
Outcome<int> Quarter(int n) { return TRY(Half(TRY(Half(n)))); }

TEST(OutcomeTest, TryReturnsTheErrorToTheCaller) {
  EXPECT_EQ(*Quarter(8), 2);
  EXPECT_EQ(Quarter(6).error().message(), "odd");
}

}  // namespace
}  // namespace sandboxd::daemon
