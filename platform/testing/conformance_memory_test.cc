// Memory: mappings of every kind, copies in and out, atomic operations.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <csignal>
#include <cstring>

#include "platform/base/unique_fd.h"
#include "platform/testing/conformance.h"

namespace sandboxd::platform {
namespace {

constexpr UserAddr kArea{0x10'0000'0000};

UniqueFd FileOf(size_t size, const char* text = "") {
  UniqueFd fd = MUST(WrapFd(memfd_create("conformance", MFD_CLOEXEC)));
  CHECK(ftruncate(fd.get(), static_cast<off_t>(size)) == 0);
  CHECK(pwrite(fd.get(), text, std::strlen(text), 0) >= 0);
  return fd;
}

class MemoryConformanceTest : public ConformanceTest {
 protected:
  // Whether code of the application can read `at`.
  bool GuestReads(UserAddr at, Stop* out = nullptr);
  std::string Text(UserAddr at, size_t size) {
    std::string text(size, 0);
    text.resize(as().CopyIn(at, {reinterpret_cast<std::byte*>(text.data()), size}));
    return text;
  }
};
INSTANTIATE_CONFORMANCE(MemoryConformanceTest);

GUEST_CODE(ReadByte, "movzbl (%rbx), %edi\n syscall");
bool MemoryConformanceTest::GuestReads(UserAddr at, Stop* out) {
  LoadCode(kReadByte);
  regs_.rbx = at.value;
  Stop stop = Run();
  if (out != nullptr) *out = stop;
  return stop.kind == Stop::Kind::kSyscall;
}

TEST_P(MemoryConformanceTest, FreshSpaceIsEmpty) {
  for (uint64_t at : {kApplicationStart.value, kArea.value, uint64_t{0x7ffe'0000'0000},
                      kApplicationEnd.value - kPageSize}) {
    std::byte b;
    EXPECT_EQ(as().CopyIn(UserAddr(at), Bytes(&b, 1)), 0u);
  }
}

TEST_P(MemoryConformanceTest, AnonymousPagesAreZeroAndWritable) {
  Map(Pages(kArea, 3), PROT_READ | PROT_WRITE);
  EXPECT_EQ(Peek(kArea + 2 * kPageSize), 0u);
  Poke(kArea, 42);
  EXPECT_EQ(Peek(kArea), 42u);
  EXPECT_TRUE(GuestReads(kArea));
  EXPECT_EQ(regs_.rdi, 42u);
  Map(Pages(kArea, 1), PROT_READ | PROT_WRITE);
  EXPECT_EQ(Peek(kArea), 0u) << "replaced";
}

TEST_P(MemoryConformanceTest, UnmappedPagesAreGone) {
  Map(Pages(kArea, 3), PROT_READ | PROT_WRITE);
  ASSERT_TRUE(as().Unmap(*context_, Pages(kArea + kPageSize, 1)).ok());
  EXPECT_FALSE(GuestReads(kArea + kPageSize));
  EXPECT_TRUE(GuestReads(kArea));
  EXPECT_TRUE(GuestReads(kArea + 2 * kPageSize));
}

TEST_P(MemoryConformanceTest, ProtectionsHoldForCopiesToo) {
  Map(Pages(kArea, 1), PROT_READ | PROT_WRITE);
  Poke(kArea, 1);
  uint32_t word = 2;
  ASSERT_TRUE(as().Protect(*context_, Pages(kArea, 1), PROT_READ).ok());
  EXPECT_EQ(as().CopyOut(kArea, AsBytes(word)), 0u);
  EXPECT_EQ(Peek(kArea), 1u);
  ASSERT_TRUE(as().Protect(*context_, Pages(kArea, 1), PROT_NONE).ok());
  EXPECT_EQ(as().CopyIn(kArea, AsWritableBytes(word)), 0u);
  EXPECT_EQ(context_->CopyIn(kArea, AsWritableBytes(word)), 0u);
  EXPECT_FALSE(GuestReads(kArea));
}

TEST_P(MemoryConformanceTest, CopiesStopExactlyWhereMemoryEnds) {
  Map(Pages(kArea, 40), PROT_READ | PROT_WRITE);
  std::vector<std::byte> buffer(60 * kPageSize, std::byte{0x5a});
  for (uint64_t offset : {uint64_t{0}, uint64_t{1}, uint64_t{4095}, 20 * kPageSize + 7}) {
    const uint64_t expected = 40 * kPageSize - offset;
    EXPECT_EQ(as().CopyOut(kArea + offset, buffer), expected);
    EXPECT_EQ(as().CopyIn(kArea + offset, buffer), expected);
    EXPECT_EQ(context_->CopyOut(kArea + offset, buffer), expected);
    EXPECT_EQ(context_->CopyIn(kArea + offset, buffer), expected);
  }
  // A read-only page in the middle.
  ASSERT_TRUE(as().Protect(*context_, Pages(kArea + 4 * kPageSize, 1), PROT_READ).ok());
  EXPECT_EQ(as().CopyOut(kArea + 5, buffer), 4 * kPageSize - 5);
  EXPECT_EQ(as().CopyIn(kArea + 5, buffer), 40 * kPageSize - 5);
  EXPECT_EQ(as().CopyIn(kArea, Bytes()), 0u);
}

// Our own region of the stub, kernel addresses, and the wrap-around are nothing an application has.
TEST_P(MemoryConformanceTest, NothingAboveTheApplicationCanBeCopiedOrMapped) {
  uint32_t word = 0;
  for (uint64_t at : {kApplicationEnd.value, uint64_t{0xffff'8000'0000'0000}, ~uint64_t{0} - 1}) {
    EXPECT_EQ(as().CopyIn(UserAddr(at), AsWritableBytes(word)), 0u);
    EXPECT_EQ(as().CopyOut(UserAddr(at), AsBytes(word)), 0u);
    EXPECT_TRUE(context_->Load32(UserAddr(at & ~uint64_t{3})).Is(Errno::kEFAULT));
    EXPECT_TRUE(context_->CompareExchange32(UserAddr(at & ~uint64_t{3}), 0, 0).Is(Errno::kEFAULT));
  }
  const AddrRange bad = Pages(kApplicationEnd, 1);
  EXPECT_TRUE(as().Map(*context_, bad, PROT_READ, {}).Is(Errno::kEINVAL));
  EXPECT_TRUE(as().Unmap(*context_, bad).Is(Errno::kEINVAL));
  EXPECT_TRUE(as().Protect(*context_, bad, PROT_WRITE).Is(Errno::kEINVAL));
  EXPECT_TRUE(as().Remap(*context_, bad, Pages(kArea, 1), false).Is(Errno::kEINVAL));
  EXPECT_TRUE(as().Advise(*context_, bad, MADV_DONTNEED).Is(Errno::kEINVAL));
}

TEST_P(MemoryConformanceTest, RemapMovesGrowsAndShrinks) {
  Map(Pages(kArea, 2), PROT_READ | PROT_WRITE);
  Poke(kArea, 1);
  Poke(kArea + kPageSize, 2);
  const UserAddr to = kArea + 16 * kPageSize;
  ASSERT_TRUE(as().Remap(*context_, Pages(kArea, 2), Pages(to, 4), false).ok());
  EXPECT_EQ(Peek(to), 1u);
  EXPECT_EQ(Peek(to + kPageSize), 2u);
  EXPECT_EQ(Peek(to + 3 * kPageSize), 0u);
  EXPECT_FALSE(GuestReads(kArea));
  ASSERT_TRUE(as().Remap(*context_, Pages(to, 4), Pages(to, 1), false).ok());
  EXPECT_EQ(Peek(to), 1u);
  EXPECT_FALSE(GuestReads(to + kPageSize));
  ASSERT_TRUE(as().Remap(*context_, Pages(to, 1), Pages(kArea, 1), true).ok());
  EXPECT_EQ(Peek(kArea), 1u);
  EXPECT_EQ(Peek(to), 0u) << "emptied, but still mapped";
}

TEST_P(MemoryConformanceTest, AdviceDontNeedZeroes) {
  Map(Pages(kArea, 2), PROT_READ | PROT_WRITE);
  Poke(kArea, 9);
  ASSERT_TRUE(as().Advise(*context_, Pages(kArea, 1), MADV_DONTNEED).ok());
  EXPECT_EQ(Peek(kArea), 0u);
  EXPECT_FALSE(as().Advise(*context_, Pages(kArea, 1), 12345).ok());
}

TEST_P(MemoryConformanceTest, MincoreTellsTouchedPages) {
  Map(Pages(kArea, 3), PROT_READ | PROT_WRITE);
  Poke(kArea + kPageSize, 1);
  std::vector<std::byte> vec(3);
  ASSERT_TRUE(as().Mincore(*context_, Pages(kArea, 3), vec).ok());
  EXPECT_EQ(vec[0], std::byte{0});
  EXPECT_EQ(vec[1], std::byte{1});
  vec.resize(4);
  EXPECT_TRUE(as().Mincore(*context_, Pages(kArea, 4), vec).Is(Errno::kENOMEM));
}

TEST_P(MemoryConformanceTest, PrivateFileMappingCopiesOnWrite) {
  UniqueFd file = FileOf(2 * kPageSize, "hello");
  Map(Pages(kArea, 2), PROT_READ | PROT_WRITE, {.host_fd = file.get()});
  EXPECT_EQ(Text(kArea, 5), "hello");
  Poke(kArea, 0);
  char c = 0;
  ASSERT_EQ(pread(file.get(), &c, 1, 0), 1);
  EXPECT_EQ(c, 'h');
  file.Reset();
  EXPECT_EQ(Text(kArea + 4, 1), "o") << "the mapping needs no descriptor of ours";
}

TEST_P(MemoryConformanceTest, SharedFileMappingWritesTheFileAtItsOffset) {
  UniqueFd file = FileOf(3 * kPageSize);
  Map(Pages(kArea, 1), PROT_READ | PROT_WRITE,
      {.host_fd = file.get(), .offset = 2 * kPageSize, .sharing = Sharing::kShared});
  Poke(kArea + 8, 0x1234);
  uint32_t word = 0;
  ASSERT_EQ(pread(file.get(), &word, sizeof(word), 2 * kPageSize + 8), 4);
  EXPECT_EQ(word, 0x1234u);
  word = 0x77;
  ASSERT_EQ(pwrite(file.get(), &word, sizeof(word), 2 * kPageSize), 4);
  EXPECT_EQ(Peek(kArea), 0x77u);
}

TEST_P(MemoryConformanceTest, AccessBeyondTheEndOfTheFileIsABusError) {
  UniqueFd file = FileOf(100);
  Map(Pages(kArea, 2), PROT_READ | PROT_WRITE,
      {.host_fd = file.get(), .sharing = Sharing::kShared});
  EXPECT_TRUE(GuestReads(kArea + 200));
  Stop stop;
  EXPECT_FALSE(GuestReads(kArea + kPageSize, &stop));
  EXPECT_EQ(stop.fault.signo, SIGBUS);
  EXPECT_EQ(stop.fault.code, BUS_ADRERR);
  EXPECT_EQ(stop.fault.addr, kArea + kPageSize);
  EXPECT_TRUE(context_->Load32(kArea + kPageSize).Is(Errno::kEFAULT));
  std::vector<std::byte> buffer(2 * kPageSize);
  EXPECT_EQ(as().CopyIn(kArea, buffer), kPageSize);
}

TEST_P(MemoryConformanceTest, DescriptorsThatCannotBeMappedAreRefusedAndNotKept) {
  UniqueFd file = FileOf(kPageSize);
  UniqueFd read_only = MUST(
      WrapFd(open(("/proc/self/fd/" + std::to_string(file.get())).c_str(), O_RDONLY | O_CLOEXEC)));
  for (int i = 0; i < 40; i++) {
    ASSERT_TRUE(as().Map(*context_, Pages(kArea, 1), PROT_READ | PROT_WRITE,
                         {.host_fd = read_only.get(), .sharing = Sharing::kShared})
                    .Is(Errno::kEACCES));
  }
  int pipe_fds[2];
  ASSERT_EQ(pipe2(pipe_fds, O_CLOEXEC), 0);
  UniqueFd one(pipe_fds[0]), two(pipe_fds[1]);
  EXPECT_TRUE(
      as().Map(*context_, Pages(kArea, 1), PROT_READ, {.host_fd = one.get()}).Is(Errno::kENODEV));
  // And mapping goes on working.
  Map(Pages(kArea, 1), PROT_READ, {.host_fd = read_only.get(), .sharing = Sharing::kShared});
}

TEST_P(MemoryConformanceTest, Words) {
  Poke(kData, 5);
  EXPECT_EQ(MUST(context_->Load32(kData)), 5u);
  EXPECT_EQ(MUST(context_->CompareExchange32(kData, 4, 6)), 5u);
  EXPECT_EQ(Peek(kData), 5u);
  EXPECT_EQ(MUST(context_->CompareExchange32(kData, 5, 6)), 5u);
  EXPECT_EQ(Peek(kData), 6u);
  EXPECT_TRUE(context_->Load32(kArea).Is(Errno::kEFAULT));
  EXPECT_TRUE(context_->CompareExchange32(kArea, 0, 1).Is(Errno::kEFAULT));
  ASSERT_TRUE(as().Protect(*context_, kDataPage, PROT_READ).ok());
  EXPECT_EQ(MUST(context_->Load32(kData)), 6u);
  EXPECT_TRUE(context_->CompareExchange32(kData, 6, 7).Is(Errno::kEFAULT));
}

GUEST_CODE(Yield, "1: syscall\n jmp 1b");
TEST_P(MemoryConformanceTest, WorkBetweenSwitchesLeavesRegistersAlone) {
  LoadCode(kYield);
  regs_.rax = 3;
  regs_.rbx = 0x1234;
  RunToSyscall();
  regs_.set_return_value(8);
  Map(Pages(kArea, 1), PROT_READ | PROT_WRITE);
  EXPECT_EQ(MUST(context_->CompareExchange32(kArea, 0, 1)), 0u);
  ASSERT_EQ(RunToSyscall(), 8u);
  EXPECT_EQ(regs_.rbx, 0x1234u);
  EXPECT_EQ(regs_.rsp, kStack.value);
}

}  // namespace
}  // namespace sandboxd::platform
