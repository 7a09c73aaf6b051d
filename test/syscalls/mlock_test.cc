// mlock(2), mlockall(2), munlock(2).
#include <sys/resource.h>
#include <sys/syscall.h>

#include <cstring>

#include "test/syscalls/testing.h"

namespace sandboxd::test {
namespace {

char* Map(size_t pages) {
  void* p =
      mmap(nullptr, pages * PageSize(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  EXPECT_NE(p, MAP_FAILED);
  return static_cast<char*>(p);
}
long LockedKib() {
  std::string status = ReadFile("/proc/self/status");
  size_t at = status.find("VmLck:");
  return at == std::string::npos ? -1 : atol(status.c_str() + at + 6);
}

TEST(MlockTest, CountsAndMakesPresent) {
  char* p = Map(4);
  if (mlock(p, 4 * PageSize()) != 0) GTEST_SKIP() << "no right to lock memory here";
  unsigned char present[4] = {};
  ASSERT_EQ(mincore(p, 4 * PageSize(), present), 0);
  for (unsigned char c : present) EXPECT_EQ(c & 1, 1);
  EXPECT_EQ(LockedKib(), static_cast<long>(4 * PageSize() / 1024));
  EXPECT_EQ(munlock(p + PageSize(), PageSize()), 0);
  EXPECT_EQ(LockedKib(), static_cast<long>(3 * PageSize() / 1024));
  EXPECT_ERRNO(EINVAL, madvise(p, PageSize(), MADV_DONTNEED));
  munmap(p, 4 * PageSize());
  EXPECT_EQ(LockedKib(), 0);
}

TEST(MlockTest, HolesAreEnomem) {
  char* p = Map(2);
  munmap(p + PageSize(), PageSize());
  EXPECT_ERRNO(ENOMEM, mlock(p, 2 * PageSize()));
  EXPECT_ERRNO(ENOMEM, munlock(p, 2 * PageSize()));
  munmap(p, PageSize());
}

TEST(MlockTest, InvalidFlags) {
  char* p = Map(1);
  EXPECT_ERRNO(EINVAL, syscall(SYS_mlock2, p, PageSize(), 2));
  EXPECT_ERRNO(EINVAL, mlockall(0));
  EXPECT_ERRNO(EINVAL, mlockall(MCL_ONFAULT));
  EXPECT_EQ(munlockall(), 0);
  munmap(p, PageSize());
}

}  // namespace
}  // namespace sandboxd::test
