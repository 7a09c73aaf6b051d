// pipe(2), pipe(7), fifo(7), splice(2), tee(2), vmsplice(2), sendfile(2), copy_file_range(2).
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/vfs.h>

#include <thread>

#include "test/syscalls/testing.h"

namespace sandboxd::test {
namespace {

struct Pipe {
  explicit Pipe(int flags = 0) {
    int ends[2] = {-1, -1};
    EXPECT_EQ(pipe2(ends, flags), 0);
    r = ends[0];
    w = ends[1];
  }
  ~Pipe() {
    CloseRead();
    CloseWrite();
  }
  void CloseRead() {
    if (r >= 0) close(std::exchange(r, -1));
  }
  void CloseWrite() {
    if (w >= 0) close(std::exchange(w, -1));
  }
  int r, w;
};

TEST(PipeTest, FlagsAndKinds) {
  Pipe p(O_CLOEXEC | O_NONBLOCK);
  EXPECT_EQ(fcntl(p.r, F_GETFD), FD_CLOEXEC);
  EXPECT_NE(fcntl(p.w, F_GETFL) & O_NONBLOCK, 0);
  struct stat st;
  ASSERT_EQ(fstat(p.r, &st), 0);
  EXPECT_TRUE(S_ISFIFO(st.st_mode));
  char c;
  EXPECT_ERRNO(EAGAIN, read(p.r, &c, 1));
  EXPECT_ERRNO(EBADF, write(p.r, &c, 1));
  int ends[2];
  EXPECT_ERRNO(EINVAL, pipe2(ends, O_APPEND));
}

TEST(PipeTest, EndOfFileAfterTheLastWriter) {
  Pipe p;
  ASSERT_EQ(write(p.w, "abc", 3), 3);
  int n = 0;
  ASSERT_EQ(ioctl(p.r, FIONREAD, &n), 0);
  EXPECT_EQ(n, 3);
  p.CloseWrite();
  char text[8];
  EXPECT_EQ(read(p.r, text, sizeof text), 3);
  EXPECT_EQ(read(p.r, text, sizeof text), 0);
}

TEST(PipeTest, WriteToClosedReaderRaisesSigpipe) {
  EXPECT_TRUE(KilledBy(InChild([] {
                         Pipe p;
                         p.CloseRead();
                         return write(p.w, "x", 1) == 1 ? 1 : 2;
                       }),
                       SIGPIPE));
  EXPECT_TRUE(ExitedWith(InChild([] {
                           signal(SIGPIPE, SIG_IGN);
                           Pipe p;
                           p.CloseRead();
                           return write(p.w, "x", 1) == -1 && errno == EPIPE ? 0 : 1;
                         }),
                         0));
}

TEST(PipeTest, SmallWritesAreAtomic) {
  Pipe p(O_NONBLOCK);
  std::string block(4096, 'x');
  int blocks = 0;
  while (write(p.w, block.data(), block.size()) == 4096) blocks++;
  EXPECT_EQ(errno, EAGAIN);
  EXPECT_EQ(blocks, 16);
  char text[100];
  ASSERT_EQ(read(p.r, text, sizeof text), 100);
  EXPECT_ERRNO(EAGAIN, write(p.w, block.data(), block.size()));
}

TEST(PipeTest, BlockingWriteGoesOnUntilAllIsThrough) {
  Pipe p;
  std::string text(500'000, 'a');
  std::thread writer([&] {
    EXPECT_EQ(write(p.w, text.data(), text.size()), static_cast<ssize_t>(text.size()));
    p.CloseWrite();
  });
  size_t total = 0;
  char buffer[10000];
  for (ssize_t n; (n = read(p.r, buffer, sizeof buffer)) > 0;) total += static_cast<size_t>(n);
  writer.join();
  EXPECT_EQ(total, text.size());
}

TEST(PipeTest, PollTellsBothEnds) {
  Pipe p;
  pollfd fds[2] = {{p.r, POLLIN, 0}, {p.w, POLLOUT, 0}};
  ASSERT_EQ(poll(fds, 2, 0), 1);
  EXPECT_EQ(fds[0].revents, 0);
  EXPECT_EQ(fds[1].revents, POLLOUT);
  p.CloseWrite();
  ASSERT_EQ(poll(fds, 1, 0), 1);
  EXPECT_EQ(fds[0].revents, POLLHUP);
  Pipe q;
  q.CloseRead();
  pollfd writer{q.w, POLLOUT, 0};
  ASSERT_EQ(poll(&writer, 1, 0), 1);
  EXPECT_EQ(writer.revents, POLLOUT | POLLERR);
}

TEST(PipeTest, PacketsKeepTheirBounds) {
  Pipe p(O_DIRECT);
  ASSERT_EQ(write(p.w, "first", 5), 5);
  ASSERT_EQ(write(p.w, "second", 6), 6);
  char text[64] = {};
  EXPECT_EQ(read(p.r, text, 2), 2);
  EXPECT_EQ(read(p.r, text, sizeof text), 6);
}

TEST(PipeTest, CapacityCanBeChanged) {
  Pipe p;
  EXPECT_EQ(fcntl(p.w, F_GETPIPE_SZ), 65536);
  EXPECT_EQ(fcntl(p.w, F_SETPIPE_SZ, 5000), 8192);
  EXPECT_EQ(fcntl(p.r, F_GETPIPE_SZ), 8192);
  std::string text(6000, 'x');
  ASSERT_EQ(write(p.w, text.data(), text.size()), 6000);
  EXPECT_ERRNO(EBUSY, fcntl(p.w, F_SETPIPE_SZ, 4096));
  TempFile file;
  EXPECT_ERRNO(EBADF, fcntl(file.Open(O_RDONLY).get(), F_GETPIPE_SZ));
}

TEST(PipeTest, InterruptedReadIsEintrOrRestarts) {
  EXPECT_TRUE(ExitedWith(InChild([] {
                           Pipe p;
                           struct sigaction action {};
                           action.sa_handler = [](int) {};
                           sigaction(SIGALRM, &action, nullptr);
                           itimerval often{{0, 20'000}, {0, 20'000}};
                           setitimer(ITIMER_REAL, &often, nullptr);
                           char c;
                           return read(p.r, &c, 1) == -1 && errno == EINTR ? 0 : 1;
                         }),
                         0));
}

TEST(FifoTest, OpenWaitsForTheOtherEnd) {
  TempDir dir;
  ASSERT_EQ(mkfifo((dir / "f").c_str(), 0644), 0);
  EXPECT_ERRNO(ENXIO, open((dir / "f").c_str(), O_WRONLY | O_NONBLOCK));
  fflush(nullptr);
  pid_t child = fork();
  if (child == 0) {
    Fd w(open((dir / "f").c_str(), O_WRONLY));
    _exit(write(w.get(), "hi", 2) == 2 ? 0 : 1);
  }
  Fd r(open((dir / "f").c_str(), O_RDONLY));
  char text[8];
  EXPECT_EQ(read(r.get(), text, sizeof text), 2);
  int status;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(ExitedWith(status, 0));
  EXPECT_EQ(read(r.get(), text, sizeof text), 0);
}

TEST(PipeTest, CanBeOpenedAgainThroughProc) {
  Pipe p;
  ASSERT_EQ(write(p.w, "left", 4), 4);
  p.CloseWrite();
  Fd again(open(("/proc/self/fd/" + std::to_string(p.r)).c_str(), O_RDONLY));
  ASSERT_GE(again.get(), 0);
  char text[8];
  EXPECT_EQ(read(again.get(), text, sizeof text), 4);
  EXPECT_EQ(read(again.get(), text, sizeof text), 0);
}

TEST(SpliceTest, MovesBetweenFilesAndPipes) {
  TempFile from("hello, pipe"), to;
  Fd in = from.Open(O_RDONLY), out = to.Open(O_RDWR);
  Pipe p;
  off_t offset = 7;
  ASSERT_EQ(splice(in.get(), &offset, p.w, nullptr, 100, 0), 4);
  EXPECT_EQ(offset, 11);
  ASSERT_EQ(splice(p.r, nullptr, out.get(), nullptr, 4, 0), 4);
  EXPECT_EQ(ReadFile(to.path()), "pipe");
  EXPECT_ERRNO(EINVAL, splice(in.get(), nullptr, out.get(), nullptr, 4, 0));
  EXPECT_ERRNO(ESPIPE, splice(p.r, &offset, out.get(), nullptr, 4, 0));
  EXPECT_ERRNO(EAGAIN, splice(p.r, nullptr, out.get(), nullptr, 4, SPLICE_F_NONBLOCK));
  EXPECT_ERRNO(EINVAL, splice(p.r, nullptr, p.w, nullptr, 4, 0));
}

TEST(SpliceTest, TeeDuplicatesAndVmspliceFills) {
  Pipe a, b;
  iovec vec{const_cast<char*>("twice"), 5};
  ASSERT_EQ(vmsplice(a.w, &vec, 1, 0), 5);
  ASSERT_EQ(tee(a.r, b.w, 100, 0), 5);
  char text[8] = {};
  EXPECT_EQ(read(a.r, text, sizeof text), 5);
  EXPECT_EQ(read(b.r, text, sizeof text), 5);
  EXPECT_STREQ(text, "twice");
  EXPECT_ERRNO(EINVAL, tee(a.r, a.w, 1, 0));
}

TEST(SendfileTest, FromAFileToAnything) {
  TempFile from("0123456789"), to;
  Fd in = from.Open(O_RDONLY), out = to.Open(O_RDWR);
  off_t offset = 3;
  ASSERT_EQ(sendfile(out.get(), in.get(), &offset, 4), 4);
  EXPECT_EQ(offset, 7);
  EXPECT_EQ(lseek(in.get(), 0, SEEK_CUR), 0);
  ASSERT_EQ(sendfile(out.get(), in.get(), nullptr, 2), 2);
  EXPECT_EQ(lseek(in.get(), 0, SEEK_CUR), 2);
  EXPECT_EQ(ReadFile(to.path()), "345601");
  Pipe p;
  ASSERT_EQ(sendfile(p.w, in.get(), nullptr, 100), 8);
  EXPECT_EQ(sendfile(p.w, in.get(), nullptr, 100), 0);
  EXPECT_ERRNO(EBADF, sendfile(in.get(), in.get(), nullptr, 1));
  EXPECT_ERRNO(EINVAL, sendfile(to.Open(O_WRONLY | O_APPEND).get(), in.get(), nullptr, 1));
}

TEST(CopyFileRangeTest, CopiesWithinTheRules) {
  TempFile from("0123456789"), to("xxxxxxxxxx");
  Fd in = from.Open(O_RDWR), out = to.Open(O_RDWR);
  off_t a = 2, b = 5;
  ssize_t n = copy_file_range(in.get(), &a, out.get(), &b, 3, 0);
  if (n < 0 && (errno == EXDEV || errno == EOPNOTSUPP)) GTEST_SKIP() << "not on this file system";
  ASSERT_EQ(n, 3);
  EXPECT_EQ(ReadFile(to.path()), "xxxxx234xx");
  EXPECT_EQ(a, 5);
  a = 0, b = 2;
  EXPECT_ERRNO(EINVAL, copy_file_range(in.get(), &a, in.get(), &b, 5, 0));
  EXPECT_ERRNO(EINVAL, copy_file_range(in.get(), nullptr, out.get(), nullptr, 1, 1));
  Fd folder(open("/tmp", O_RDONLY));
  EXPECT_ERRNO(EISDIR, copy_file_range(folder.get(), nullptr, out.get(), nullptr, 1, 0));
  EXPECT_ERRNO(EBADF, copy_file_range(in.get(), nullptr, from.Open(O_RDONLY).get(), nullptr, 1, 0));
}

TEST(PipeTest, HasNoFlagsAndAFileSystemOfItsOwn) {
  int fds[2];
  ASSERT_EQ(pipe(fds), 0);
  Fd in(fds[0]), out(fds[1]);
  EXPECT_EQ(fcntl(in.get(), F_GETFL), O_RDONLY);
  EXPECT_EQ(fcntl(out.get(), F_GETFL), O_WRONLY);
  struct statfs st;
  ASSERT_EQ(fstatfs(in.get(), &st), 0);
  EXPECT_EQ(st.f_type, 0x50495045);
}

TEST(PipeTest, SpliceIntoAFullPipeMovesWhatFits) {
  int a[2], b[2];
  ASSERT_EQ(pipe(a), 0);
  ASSERT_EQ(pipe(b), 0);
  Fd from(a[0]), from_end(a[1]), to_end(b[0]), to(b[1]);
  const int page = static_cast<int>(PageSize());
  ASSERT_EQ(fcntl(to.get(), F_SETPIPE_SZ, page), page);
  std::string text(static_cast<size_t>(2 * page), 'x');
  ASSERT_EQ(write(from_end.get(), text.data(), text.size()), 2 * page);
  EXPECT_EQ(splice(from.get(), nullptr, to.get(), nullptr, text.size(), 0), page);
}

}  // namespace
}  // namespace sandboxd::test
