#include "platform/kvm/guest_tables.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <vector>

#include "platform/kvm/guest_physical.h"

namespace sandboxd::platform::kvm {
namespace {

constexpr int kRw = PROT_READ | PROT_WRITE, kRx = PROT_READ | PROT_EXEC;

class GuestTablesTest : public testing::Test {
 protected:
  struct Memory {
    Memory()
        : at(mmap(nullptr, SANDBOXD_STUB_TABLES_SIZE, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)) {}
    ~Memory() { munmap(at, SANDBOXD_STUB_TABLES_SIZE); }
    std::byte* bytes() { return static_cast<std::byte*>(at); }
    void* at;
  };
  static AddrRange Pages(uint64_t start, uint64_t count) {
    return {UserAddr(start), UserAddr(start + count * kPageSize)};
  }
  stub::SlotList& slots() {
    return *reinterpret_cast<stub::SlotList*>(memory_.bytes() + stub::kSlotListOffset);
  }

  void SetUp() override {
    layout_.kind = stub::Kind::kMachine;
    layout_.base = kApplicationEnd.value;
    ASSERT_NE(memory_.at, MAP_FAILED);
    ASSERT_TRUE(tables_.Init().ok());
  }

  stub::Layout layout_;
  Memory memory_;
  GuestTables tables_{memory_.bytes(), layout_};
};

TEST_F(GuestTablesTest, EntriesHaveExactlyTheRightsAskedFor) {
  constexpr uint64_t kAt = 0x40'0000 - 2 * kPageSize;  // across two tables
  ASSERT_TRUE(tables_.Set(Pages(kAt, 4), kWindowsPhysical, kRw).ok());
  ASSERT_TRUE(tables_.Set(Pages(kAt + kPageSize, 1), kWindowsPhysical + kPageSize, kRx).ok());
  ASSERT_TRUE(tables_.Set(Pages(kAt + 2 * kPageSize, 1), 0, PROT_NONE).ok());
  EXPECT_TRUE(tables_.Allows(UserAddr(kAt), PROT_WRITE));
  EXPECT_FALSE(tables_.Allows(UserAddr(kAt), PROT_EXEC));
  EXPECT_TRUE(tables_.Allows(UserAddr(kAt + kPageSize), PROT_EXEC));
  EXPECT_FALSE(tables_.Allows(UserAddr(kAt + kPageSize), PROT_WRITE));
  EXPECT_FALSE(tables_.Allows(UserAddr(kAt + 2 * kPageSize), PROT_READ));
  EXPECT_TRUE(tables_.Allows(UserAddr(kAt + 3 * kPageSize), PROT_READ));
  EXPECT_FALSE(tables_.Allows(UserAddr(kAt + 4 * kPageSize), PROT_READ));
  EXPECT_FALSE(tables_.Allows(UserAddr(kAt - 1), PROT_READ));
}

TEST_F(GuestTablesTest, ClearTakesNothingBut) {
  constexpr uint64_t kAt = 0x7f00'0000'0000;
  ASSERT_TRUE(tables_.Set(Pages(kAt, 3), kWindowsPhysical, kRw).ok());
  tables_.Clear(Pages(kAt + kPageSize, 1));
  EXPECT_TRUE(tables_.Allows(UserAddr(kAt), PROT_READ));
  EXPECT_FALSE(tables_.Allows(UserAddr(kAt + kPageSize), PROT_READ));
  EXPECT_TRUE(tables_.Allows(UserAddr(kAt + 2 * kPageSize), PROT_READ));
  const uint64_t used = tables_.bytes_used();
  tables_.Clear({kApplicationStart, kApplicationEnd});
  EXPECT_FALSE(tables_.Allows(UserAddr(kAt), PROT_READ));
  ASSERT_TRUE(tables_.Set(Pages(kAt, 3), kWindowsPhysical, kRw).ok());
  EXPECT_EQ(tables_.bytes_used(), used) << "the tables are still there";
}

TEST_F(GuestTablesTest, TheSystemsPagesAreNotTheApplications) {
  ASSERT_TRUE(tables_.AddThread(7).ok());
  EXPECT_TRUE(tables_.Allows(UserAddr(stub::kSystemBase + stub::ThreadPage(7)), PROT_WRITE));
  EXPECT_FALSE(tables_.Allows(UserAddr(stub::kSystemBase + stub::ThreadPage(8)), PROT_READ));
  EXPECT_FALSE(tables_.Allows(UserAddr(stub::kSystemBase + stub::kRootOffset), PROT_READ));
  // No entry on the way to them is for ring 3.
  const auto* root = reinterpret_cast<const uint64_t*>(memory_.bytes() + stub::kRootOffset);
  constexpr uint64_t kUser = 4;
  for (int i = 256; i < 512; i++) EXPECT_EQ(root[i] & kUser, 0u) << i;
}

TEST_F(GuestTablesTest, RoomGrowsBySlotsOfTheMachine) {
  const uint32_t before = slots().count;
  uint64_t at = kApplicationStart.value;
  while (!tables_.NeedsRoom()) {
    ASSERT_TRUE(tables_.Set(Pages(at, 1), kWindowsPhysical, kRw).ok());
    at += uint64_t{1} << 30;
  }
  ASSERT_TRUE(tables_.AddRoom().ok());
  ASSERT_EQ(slots().count, before + 1);
  EXPECT_EQ(slots().slots[before].guest_phys_addr, kTablesChunk);
  EXPECT_EQ(slots().slots[before].userspace_addr, layout_.tables() + kTablesChunk);
  EXPECT_FALSE(tables_.NeedsRoom());
}

TEST_F(GuestTablesTest, ACopyIsTheSameAndGrowsByItself) {
  constexpr uint64_t kAt = 0x5555'0000'0000;
  ASSERT_TRUE(tables_.Set(Pages(kAt, 2), kWindowsPhysical, kRx).ok());
  ASSERT_TRUE(tables_.AddMemorySlot(kWindowsPhysical + kWindowSize, 0, kWindowSize).ok());
  ASSERT_TRUE(tables_.AddMemorySlot(kWindowsPhysical, kAt, kWindowSize).ok());
  Memory memory;
  GuestTables copy(memory.bytes(), layout_);
  copy.CopyFrom(tables_, [](uint64_t start) { return start == kAt; });
  EXPECT_TRUE(copy.Allows(UserAddr(kAt), PROT_EXEC));
  const auto& list = *reinterpret_cast<stub::SlotList*>(memory.bytes() + stub::kSlotListOffset);
  ASSERT_EQ(list.count, slots().count - 1);
  for (uint32_t i = 0; i < list.count; i++) EXPECT_EQ(list.slots[i].slot, i);
  EXPECT_EQ(list.slots[list.count - 1].userspace_addr, kAt);
  copy.Clear(Pages(kAt, 1));
  ASSERT_TRUE(copy.Set(Pages(kAt * 2 / 3, 1), kWindowsPhysical, kRw).ok());
  EXPECT_TRUE(tables_.Allows(UserAddr(kAt), PROT_EXEC));
  EXPECT_FALSE(tables_.Allows(UserAddr(kAt * 2 / 3), PROT_READ));
}

}  // namespace
}  // namespace sandboxd::platform::kvm
