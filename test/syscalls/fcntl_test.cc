// fcntl(2): flags and duplicates; record locks, open file description locks, flock(2).
#include <signal.h>
#include <sys/file.h>
#include <sys/ioctl.h>

#include "test/syscalls/testing.h"

namespace sandboxd::test {
namespace {

TEST(FcntlTest, DescriptorAndStatusFlags) {
  TempFile file;
  Fd fd = file.Open(O_RDWR);
  EXPECT_EQ(fcntl(fd.get(), F_GETFD), 0);
  ASSERT_EQ(fcntl(fd.get(), F_SETFD, FD_CLOEXEC), 0);
  EXPECT_EQ(fcntl(fd.get(), F_GETFD), FD_CLOEXEC);
  EXPECT_EQ(fcntl(fd.get(), F_GETFL) & O_ACCMODE, O_RDWR);
  ASSERT_EQ(fcntl(fd.get(), F_SETFL, O_APPEND | O_NONBLOCK | O_WRONLY | O_CREAT), 0);
  EXPECT_EQ(fcntl(fd.get(), F_GETFL) & (O_APPEND | O_NONBLOCK | O_ACCMODE | O_CREAT),
            O_APPEND | O_NONBLOCK | O_RDWR);
  ASSERT_EQ(fcntl(fd.get(), F_SETFL, 0), 0);
  EXPECT_EQ(fcntl(fd.get(), F_GETFL) & (O_APPEND | O_NONBLOCK), 0);
  EXPECT_ERRNO(EINVAL, fcntl(fd.get(), 99999));
  EXPECT_ERRNO(EBADF, fcntl(-1, F_GETFD));
  int high = fcntl(fd.get(), F_DUPFD_CLOEXEC, 150);
  EXPECT_GE(high, 150);
  EXPECT_EQ(fcntl(high, F_GETFD), FD_CLOEXEC);
  close(high);
}

TEST(IoctlTest, GenericCommands) {
  TempFile file("abcdef");
  Fd fd = file.Open(O_RDONLY);
  ASSERT_EQ(ioctl(fd.get(), FIOCLEX), 0);
  EXPECT_EQ(fcntl(fd.get(), F_GETFD), FD_CLOEXEC);
  ASSERT_EQ(ioctl(fd.get(), FIONCLEX), 0);
  EXPECT_EQ(fcntl(fd.get(), F_GETFD), 0);
  int on = 1, n = 0;
  ASSERT_EQ(ioctl(fd.get(), FIONBIO, &on), 0);
  EXPECT_NE(fcntl(fd.get(), F_GETFL) & O_NONBLOCK, 0);
  char c;
  ASSERT_EQ(read(fd.get(), &c, 1), 1);
  ASSERT_EQ(ioctl(fd.get(), FIONREAD, &n), 0);
  EXPECT_EQ(n, 5);
  EXPECT_ERRNO(ENOTTY, ioctl(fd.get(), TIOCGWINSZ, &n));
  EXPECT_ERRNO(EFAULT, ioctl(fd.get(), FIONBIO, 8));
}

struct flock Lock(short type, off_t start, off_t length) {
  struct flock l {};
  l.l_type = type;
  l.l_whence = SEEK_SET;
  l.l_start = start;
  l.l_len = length;
  return l;
}

// In a child, so that another process asks. 0: no conflict; else the type found.
int Probe(const TempFile& file, short type, off_t start, off_t length) {
  int status = InChild([&] {
    Fd fd = file.Open(O_RDWR);
    struct flock l = Lock(type, start, length);
    if (fcntl(fd.get(), F_GETLK, &l) != 0) return 90;
    if (l.l_type == F_UNLCK) return 0;
    if (l.l_pid != getppid()) return 91;
    return l.l_type == F_WRLCK ? 1 : 2;
  });
  return WEXITSTATUS(status);
}

TEST(RecordLockTest, ConflictsAreSeenByOthersOnly) {
  TempFile file("0123456789");
  Fd fd = file.Open(O_RDWR);
  struct flock l = Lock(F_WRLCK, 2, 3);
  ASSERT_EQ(fcntl(fd.get(), F_SETLK, &l), 0);
  EXPECT_EQ(Probe(file, F_RDLCK, 0, 2), 0);
  EXPECT_EQ(Probe(file, F_RDLCK, 0, 3), 1);
  EXPECT_EQ(Probe(file, F_RDLCK, 5, 0), 0);
  l = Lock(F_RDLCK, 3, 1);
  ASSERT_EQ(fcntl(fd.get(), F_SETLK, &l), 0);
  EXPECT_EQ(Probe(file, F_RDLCK, 3, 1), 0);
  EXPECT_EQ(Probe(file, F_WRLCK, 3, 1), 2);
  EXPECT_EQ(Probe(file, F_WRLCK, 4, 1), 1);
  l = Lock(F_UNLCK, 0, 0);
  ASSERT_EQ(fcntl(fd.get(), F_SETLK, &l), 0);
  EXPECT_EQ(Probe(file, F_WRLCK, 0, 0), 0);
}

TEST(RecordLockTest, ClosingAnyDescriptorDropsThem) {
  TempFile file;
  Fd fd = file.Open(O_RDWR);
  struct flock l = Lock(F_WRLCK, 0, 0);
  ASSERT_EQ(fcntl(fd.get(), F_SETLK, &l), 0);
  EXPECT_EQ(Probe(file, F_WRLCK, 0, 0), 1);
  { Fd other = file.Open(O_RDONLY); }
  EXPECT_EQ(Probe(file, F_WRLCK, 0, 0), 0);
}

TEST(RecordLockTest, RefusesWrongArguments) {
  TempFile file;
  Fd reader = file.Open(O_RDONLY), writer = file.Open(O_WRONLY);
  struct flock l = Lock(F_WRLCK, 0, 0);
  EXPECT_ERRNO(EBADF, fcntl(reader.get(), F_SETLK, &l));
  l = Lock(F_RDLCK, 0, 0);
  EXPECT_ERRNO(EBADF, fcntl(writer.get(), F_SETLK, &l));
  l = Lock(77, 0, 0);
  EXPECT_ERRNO(EINVAL, fcntl(reader.get(), F_SETLK, &l));
  l = Lock(F_RDLCK, -1, 0);
  EXPECT_ERRNO(EINVAL, fcntl(reader.get(), F_SETLK, &l));
}

TEST(RecordLockTest, WaitingEndsWithTheUnlock) {
  TempFile file;
  Fd fd = file.Open(O_RDWR);
  struct flock l = Lock(F_WRLCK, 0, 0);
  ASSERT_EQ(fcntl(fd.get(), F_SETLK, &l), 0);
  int ready[2];
  ASSERT_EQ(pipe(ready), 0);
  fflush(nullptr);
  pid_t child = fork();
  if (child == 0) {
    Fd own = file.Open(O_RDWR);
    struct flock wait = Lock(F_WRLCK, 0, 0);
    if (write(ready[1], "r", 1) != 1) _exit(1);
    _exit(fcntl(own.get(), F_SETLKW, &wait) == 0 ? 0 : 2);
  }
  char c;
  ASSERT_EQ(read(ready[0], &c, 1), 1);
  l = Lock(F_UNLCK, 0, 0);
  ASSERT_EQ(fcntl(fd.get(), F_SETLK, &l), 0);
  int status;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(ExitedWith(status, 0));
  close(ready[0]);
  close(ready[1]);
}

TEST(RecordLockTest, DeadlockIsFound) {
  TempFile file;
  Fd fd = file.Open(O_RDWR);
  struct flock mine = Lock(F_WRLCK, 0, 1);
  ASSERT_EQ(fcntl(fd.get(), F_SETLK, &mine), 0);
  int ready[2];
  ASSERT_EQ(pipe(ready), 0);
  fflush(nullptr);
  pid_t child = fork();
  if (child == 0) {
    Fd own = file.Open(O_RDWR);
    struct flock second = Lock(F_WRLCK, 1, 1), first = Lock(F_WRLCK, 0, 1);
    if (fcntl(own.get(), F_SETLK, &second) != 0) _exit(1);
    if (write(ready[1], "r", 1) != 1) _exit(1);
    // One of the two is told; if it is not us, we get the lock when the other exits.
    int r = fcntl(own.get(), F_SETLKW, &first);
    _exit(r == 0 ? 0 : (errno == EDEADLK ? 35 : 2));
  }
  char c;
  ASSERT_EQ(read(ready[0], &c, 1), 1);
  struct flock other = Lock(F_WRLCK, 1, 1);
  bool told = fcntl(fd.get(), F_SETLKW, &other) == -1;
  if (told) {
    EXPECT_EQ(errno, EDEADLK);
  }
  mine = Lock(F_UNLCK, 0, 0);
  ASSERT_EQ(fcntl(fd.get(), F_SETLK, &mine), 0);
  int status;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(ExitedWith(status, told ? 0 : 35));
  close(ready[0]);
  close(ready[1]);
}

TEST(OfdLockTest, BelongToTheDescription) {
  TempFile file;
  Fd a = file.Open(O_RDWR), b = file.Open(O_RDWR);
  struct flock l = Lock(F_WRLCK, 0, 0);
  ASSERT_EQ(fcntl(a.get(), F_OFD_SETLK, &l), 0);
  EXPECT_ERRNO(EAGAIN, fcntl(b.get(), F_OFD_SETLK, &l));
  struct flock probe = Lock(F_RDLCK, 0, 0);
  ASSERT_EQ(fcntl(b.get(), F_OFD_GETLK, &probe), 0);
  EXPECT_EQ(probe.l_type, F_WRLCK);
  EXPECT_EQ(probe.l_pid, -1);
  { Fd other = file.Open(O_RDONLY); }
  EXPECT_ERRNO(EAGAIN, fcntl(b.get(), F_OFD_SETLK, &l));
  l.l_pid = 1;
  EXPECT_ERRNO(EINVAL, fcntl(b.get(), F_OFD_SETLK, &l));
}

TEST(FlockTest, SharedExclusiveAndDup) {
  TempFile file;
  Fd a = file.Open(O_RDONLY), b = file.Open(O_RDONLY);
  ASSERT_EQ(flock(a.get(), LOCK_SH), 0);
  ASSERT_EQ(flock(b.get(), LOCK_SH | LOCK_NB), 0);
  EXPECT_ERRNO(EWOULDBLOCK, flock(a.get(), LOCK_EX | LOCK_NB));
  ASSERT_EQ(flock(b.get(), LOCK_UN), 0);
  {
    Fd copy(dup(a.get()));
    ASSERT_EQ(flock(copy.get(), LOCK_EX | LOCK_NB), 0);
  }
  EXPECT_ERRNO(EWOULDBLOCK, flock(b.get(), LOCK_SH | LOCK_NB));
  EXPECT_ERRNO(EINVAL, flock(a.get(), 0x40));
  EXPECT_ERRNO(EBADF, flock(-1, LOCK_SH));
}

TEST(FlockTest, GoesWithTheLastDescriptor) {
  TempFile file;
  Fd b = file.Open(O_RDONLY);
  {
    Fd a = file.Open(O_RDONLY);
    ASSERT_EQ(flock(a.get(), LOCK_EX), 0);
    EXPECT_ERRNO(EWOULDBLOCK, flock(b.get(), LOCK_EX | LOCK_NB));
  }
  EXPECT_EQ(flock(b.get(), LOCK_EX | LOCK_NB), 0);
}

TEST(FcntlTest, OwnerMustExist) {
  TempFile file;
  Fd fd = file.Open(O_RDWR);
  EXPECT_ERRNO(ESRCH, fcntl(fd.get(), F_SETOWN, 12345678));
  EXPECT_ERRNO(ESRCH, fcntl(fd.get(), F_SETOWN, -12345678));
  EXPECT_EQ(fcntl(fd.get(), F_SETOWN, getpid()), 0);
  EXPECT_EQ(fcntl(fd.get(), F_GETOWN), getpid());
  EXPECT_EQ(fcntl(fd.get(), F_SETOWN, 0), 0);
}

}  // namespace
}  // namespace sandboxd::test
