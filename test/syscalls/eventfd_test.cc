// eventfd(2).
#include <poll.h>
#include <sys/eventfd.h>

#include <cstdint>
#include <cstring>
#include <thread>

#include "test/syscalls/testing.h"

namespace sandboxd::test {
namespace {

ssize_t Add(int fd, uint64_t value) { return write(fd, &value, sizeof(value)); }
uint64_t Take(int fd) {
  uint64_t value = 0;
  EXPECT_EQ(read(fd, &value, sizeof(value)), 8);
  return value;
}

TEST(EventfdTest, ReadTakesTheSum) {
  Fd fd(eventfd(3, EFD_NONBLOCK));
  ASSERT_GE(fd.get(), 0);
  EXPECT_EQ(Add(fd.get(), 4), 8);
  EXPECT_EQ(Take(fd.get()), 7u);
  uint64_t value;
  EXPECT_ERRNO(EAGAIN, read(fd.get(), &value, sizeof(value)));
}

TEST(EventfdTest, SemaphoreReadsTakeOne) {
  Fd fd(eventfd(2, EFD_SEMAPHORE | EFD_NONBLOCK));
  EXPECT_EQ(Take(fd.get()), 1u);
  EXPECT_EQ(Take(fd.get()), 1u);
  uint64_t value;
  EXPECT_ERRNO(EAGAIN, read(fd.get(), &value, sizeof(value)));
}

TEST(EventfdTest, OverflowWaitsAndBadSizesAreRefused) {
  Fd fd(eventfd(0, EFD_NONBLOCK));
  EXPECT_EQ(Add(fd.get(), UINT64_MAX - 1), 8);
  EXPECT_ERRNO(EAGAIN, Add(fd.get(), 1));
  EXPECT_ERRNO(EINVAL, Add(fd.get(), UINT64_MAX));
  EXPECT_ERRNO(EINVAL, write(fd.get(), "1234567", 7));
  char small[7];
  EXPECT_ERRNO(EINVAL, read(fd.get(), small, sizeof(small)));
  pollfd p = {fd.get(), POLLIN | POLLOUT, 0};
  EXPECT_EQ(poll(&p, 1, 0), 1);
  EXPECT_EQ(p.revents, POLLIN);
  EXPECT_ERRNO(EINVAL, eventfd(0, 4));
  EXPECT_EQ(lseek(fd.get(), 5, SEEK_SET), 0);
}

TEST(EventfdTest, AWriterWakesAReader) {
  Fd fd(eventfd(0, 0));
  uint64_t got = 0;
  std::thread reader([&] { got = Take(fd.get()); });
  EXPECT_EQ(Add(fd.get(), 42), 8);
  reader.join();
  EXPECT_EQ(got, 42u);
}

}  // namespace
}  // namespace sandboxd::test
