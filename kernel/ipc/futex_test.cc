#include "kernel/ipc/futex.h"

#include <gtest/gtest.h>
#include <linux/futex.h>
#include <sys/mman.h>

#include <deque>
#include <thread>

#include "kernel/wait/testing/thread_blocker.h"
#include "platform/testing/fake_platform.h"

namespace sandboxd::ipc {
namespace {

constexpr UserAddr kBase{0x100000};

class FutexTest : public testing::Test {
 protected:
  FutexTest()
      : as_(MakeRef<platform::FakeAddressSpace>()),
        context_(as_->NewFakeContext()),
        memory_(*context_),
        mm_(MUST(mm::MemoryManager::Create(as_, {}))) {
    mm::MmapRequest request;
    request.addr = kBase;
    request.length = kPageSize;
    request.prot = PROT_READ | PROT_WRITE;
    request.flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
    MUST(mm_->Mmap(*context_, request, {}));
  }

  FutexWord Word(uint64_t offset) {
    return MUST(FutexWord::Find(*mm_, kBase + offset, FutexScope::kPrivate));
  }
  void Store(uint64_t offset, uint32_t value) { MUST(memory_.Write(kBase + offset, value)); }
  uint32_t Load(uint64_t offset) { return MUST(memory_.Load32(kBase + offset)); }

  Ref<platform::FakeAddressSpace> as_;
  std::unique_ptr<platform::FakeContext> context_;
  mm::UserMemory memory_;
  Ref<mm::MemoryManager> mm_;
  FutexTable table_;
};

// A thread in Wait. The memory it looks at is the fake's, which any thread may use.
class Sleeper {
 public:
  Sleeper(FutexTable& table, const mm::UserMemory& memory, const FutexWord& word, uint32_t expected,
          uint32_t bitset = kFutexMatchAny, wait::Deadline deadline = std::nullopt)
      : thread_([=, &table, &memory, this] {
          result = table.Wait(blocker, memory, word, expected, bitset, deadline);
        }) {
    blocker.AwaitBlocked();
  }
  ~Sleeper() { Join(); }
  void Join() {
    if (thread_.joinable()) thread_.join();
  }
  wait::ThreadBlocker blocker;
  Result<void> result = Errno::kEIO;

 private:
  std::thread thread_;
};

TEST_F(FutexTest, WaitWithAnotherValueIsEagain) {
  wait::ThreadBlocker blocker;
  Store(0, 7);
  EXPECT_TRUE(
      table_.Wait(blocker, memory_, Word(0), 8, kFutexMatchAny, std::nullopt).Is(Errno::kEAGAIN));
}

TEST_F(FutexTest, BadWordsAreRefused) {
  wait::ThreadBlocker blocker;
  EXPECT_TRUE(FutexWord::Find(*mm_, kBase + 2, FutexScope::kPrivate).error() == Errno::kEINVAL);
  EXPECT_TRUE(FutexWord::Find(*mm_, UserAddr(0x4000), FutexScope::kShared).Is(Errno::kEFAULT));
  FutexWord unmapped = MUST(FutexWord::Find(*mm_, UserAddr(0x4000), FutexScope::kPrivate));
  EXPECT_TRUE(
      table_.Wait(blocker, memory_, unmapped, 0, kFutexMatchAny, std::nullopt).Is(Errno::kEFAULT));
  EXPECT_EQ(table_.Wake(unmapped, 1), 0);
}

TEST_F(FutexTest, WakeTakesTheFirstWaitersOfItsWord) {
  Sleeper first(table_, memory_, Word(0), 0);
  Sleeper second(table_, memory_, Word(0), 0);
  Sleeper elsewhere(table_, memory_, Word(4), 0);
  EXPECT_EQ(table_.Wake(Word(0), 1), 1);
  first.Join();
  EXPECT_TRUE(first.result.ok());
  EXPECT_EQ(table_.Wake(Word(0), 10), 1);
  EXPECT_EQ(table_.Wake(Word(0), 10), 0);
  EXPECT_EQ(table_.Wake(Word(4), 0), 1);  // 0 wakes one, as on Linux
}

TEST_F(FutexTest, BitsetsMustMeet) {
  Sleeper sleeper(table_, memory_, Word(0), 0, 0b0110);
  EXPECT_EQ(table_.Wake(Word(0), 1, 0b1001), 0);
  EXPECT_EQ(table_.Wake(Word(0), 1, 0b0010), 1);
}

TEST_F(FutexTest, TimeoutAndSignalEndAWait) {
  wait::ThreadBlocker blocker;
  EXPECT_TRUE(table_.Wait(blocker, memory_, Word(0), 0, kFutexMatchAny, wait::MonotonicNow())
                  .Is(Errno::kETIMEDOUT));
  Sleeper sleeper(table_, memory_, Word(0), 0);
  sleeper.blocker.Interrupt();
  sleeper.Join();
  EXPECT_TRUE(sleeper.result.Is(Errno::kERESTARTSYS));
  EXPECT_EQ(table_.Wake(Word(0), 1), 0);
}

TEST_F(FutexTest, RequeueMovesWhoIsNotWoken) {
  Sleeper a(table_, memory_, Word(0), 0);
  Sleeper b(table_, memory_, Word(0), 0);
  Sleeper c(table_, memory_, Word(0), 0);
  EXPECT_TRUE(table_.Requeue(memory_, Word(0), Word(64), 1, 1, uint32_t{5}).Is(Errno::kEAGAIN));
  EXPECT_EQ(MUST(table_.Requeue(memory_, Word(0), Word(64), 1, 1, uint32_t{0})), 2);
  a.Join();
  EXPECT_TRUE(a.result.ok());
  EXPECT_EQ(table_.Wake(Word(64), 10), 1);
  b.Join();
  EXPECT_EQ(table_.Wake(Word(0), 10), 1);
}

TEST_F(FutexTest, ARequeuedWaiterCanBeInterrupted) {
  Sleeper a(table_, memory_, Word(0), 0);
  for (uint64_t to = 4; to < 400; to += 4) {
    ASSERT_EQ(MUST(table_.Requeue(memory_, Word(to - 4), Word(to), 0, 1, std::nullopt)), 1);
  }
  a.blocker.Interrupt();
  a.Join();
  EXPECT_TRUE(a.result.Is(Errno::kERESTARTSYS));
}

TEST_F(FutexTest, WakeOpChangesTheSecondWordAndWakesBoth) {
  Store(4, 10);
  Sleeper a(table_, memory_, Word(0), 0);
  Sleeper b(table_, memory_, Word(4), 10);
  uint32_t op = FUTEX_OP(FUTEX_OP_ADD, 5, FUTEX_OP_CMP_GT, 9);
  EXPECT_EQ(MUST(table_.WakeOp(memory_, Word(0), Word(4), 1, 1, op)), 2);
  EXPECT_EQ(Load(4), 15u);
  op = FUTEX_OP(FUTEX_OP_ANDN, -1, FUTEX_OP_CMP_LT, -1);
  EXPECT_EQ(MUST(table_.WakeOp(memory_, Word(0), Word(4), 1, 1, op)), 0);
  EXPECT_EQ(Load(4), 0u);
  EXPECT_TRUE(table_.WakeOp(memory_, Word(0), Word(4), 1, 1, 7u << 28).Is(Errno::kENOSYS));
}

TEST_F(FutexTest, WaitManyTellsWhichWordWasWoken) {
  std::vector<FutexTable::WaitTarget> targets{{Word(0), 0}, {Word(4), 0}, {Word(8), 0}};
  wait::ThreadBlocker blocker;
  Result<int> woken = Errno::kEIO;
  std::thread thread([&] { woken = table_.WaitMany(blocker, memory_, targets, std::nullopt); });
  blocker.AwaitBlocked();
  EXPECT_EQ(table_.Wake(Word(4), 1), 1);
  thread.join();
  EXPECT_EQ(MUST(woken), 1);
  EXPECT_EQ(table_.Wake(Word(0), 1), 0);
  targets[2].expected = 1;
  EXPECT_TRUE(table_.WaitMany(blocker, memory_, targets, std::nullopt).Is(Errno::kEAGAIN));
}

TEST_F(FutexTest, PiLockIsHandedToTheFirstWaiter) {
  wait::ThreadBlocker mine, other;
  auto exists = [](int32_t tid) { return tid == 100 || tid == 200; };
  using Mode = FutexTable::PiLockMode;
  ASSERT_TRUE(table_.LockPi(mine, memory_, Word(0), 100, Mode::kWait, std::nullopt, exists).ok());
  EXPECT_EQ(Load(0), 100u);
  EXPECT_TRUE(table_.LockPi(mine, memory_, Word(0), 100, Mode::kTry, std::nullopt, exists)
                  .Is(Errno::kEDEADLK));
  EXPECT_TRUE(table_.LockPi(mine, memory_, Word(0), 200, Mode::kTry, std::nullopt, exists)
                  .Is(Errno::kEAGAIN));
  Result<void> locked = Errno::kEIO;
  std::thread thread([&] {
    locked = table_.LockPi(other, memory_, Word(0), 200, Mode::kWait, std::nullopt, exists);
  });
  other.AwaitBlocked();
  EXPECT_EQ(Load(0), 100u | FUTEX_WAITERS);
  EXPECT_TRUE(table_.UnlockPi(memory_, Word(0), 300).Is(Errno::kEPERM));
  EXPECT_TRUE(table_.UnlockPi(memory_, Word(0), 100).ok());
  thread.join();
  EXPECT_TRUE(locked.ok());
  EXPECT_EQ(Load(0) & FUTEX_TID_MASK, 200u);
  EXPECT_TRUE(table_.UnlockPi(memory_, Word(0), 200).ok());
  EXPECT_EQ(Load(0), 0u);
  Store(0, 300);
  EXPECT_TRUE(table_.LockPi(mine, memory_, Word(0), 100, Mode::kWait, std::nullopt, exists)
                  .Is(Errno::kESRCH));
}

TEST_F(FutexTest, ADeadThreadsRobustListIsMarked) {
  // head at 0x800 -> entry at 0x900 -> head; futex words 8 bytes behind their entries.
  MUST(memory_.Write(kBase + 0x800,
                     std::array<uint64_t, 3>{kBase.value + 0x900, 8, kBase.value + 0xa00}));
  MUST(memory_.Write(kBase + 0x900, kBase.value + 0x800));
  Store(0x908, 100 | FUTEX_WAITERS);
  Store(0xa08, 200);  // pending, but another thread's
  FutexWord shared = MUST(FutexWord::Find(*mm_, kBase + 0x908, FutexScope::kShared));
  Sleeper sleeper(table_, memory_, shared, 100 | FUTEX_WAITERS);
  table_.ExitRobustList(*mm_, memory_, kBase + 0x800, 100);
  sleeper.Join();
  EXPECT_EQ(Load(0x908), FUTEX_OWNER_DIED | FUTEX_WAITERS);
  EXPECT_EQ(Load(0xa08), 200u);
}

TEST_F(FutexTest, ARobustListThatRunsInACircleEnds) {
  MUST(memory_.Write(kBase + 0x800, std::array<uint64_t, 3>{kBase.value + 0x900, 8, 0}));
  MUST(memory_.Write(kBase + 0x900, kBase.value + 0x900));
  table_.ExitRobustList(*mm_, memory_, kBase + 0x800, 100);
  table_.ExitRobustList(*mm_, memory_, UserAddr(0x4000), 100);
  EXPECT_EQ(Load(0x908), 0u);
}

TEST_F(FutexTest, ClearChildTidWakesAJoiner) {
  Store(0, 100);
  FutexWord shared = MUST(FutexWord::Find(*mm_, kBase, FutexScope::kShared));
  Sleeper joiner(table_, memory_, shared, 100);
  table_.ClearChildTid(*mm_, memory_, kBase);
  joiner.Join();
  EXPECT_TRUE(joiner.result.ok());
  EXPECT_EQ(Load(0), 0u);
}

}  // namespace
}  // namespace sandboxd::ipc
