// madvise(2).
#include <cstring>

#include "test/syscalls/testing.h"

namespace sandboxd::test {
namespace {

constexpr int kRw = PROT_READ | PROT_WRITE;

char* Map(size_t pages, int flags = MAP_PRIVATE) {
  void* p = mmap(nullptr, pages * PageSize(), kRw, flags | MAP_ANONYMOUS, -1, 0);
  EXPECT_NE(p, MAP_FAILED);
  return static_cast<char*>(p);
}

TEST(MadviseTest, DontneedZeroesPrivateAndKeepsShared) {
  size_t page = PageSize();
  char* p = Map(2);
  char* s = Map(1, MAP_SHARED);
  memset(p, 1, 2 * page);
  s[0] = 1;
  ASSERT_EQ(madvise(p + page, page, MADV_DONTNEED), 0);
  ASSERT_EQ(madvise(s, page, MADV_DONTNEED), 0);
  EXPECT_EQ(p[0], 1);
  EXPECT_EQ(p[page], 0);
  EXPECT_EQ(s[0], 1);
  munmap(p, 2 * page);
  munmap(s, page);
}

TEST(MadviseTest, DontneedShowsThePrivateFileAgain) {
  TempFile file("file");
  Fd fd = file.Open(O_RDONLY);
  char* p = static_cast<char*>(mmap(nullptr, PageSize(), kRw, MAP_PRIVATE, fd.get(), 0));
  ASSERT_NE(p, MAP_FAILED);
  p[0] = 'F';
  ASSERT_EQ(madvise(p, PageSize(), MADV_DONTNEED), 0);
  EXPECT_STREQ(p, "file");
  munmap(p, PageSize());
}

TEST(MadviseTest, WipeonforkZeroesInTheChild) {
  char* p = Map(2);
  p[0] = p[PageSize()] = 5;
  ASSERT_EQ(madvise(p, PageSize(), MADV_WIPEONFORK), 0);
  int status = InChild([&] { return p[0] == 0 && p[PageSize()] == 5 ? 0 : 1; });
  EXPECT_TRUE(ExitedWith(status, 0)) << status;
  EXPECT_EQ(p[0], 5);
  ASSERT_EQ(madvise(p, PageSize(), MADV_KEEPONFORK), 0);
  EXPECT_TRUE(ExitedWith(InChild([&] { return p[0] == 5 ? 0 : 1; }), 0));
  char* s = Map(1, MAP_SHARED);
  EXPECT_ERRNO(EINVAL, madvise(s, PageSize(), MADV_WIPEONFORK));
  munmap(p, 2 * PageSize());
  munmap(s, PageSize());
}

TEST(MadviseTest, DontforkLeavesAHoleInTheChild) {
  char* p = Map(1);
  ASSERT_EQ(madvise(p, PageSize(), MADV_DONTFORK), 0);
  auto absent = [&] {
    unsigned char c;
    return mincore(p, PageSize(), &c) == -1 && errno == ENOMEM ? 0 : 1;
  };
  EXPECT_TRUE(ExitedWith(InChild(absent), 0));
  ASSERT_EQ(madvise(p, PageSize(), MADV_DOFORK), 0);
  EXPECT_TRUE(ExitedWith(InChild(absent), 1));
  munmap(p, PageSize());
}

TEST(MadviseTest, RemovePunchesAHoleInSharedMemory) {
  char* p = Map(1, MAP_SHARED);
  p[0] = 1;
  ASSERT_EQ(madvise(p, PageSize(), MADV_REMOVE), 0) << strerror(errno);
  EXPECT_EQ(p[0], 0);
  char* q = Map(1);
  EXPECT_ERRNO(EINVAL, madvise(q, PageSize(), MADV_REMOVE));
  munmap(p, PageSize());
  munmap(q, PageSize());
}

TEST(MadviseTest, AHoleIsEnomemButTheRestIsDone) {
  size_t page = PageSize();
  char* p = Map(3);
  memset(p, 1, 3 * page);
  munmap(p + page, page);
  EXPECT_ERRNO(ENOMEM, madvise(p, 3 * page, MADV_DONTNEED));
  EXPECT_EQ(p[0], 0);
  EXPECT_EQ(p[2 * page], 0);
  munmap(p, 3 * page);
}

TEST(MadviseTest, HintsAreTakenAndNonsenseIsNot) {
  char* p = Map(1);
  for (int advice : {MADV_NORMAL, MADV_RANDOM, MADV_SEQUENTIAL, MADV_WILLNEED, MADV_DONTDUMP,
                     MADV_DODUMP, MADV_FREE}) {
    EXPECT_EQ(madvise(p, PageSize(), advice), 0) << advice;
  }
  EXPECT_ERRNO(EINVAL, madvise(p, PageSize(), 77));
  EXPECT_ERRNO(EINVAL, madvise(p + 1, PageSize(), MADV_NORMAL));
  EXPECT_EQ(madvise(p, 0, MADV_NORMAL), 0);
  EXPECT_ERRNO(EINVAL, madvise(p, ~size_t{0} - 100, MADV_NORMAL));
  munmap(p, PageSize());
}

}  // namespace
}  // namespace sandboxd::test
