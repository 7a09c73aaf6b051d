#include "kernel/syscalls/table.h"

#include <gtest/gtest.h>

#include <cstring>

namespace sandboxd::syscalls {
namespace {

TEST(TableTest, EveryLinuxCallIsNamedOnceInOrder) {
  int previous = -1;
  for (const NamedNumber& call : AllLinuxCalls()) {
    EXPECT_GT(call.number, previous) << call.name;
    previous = call.number;
  }
  EXPECT_EQ(AllLinuxCalls().size(), 362u);
  EXPECT_EQ(AllLinuxCalls().back().number, 450);
}

TEST(TableTest, RowsCarryLinuxsNameAndNumber) {
  for (const NamedNumber& call : AllLinuxCalls()) {
    const Row* row = FindRow(call.number);
    if (row == nullptr) continue;
    EXPECT_STREQ(row->name, call.name);
    EXPECT_EQ(row->number, call.number);
  }
}

TEST(TableTest, RowsThatAreNotFullSayWhatIsMissing) {
  for (int i = 0; i < kTableSize; i++) {
    const Row* row = FindRow(i);
    if (row == nullptr || row->support == Support::kFull) continue;
    EXPECT_GT(strlen(row->note), 0u) << row->name;
  }
}

TEST(TableTest, NumbersOutsideTheTableHaveNoRow) {
  EXPECT_EQ(FindRow(kTableSize), nullptr);
  EXPECT_EQ(FindRow(UINT64_MAX), nullptr);
}

}  // namespace
}  // namespace sandboxd::syscalls
