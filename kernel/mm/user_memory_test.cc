#include "kernel/mm/user_memory.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <climits>

#include "platform/testing/fake_platform.h"

namespace sandboxd::mm {
namespace {

using platform::FakeAddressSpace;

constexpr AddrRange kTwoPages{UserAddr(0x100000), UserAddr(0x102000)};

ConstBytes Text(std::string_view s) { return std::as_bytes(std::span(s.data(), s.size())); }

class UserMemoryTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(as_->Map(*context_, kTwoPages, PROT_READ | PROT_WRITE, {}).ok());
  }
  Ref<FakeAddressSpace> as_ = MakeRef<FakeAddressSpace>();
  std::unique_ptr<platform::FakeContext> context_ = as_->NewFakeContext();
  UserMemory memory_{*context_};
};

TEST_F(UserMemoryTest, StringEndsAtItsNulEvenAtTheEndOfMemory) {
  ASSERT_TRUE(memory_.CopyOut(kTwoPages.end - 4, Text(std::string_view("abc\0", 4))).ok());
  EXPECT_EQ(MUST(memory_.ReadCString(kTwoPages.end - 4, 4096)), "abc");
  EXPECT_EQ(MUST(memory_.ReadCString(kTwoPages.end - 4, 4)), "abc");
  EXPECT_TRUE(memory_.ReadCString(kTwoPages.end - 4, 3).Is(Errno::kENAMETOOLONG));
}

TEST_F(UserMemoryTest, StringWithoutNulBeforeTheHoleIsEfault) {
  ASSERT_TRUE(memory_.CopyOut(kTwoPages.end - 3, Text("abc")).ok());
  EXPECT_TRUE(memory_.ReadCString(kTwoPages.end - 3, 4096).Is(Errno::kEFAULT));
  EXPECT_TRUE(memory_.ReadCString(UserAddr(~uint64_t{0}), 4096).Is(Errno::kEFAULT));
}

TEST_F(UserMemoryTest, LongStringsCrossChunks) {
  std::string s(5000, 'x');
  ASSERT_TRUE(memory_.CopyOut(kTwoPages.start + 7, Text(s)).ok());
  EXPECT_EQ(MUST(memory_.ReadCString(kTwoPages.start + 7, 8000)), s);
  EXPECT_TRUE(memory_.ReadPath(kTwoPages.start + 7).Is(Errno::kENAMETOOLONG));
}

TEST_F(UserMemoryTest, IoVecSumsAreCheckedAndCut) {
  auto put = [&](std::vector<IoVec> iov) {
    ASSERT_TRUE(
        memory_.CopyOut(kTwoPages.start, std::as_bytes(std::span(iov.data(), iov.size()))).ok());
  };
  // Too long for any address space, before the sum is looked at; and longer than a length may be.
  put({{1, SSIZE_MAX}, {2, 1}});
  EXPECT_TRUE(memory_.ReadIoVec(kTwoPages.start, 2).Is(Errno::kEFAULT));
  put({{1, uint64_t{1} << 63}});
  EXPECT_TRUE(memory_.ReadIoVec(kTwoPages.start, 1).Is(Errno::kEINVAL));
  put({{1, 0x60000000}, {2, 0x60000000}, {3, 5}});
  auto iov = MUST(memory_.ReadIoVec(kTwoPages.start, 3));
  EXPECT_EQ(iov[0].len, 0x60000000u);
  EXPECT_EQ(iov[0].len + iov[1].len, kMaxRwCount);
  EXPECT_EQ(iov[2].len, 0u);
  EXPECT_TRUE(memory_.ReadIoVec(kTwoPages.start, kIovMax + 1).Is(Errno::kEINVAL));
  EXPECT_TRUE(memory_.ReadIoVec(kTwoPages.end, 1).Is(Errno::kEFAULT));
}

TEST_F(UserMemoryTest, SinkScattersAndReportsWhatFits) {
  const uint64_t a = kTwoPages.start.value;
  UserSink sink(memory_, {{a, 2}, {a + 100, 0}, {a + 10, 3}, {kTwoPages.end.value, 5}});
  EXPECT_EQ(sink.remaining(), 10u);
  EXPECT_EQ(MUST(sink.Put(Text("abc"))), 3u);
  EXPECT_EQ(MUST(sink.Put(Text("defgh"))), 2u) << "then memory ends";
  EXPECT_TRUE(sink.Put(Text("f")).Is(Errno::kEFAULT));
  EXPECT_EQ(MUST(memory_.Read<char>(kTwoPages.start + 12)), 'e');
}

TEST_F(UserMemoryTest, SourceGathersAndTakesBack) {
  ASSERT_TRUE(memory_.CopyOut(kTwoPages.start, Text("abcdefgh")).ok());
  const uint64_t a = kTwoPages.start.value;
  UserSource source(memory_, {{a, 3}, {a + 5, 0}, {a + 5, 3}});
  char got[6] = {};
  EXPECT_EQ(MUST(source.Get(AsWritableBytes(got))), 6u);
  EXPECT_EQ(std::string_view(got, 6), "abcfgh");
  source.Unget(4);
  EXPECT_EQ(source.remaining(), 4u);
  EXPECT_EQ(MUST(source.Get(AsWritableBytes(got))), 4u);
  EXPECT_EQ(std::string_view(got, 4), "cfgh");
}

TEST_F(UserMemoryTest, ZeroStopsAtAHole) {
  ASSERT_TRUE(memory_.CopyOut(kTwoPages.start, Text("x")).ok());
  EXPECT_TRUE(memory_.Zero(kTwoPages.start, kTwoPages.length()).ok());
  EXPECT_EQ(MUST(memory_.Read<char>(kTwoPages.start)), 0);
  EXPECT_TRUE(memory_.Zero(kTwoPages.start, kTwoPages.length() + 1).Is(Errno::kEFAULT));
}

TEST_F(UserMemoryTest, RemoteViewSeesTheSameBytes) {
  UserMemory remote{static_cast<platform::AddressSpace&>(*as_)};
  ASSERT_TRUE(memory_.Write<uint32_t>(kTwoPages.start, 42).ok());
  EXPECT_EQ(MUST(remote.Load32(kTwoPages.start)), 42u);
}

}  // namespace
}  // namespace sandboxd::mm
