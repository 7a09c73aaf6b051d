// mremap(2).
#include <cstring>

#include "test/syscalls/testing.h"

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif

namespace sandboxd::test {
namespace {

constexpr int kRw = PROT_READ | PROT_WRITE;

// `pages` pages with free room of `room` pages behind.
char* MapWithRoom(size_t pages, size_t room, int flags = MAP_PRIVATE) {
  void* p = mmap(nullptr, (pages + room) * PageSize(), kRw, flags | MAP_ANONYMOUS, -1, 0);
  EXPECT_NE(p, MAP_FAILED);
  if (room > 0) munmap(static_cast<char*>(p) + pages * PageSize(), room * PageSize());
  return static_cast<char*>(p);
}
bool IsMapped(void* p) {
  unsigned char c;
  return mincore(p, 1, &c) == 0;
}

TEST(MremapTest, GrowsInPlace) {
  size_t page = PageSize();
  char* p = MapWithRoom(2, 2);
  p[0] = 1;
  ASSERT_EQ(mremap(p, 2 * page, 4 * page, 0), p);
  EXPECT_EQ(p[0], 1);
  p[3 * page] = 2;
  // Again, over what has grown.
  munmap(p + 3 * page, page);
  ASSERT_EQ(mremap(p, 3 * page, 4 * page, 0), p);
  EXPECT_EQ(p[3 * page], 0);
  munmap(p, 4 * page);
}

TEST(MremapTest, WithoutRoomItMovesOrFails) {
  size_t page = PageSize();
  char* p = MapWithRoom(3, 0);
  ASSERT_EQ(mmap(p + 2 * page, page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
            p + 2 * page);
  p[page] = 5;
  EXPECT_ERRNO(ENOMEM, mremap(p, 2 * page, 8 * page, 0));
  char* q = static_cast<char*>(mremap(p, 2 * page, 8 * page, MREMAP_MAYMOVE));
  ASSERT_NE(q, MAP_FAILED);
  EXPECT_NE(q, p);
  EXPECT_EQ(q[page], 5);
  EXPECT_EQ(q[7 * page], 0);
  EXPECT_FALSE(IsMapped(p));
  munmap(q, 8 * page);
  munmap(p + 2 * page, page);
}

TEST(MremapTest, Shrinks) {
  size_t page = PageSize();
  char* p = MapWithRoom(3, 0);
  ASSERT_EQ(mremap(p, 3 * page, page, 0), p);
  EXPECT_TRUE(IsMapped(p));
  EXPECT_FALSE(IsMapped(p + page));
  munmap(p, page);
}

TEST(MremapTest, FixedMovesOntoAPlace) {
  size_t page = PageSize();
  char* p = MapWithRoom(2, 0);
  char* q = MapWithRoom(3, 0);
  strcpy(p, "moved");
  q[0] = 'x';
  ASSERT_EQ(mremap(p, 2 * page, 2 * page, MREMAP_MAYMOVE | MREMAP_FIXED, q), q);
  EXPECT_STREQ(q, "moved");
  EXPECT_TRUE(IsMapped(q + 2 * page));
  EXPECT_FALSE(IsMapped(p));
  EXPECT_ERRNO(EINVAL, mremap(q, 2 * page, 2 * page, MREMAP_MAYMOVE | MREMAP_FIXED, q + page));
  EXPECT_ERRNO(EINVAL, mremap(q, 2 * page, 2 * page, MREMAP_FIXED, p));
  munmap(q, 3 * page);
}

TEST(MremapTest, DontunmapLeavesEmptyMemoryBehind) {
  size_t page = PageSize();
  char* p = MapWithRoom(2, 0);
  strcpy(p, "here");
  char* q =
      static_cast<char*>(mremap(p, 2 * page, 2 * page, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, nullptr));
  ASSERT_NE(q, MAP_FAILED) << strerror(errno);
  EXPECT_STREQ(q, "here");
  EXPECT_EQ(p[0], 0);
  EXPECT_ERRNO(EINVAL, mremap(p, page, 2 * page, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, nullptr));
  munmap(p, 2 * page);
  munmap(q, 2 * page);
}

TEST(MremapTest, OldLengthZeroDuplicatesSharedMemory) {
  size_t page = PageSize();
  char* p = MapWithRoom(1, 0, MAP_SHARED);
  char* q = static_cast<char*>(mremap(p, 0, page, MREMAP_MAYMOVE));
  ASSERT_NE(q, MAP_FAILED);
  p[10] = 3;
  EXPECT_EQ(q[10], 3);
  char* r = MapWithRoom(1, 0);
  EXPECT_ERRNO(EINVAL, mremap(r, 0, page, MREMAP_MAYMOVE));
  munmap(p, page);
  munmap(q, page);
  munmap(r, page);
}

TEST(MremapTest, FileMappingsShowMoreOfTheFile) {
  size_t page = PageSize();
  TempFile file(std::string(page, 'a') + std::string(page, 'b') + std::string(page, 'c'));
  Fd fd = file.Open(O_RDONLY);
  char* p = static_cast<char*>(
      mmap(nullptr, page, PROT_READ, MAP_SHARED, fd.get(), static_cast<off_t>(page)));
  ASSERT_NE(p, MAP_FAILED);
  p = static_cast<char*>(mremap(p, page, 2 * page, MREMAP_MAYMOVE));
  ASSERT_NE(p, MAP_FAILED);
  EXPECT_EQ(p[0], 'b');
  EXPECT_EQ(p[page], 'c');
  munmap(p, 2 * page);
}

TEST(MremapTest, PartsOfAMappingCanMove) {
  size_t page = PageSize();
  char* p = MapWithRoom(4, 0);
  for (size_t i = 0; i < 4; i++) p[i * page] = static_cast<char>('0' + i);
  char* q = static_cast<char*>(mremap(p + page, 2 * page, 3 * page, MREMAP_MAYMOVE));
  ASSERT_NE(q, MAP_FAILED);
  EXPECT_EQ(q[0], '1');
  EXPECT_EQ(q[page], '2');
  EXPECT_EQ(p[3 * page], '3');
  EXPECT_FALSE(IsMapped(p + page));
  munmap(q, 3 * page);
  munmap(p, 4 * page);
}

TEST(MremapTest, InvalidArguments) {
  size_t page = PageSize();
  char* p = MapWithRoom(2, 1);
  EXPECT_ERRNO(EINVAL, mremap(p + 1, page, page, 0));
  EXPECT_ERRNO(EINVAL, mremap(p, page, 0, 0));
  EXPECT_ERRNO(EINVAL, mremap(p, page, page, 0x80));
  EXPECT_ERRNO(EFAULT, mremap(p + 2 * page, page, 2 * page, MREMAP_MAYMOVE));
  EXPECT_ERRNO(EFAULT, mremap(p, 3 * page, 4 * page, MREMAP_MAYMOVE));
  munmap(p, 2 * page);
}

}  // namespace
}  // namespace sandboxd::test
