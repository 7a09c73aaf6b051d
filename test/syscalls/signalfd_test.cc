// signalfd(2).
#include <poll.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>

#include <csignal>
#include <cstring>

#include "test/syscalls/testing.h"

namespace sandboxd::test {
namespace {

class SignalfdTest : public testing::Test {
 protected:
  SignalfdTest() {
    sigemptyset(&mask_);
    sigaddset(&mask_, SIGUSR1);
    sigaddset(&mask_, SIGCHLD);
    sigaddset(&mask_, SIGRTMIN);
    sigprocmask(SIG_BLOCK, &mask_, &old_);
  }
  ~SignalfdTest() override { sigprocmask(SIG_SETMASK, &old_, nullptr); }
  static signalfd_siginfo Take(int fd) {
    signalfd_siginfo info = {};
    EXPECT_EQ(read(fd, &info, sizeof(info)), static_cast<ssize_t>(sizeof(info)));
    return info;
  }
  sigset_t mask_, old_;
};

TEST_F(SignalfdTest, APendingSignalIsARecord) {
  Fd fd(signalfd(-1, &mask_, SFD_NONBLOCK));
  ASSERT_GE(fd.get(), 0);
  signalfd_siginfo info;
  EXPECT_ERRNO(EAGAIN, read(fd.get(), &info, sizeof(info)));
  pollfd p = {fd.get(), POLLIN, 0};
  EXPECT_EQ(poll(&p, 1, 0), 0);
  kill(getpid(), SIGUSR1);
  EXPECT_EQ(poll(&p, 1, 0), 1);
  info = Take(fd.get());
  EXPECT_EQ(info.ssi_signo, static_cast<uint32_t>(SIGUSR1));
  EXPECT_EQ(info.ssi_code, SI_USER);
  EXPECT_EQ(info.ssi_pid, static_cast<uint32_t>(getpid()));
  EXPECT_EQ(poll(&p, 1, 0), 0);
}

TEST_F(SignalfdTest, QueuedValuesComeInOrder) {
  Fd fd(signalfd(-1, &mask_, 0));
  for (int i = 1; i <= 3; i++) {
    sigval v;
    v.sival_int = i;
    ASSERT_EQ(sigqueue(getpid(), SIGRTMIN, v), 0);
  }
  signalfd_siginfo infos[4];
  ASSERT_EQ(read(fd.get(), infos, sizeof(infos)), static_cast<ssize_t>(3 * sizeof(infos[0])));
  for (int i = 0; i < 3; i++) EXPECT_EQ(infos[i].ssi_int, i + 1);
}

TEST_F(SignalfdTest, AChildsEndWakesAnEpollSet) {
  Fd fd(signalfd(-1, &mask_, 0));
  Fd set(epoll_create1(0));
  epoll_event e = {};
  e.events = EPOLLIN;
  ASSERT_EQ(epoll_ctl(set.get(), EPOLL_CTL_ADD, fd.get(), &e), 0);
  pid_t child = fork();
  if (child == 0) _exit(3);
  ASSERT_EQ(epoll_wait(set.get(), &e, 1, -1), 1);
  signalfd_siginfo info = Take(fd.get());
  EXPECT_EQ(info.ssi_signo, static_cast<uint32_t>(SIGCHLD));
  EXPECT_EQ(info.ssi_pid, static_cast<uint32_t>(child));
  EXPECT_EQ(info.ssi_status, 3);
  int status;
  EXPECT_EQ(waitpid(child, &status, 0), child);
}

TEST_F(SignalfdTest, TheMaskCanChangeAndArgumentsAreChecked) {
  Fd fd(signalfd(-1, &mask_, SFD_NONBLOCK));
  sigset_t other;
  sigemptyset(&other);
  sigaddset(&other, SIGRTMIN);
  ASSERT_EQ(signalfd(fd.get(), &other, 0), fd.get());
  raise(SIGUSR1);
  signalfd_siginfo info;
  EXPECT_ERRNO(EAGAIN, read(fd.get(), &info, sizeof(info)));
  ASSERT_EQ(signalfd(fd.get(), &mask_, 0), fd.get());
  EXPECT_EQ(Take(fd.get()).ssi_signo, static_cast<uint32_t>(SIGUSR1));
  EXPECT_ERRNO(EINVAL, read(fd.get(), &info, sizeof(info) - 1));
  EXPECT_ERRNO(EINVAL, signalfd(-1, &mask_, 1));
  EXPECT_ERRNO(EINVAL, signalfd(STDIN_FILENO, &mask_, 0));
  EXPECT_ERRNO(EBADF, signalfd(9999, &mask_, 0));
}

}  // namespace
}  // namespace sandboxd::test
