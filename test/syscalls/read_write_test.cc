// read(2), write(2), readv(2), pread(2), preadv2(2), lseek(2), truncate(2), fallocate(2).
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "test/syscalls/testing.h"

namespace sandboxd::test {
namespace {

TEST(ReadWriteTest, ModesAndDescriptorsAreChecked) {
  TempFile file("abc");
  Fd reader = file.Open(O_RDONLY), writer = file.Open(O_WRONLY);
  char c = 'x';
  EXPECT_ERRNO(EBADF, write(reader.get(), &c, 1));
  EXPECT_ERRNO(EBADF, read(writer.get(), &c, 1));
  EXPECT_ERRNO(EBADF, read(-1, &c, 1));
  EXPECT_ERRNO(EFAULT, syscall(SYS_read, reader.get(), 8, 1));
  Fd folder(open("/", O_RDONLY));
  EXPECT_ERRNO(EISDIR, read(folder.get(), &c, 1));
  EXPECT_EQ(read(reader.get(), &c, 0), 0);
}

TEST(ReadWriteTest, PositionMovesByWhatWasMoved) {
  TempFile file("abcdef");
  Fd fd = file.Open(O_RDWR);
  char buffer[16] = {};
  EXPECT_EQ(read(fd.get(), buffer, 4), 4);
  EXPECT_EQ(write(fd.get(), "XYZ", 3), 3);
  EXPECT_EQ(lseek(fd.get(), 0, SEEK_CUR), 7);
  EXPECT_EQ(pread(fd.get(), buffer, sizeof buffer, 0), 7);
  EXPECT_STREQ(buffer, "abcdXYZ");
  EXPECT_EQ(lseek(fd.get(), 0, SEEK_CUR), 7);
  EXPECT_EQ(pread(fd.get(), buffer, 1, 100), 0);
  EXPECT_ERRNO(EINVAL, pread(fd.get(), buffer, 1, -1));
}

TEST(ReadWriteTest, AppendIgnoresThePosition) {
  TempFile file("abc");
  Fd fd = file.Open(O_RDWR | O_APPEND);
  ASSERT_EQ(lseek(fd.get(), 0, SEEK_SET), 0);
  ASSERT_EQ(write(fd.get(), "def", 3), 3);
  EXPECT_EQ(lseek(fd.get(), 0, SEEK_CUR), 6);
  // pwrite(2), BUGS: O_APPEND wins over the offset.
  ASSERT_EQ(pwrite(fd.get(), "g", 1, 0), 1);
  EXPECT_EQ(ReadFile(file.path()), "abcdefg");
}

TEST(ReadWriteTest, VectorsScatterAndGather) {
  TempFile file;
  Fd fd = file.Open(O_RDWR);
  iovec out[3] = {{const_cast<char*>("ab"), 2}, {nullptr, 0}, {const_cast<char*>("cde"), 3}};
  ASSERT_EQ(writev(fd.get(), out, 3), 5);
  char a[3] = {}, b[8] = {};
  iovec in[2] = {{a, 2}, {b, 7}};
  ASSERT_EQ(preadv(fd.get(), in, 2, 1), 4);
  EXPECT_STREQ(a, "bc");
  EXPECT_STREQ(b, "de");
  EXPECT_EQ(readv(fd.get(), in, 0), 0);
  EXPECT_ERRNO(EINVAL, syscall(SYS_readv, fd.get(), in, 1025));
  EXPECT_ERRNO(EINVAL, syscall(SYS_readv, fd.get(), in, -1));
  in[0].iov_len = static_cast<size_t>(-1);
  EXPECT_ERRNO(EINVAL, readv(fd.get(), in, 2));
}

TEST(ReadWriteTest, Preadv2TakesFlagsAndThePosition) {
  TempFile file("abc");
  Fd fd = file.Open(O_RDWR);
  char buffer[8] = {};
  iovec in{buffer, 2};
  ASSERT_EQ(preadv2(fd.get(), &in, 1, -1, 0), 2);
  EXPECT_EQ(lseek(fd.get(), 0, SEEK_CUR), 2);
  EXPECT_ERRNO(EOPNOTSUPP, preadv2(fd.get(), &in, 1, 0, 0x40000000));
  iovec out{const_cast<char*>("Z"), 1};
  ASSERT_EQ(pwritev2(fd.get(), &out, 1, 0, RWF_APPEND), 1);
  EXPECT_EQ(ReadFile(file.path()), "abcZ");
}

TEST(ReadWriteTest, PartOfTheBufferIsUnmapped) {
  size_t page = PageSize();
  char* p = static_cast<char*>(
      mmap(nullptr, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  ASSERT_NE(p, MAP_FAILED);
  ASSERT_EQ(munmap(p + page, page), 0);
  memset(p, 'q', page);
  TempFile file;
  Fd fd = file.Open(O_RDWR);
  EXPECT_EQ(write(fd.get(), p + page - 10, 20), 10);
  ASSERT_EQ(lseek(fd.get(), 0, SEEK_SET), 0);
  EXPECT_ERRNO(EFAULT, write(fd.get(), p + page, 10));
  munmap(p, page);
}

TEST(LseekTest, RulesOfWhence) {
  TempFile file("abc");
  Fd fd = file.Open(O_RDONLY);
  EXPECT_EQ(lseek(fd.get(), 10, SEEK_END), 13);
  EXPECT_EQ(lseek(fd.get(), -3, SEEK_CUR), 10);
  EXPECT_ERRNO(EINVAL, lseek(fd.get(), -1, SEEK_SET));
  EXPECT_ERRNO(EINVAL, lseek(fd.get(), 0, 77));
  EXPECT_EQ(lseek(fd.get(), 1, SEEK_DATA), 1);
  EXPECT_EQ(lseek(fd.get(), 1, SEEK_HOLE), 3);
  EXPECT_ERRNO(ENXIO, lseek(fd.get(), 3, SEEK_DATA));
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  EXPECT_ERRNO(ESPIPE, lseek(ends[0], 0, SEEK_SET));
  char c;
  EXPECT_ERRNO(ESPIPE, pread(ends[0], &c, 1, 0));
  close(ends[0]);
  close(ends[1]);
}

TEST(TruncateTest, GrowsWithZerosAndShrinks) {
  TempFile file("abcdef");
  ASSERT_EQ(truncate(file.path(), 2), 0);
  ASSERT_EQ(truncate(file.path(), 4), 0);
  EXPECT_EQ(ReadFile(file.path()), std::string("ab\0\0", 4));
  EXPECT_ERRNO(EINVAL, truncate(file.path(), -1));
  EXPECT_ERRNO(EISDIR, truncate("/tmp", 0));
  EXPECT_ERRNO(ENOENT, truncate("/tmp/none/f", 0));
  Fd reader = file.Open(O_RDONLY);
  EXPECT_ERRNO(EINVAL, ftruncate(reader.get(), 0));
}

TEST(FileSizeLimitTest, CutsThenRaisesSigxfsz) {
  EXPECT_TRUE(ExitedWith(InChild([] {
                           TempFile file;
                           Fd fd = file.Open(O_RDWR);
                           static volatile sig_atomic_t signals = 0;
                           signal(SIGXFSZ, [](int) { signals = signals + 1; });
                           rlimit limit{4, RLIM_INFINITY};
                           if (setrlimit(RLIMIT_FSIZE, &limit) != 0) return 1;
                           if (write(fd.get(), "123456", 6) != 4) return 2;
                           if (signals != 0) return 3;
                           if (write(fd.get(), "7", 1) != -1 || errno != EFBIG) return 4;
                           if (signals != 1) return 5;
                           if (ftruncate(fd.get(), 5) != -1 || errno != EFBIG) return 6;
                           return 0;
                         }),
                         0));
}

TEST(FallocateTest, AllocatesAndPunches) {
  TempFile file("abcdef");
  Fd fd = file.Open(O_RDWR);
  if (fallocate(fd.get(), 0, 0, 100) != 0 && errno == EOPNOTSUPP) GTEST_SKIP() << "no fallocate";
  struct stat st;
  ASSERT_EQ(fstat(fd.get(), &st), 0);
  EXPECT_EQ(st.st_size, 100);
  ASSERT_EQ(fallocate(fd.get(), FALLOC_FL_KEEP_SIZE, 0, 10000), 0);
  ASSERT_EQ(fstat(fd.get(), &st), 0);
  EXPECT_EQ(st.st_size, 100);
  ASSERT_EQ(fallocate(fd.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 1, 2), 0);
  char text[7] = {};
  ASSERT_EQ(pread(fd.get(), text, 6, 0), 6);
  EXPECT_EQ(std::string(text, 6), std::string("a\0\0def", 6));
  EXPECT_ERRNO(EINVAL, fallocate(fd.get(), 0, -1, 1));
  EXPECT_ERRNO(EINVAL, fallocate(fd.get(), 0, 0, 0));
  EXPECT_ERRNO(EOPNOTSUPP, fallocate(fd.get(), FALLOC_FL_PUNCH_HOLE, 0, 1));
  Fd reader = file.Open(O_RDONLY);
  EXPECT_ERRNO(EBADF, fallocate(reader.get(), 0, 0, 1));
}

TEST(ReadWriteTest, LargeFilesKeepEveryByte) {
  TempFile file;
  Fd fd = file.Open(O_RDWR);
  std::string text(300'000, '\0');
  for (size_t i = 0; i < text.size(); i++) text[i] = static_cast<char>(i * 7 + i / 251);
  ASSERT_EQ(write(fd.get(), text.data(), text.size()), static_cast<ssize_t>(text.size()));
  std::string back(text.size(), '\0');
  ASSERT_EQ(pread(fd.get(), back.data(), back.size(), 0), static_cast<ssize_t>(back.size()));
  EXPECT_EQ(back == text, true);
  EXPECT_EQ(fsync(fd.get()), 0);
  EXPECT_EQ(fdatasync(fd.get()), 0);
}

TEST(ReadWriteTest, NothingReachesBeyondTheLargestOffset) {
  TempFile file("text");
  Fd fd = file.Open(O_RDWR);
  char c[2];
  EXPECT_ERRNO(EINVAL, pread(fd.get(), c, 2, INT64_MAX));
  EXPECT_ERRNO(EINVAL, pwrite(fd.get(), c, 2, INT64_MAX));
}

TEST(ReadWriteTest, VectorsAreCheckedBeforeAnythingMoves) {
  TempFile file("text");
  Fd fd = file.Open(O_RDONLY);
  char c[4];
  iovec iov[2] = {{c, 2}, {reinterpret_cast<void*>(uint64_t{1} << 63), 1}};
  EXPECT_ERRNO(EFAULT, readv(fd.get(), iov, 2));
}

}  // namespace
}  // namespace sandboxd::test
