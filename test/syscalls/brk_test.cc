// brk(2), through the system call: the C library keeps its own idea of the break.
#include <sys/resource.h>
#include <sys/syscall.h>

#include "test/syscalls/testing.h"

namespace sandboxd::test {
namespace {

char* Brk(char* to) { return reinterpret_cast<char*>(syscall(SYS_brk, to)); }

// Each in a child, whose heap nobody else uses.
int InFreshHeap(int (*body)(char* start)) {
  return InChild([&] { return body(Brk(nullptr)); });
}

TEST(BrkTest, GrowsWithZeroedMemoryAndShrinks) {
  int status = InFreshHeap([](char* start) {
    char* to = start + 5 * PageSize();
    if (Brk(to) != to) return 1;
    for (char* p = start; p < to; p++) {
      if (*p != 0) return 2;
      *p = 1;
    }
    if (Brk(start + PageSize()) != start + PageSize()) return 3;
    if (Brk(to) != to) return 4;
    for (char* p = start + 2 * PageSize(); p < to; p++) {
      if (*p != 0) return 5;
    }
    return 0;
  });
  EXPECT_TRUE(ExitedWith(status, 0)) << status;
}

TEST(BrkTest, AnImpossibleRequestGivesTheOldBreak) {
  int status = InFreshHeap([](char* start) {
    if (Brk(reinterpret_cast<char*>(1)) != start) return 1;
    if (Brk(reinterpret_cast<char*>(~uintptr_t{0})) != start) return 2;
    void* wall = mmap(start + 8 * PageSize(), PageSize(), PROT_READ,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    if (wall == MAP_FAILED) return 0;  // something is there already
    return Brk(start + 10 * PageSize()) == start ? 0 : 3;
  });
  EXPECT_TRUE(ExitedWith(status, 0)) << status;
}

TEST(BrkTest, DataLimitHolds) {
  int status = InFreshHeap([](char* start) {
    rlimit limit = {64 << 20, 64 << 20};
    if (setrlimit(RLIMIT_DATA, &limit) != 0) return 1;
    return Brk(start + (128 << 20)) == start ? 0 : 2;
  });
  EXPECT_TRUE(ExitedWith(status, 0)) << status;
}

TEST(BrkTest, UnalignedBreaksAreKept) {
  int status = InFreshHeap([](char* start) {
    if (Brk(start + 123) != start + 123) return 1;
    return Brk(nullptr) == start + 123 ? 0 : 2;
  });
  EXPECT_TRUE(ExitedWith(status, 0)) << status;
}

}  // namespace
}  // namespace sandboxd::test
