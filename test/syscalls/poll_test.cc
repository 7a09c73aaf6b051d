// poll(2), ppoll(2), select(2), pselect(2).
#include <poll.h>
#include <sys/select.h>
#include <sys/socket.h>

#include <csignal>
#include <cstring>
#include <thread>

#include "test/syscalls/testing.h"

namespace sandboxd::test {
namespace {

class PollTest : public testing::Test {
 protected:
  PollTest() { EXPECT_EQ(pipe(pipe_), 0); }
  ~PollTest() override {
    close(pipe_[0]);
    if (pipe_[1] >= 0) close(pipe_[1]);
  }
  void CloseWriter() {
    close(pipe_[1]);
    pipe_[1] = -1;
  }
  int pipe_[2];
};

TEST_F(PollTest, ReportsWhatIsAskedAndErrorsAlways) {
  pollfd p[] = {{pipe_[0], POLLIN, 0}, {pipe_[1], POLLOUT, 0}, {-1, POLLIN, 99}, {9999, 0, 0}};
  EXPECT_EQ(poll(p, 4, 0), 2);
  EXPECT_EQ(p[0].revents, 0);
  EXPECT_EQ(p[1].revents, POLLOUT);
  EXPECT_EQ(p[2].revents, 0);
  EXPECT_EQ(p[3].revents, POLLNVAL);
  CloseWriter();
  p[0].events = 0;
  EXPECT_EQ(poll(p, 1, -1), 1);
  EXPECT_EQ(p[0].revents, POLLHUP);
}

TEST_F(PollTest, NormalDataHasTwoNames) {
  ASSERT_EQ(write(pipe_[1], "x", 1), 1);
  pollfd p = {pipe_[0], POLLIN | POLLRDNORM, 0};
  EXPECT_EQ(poll(&p, 1, 0), 1);
  EXPECT_EQ(p.revents, POLLIN | POLLRDNORM);
  p.events = POLLRDNORM;
  EXPECT_EQ(poll(&p, 1, -1), 1);
  EXPECT_EQ(p.revents, POLLRDNORM);
}

TEST_F(PollTest, RegularFilesAreAlwaysReady) {
  TempFile file;
  Fd fd = file.Open(O_RDWR);
  pollfd p = {fd.get(), POLLIN | POLLOUT, 0};
  EXPECT_EQ(poll(&p, 1, -1), 1);
  EXPECT_EQ(p.revents, POLLIN | POLLOUT);
}

TEST_F(PollTest, WaitsForAnotherThread) {
  pollfd p = {pipe_[0], POLLIN, 0};
  int n = 0;
  std::thread waiter([&] { n = poll(&p, 1, -1); });
  ASSERT_EQ(write(pipe_[1], "x", 1), 1);
  waiter.join();
  EXPECT_EQ(n, 1);
}

TEST_F(PollTest, TimeoutsPass) {
  pollfd p = {pipe_[0], POLLIN, 0};
  EXPECT_EQ(poll(&p, 1, 1), 0);
  timespec t = {0, 1000};
  EXPECT_EQ(ppoll(&p, 1, &t, nullptr), 0);
  t.tv_nsec = 1'000'000'000;
  EXPECT_ERRNO(EINVAL, ppoll(&p, 1, &t, nullptr));
  timeval v = {0, 1000};
  EXPECT_EQ(select(0, nullptr, nullptr, nullptr, &v), 0);
  EXPECT_EQ(v.tv_usec, 0);
  v.tv_sec = -1;
  EXPECT_ERRNO(EINVAL, select(0, nullptr, nullptr, nullptr, &v));
}

TEST_F(PollTest, SelectSetsTheBitsOfTheReady) {
  fd_set in, out;
  FD_ZERO(&in);
  FD_ZERO(&out);
  FD_SET(pipe_[0], &in);
  FD_SET(pipe_[1], &out);
  int n = std::max(pipe_[0], pipe_[1]) + 1;
  EXPECT_EQ(select(n, &in, &out, nullptr, nullptr), 1);
  EXPECT_FALSE(FD_ISSET(pipe_[0], &in));
  EXPECT_TRUE(FD_ISSET(pipe_[1], &out));
  CloseWriter();
  FD_SET(pipe_[0], &in);
  EXPECT_EQ(select(n, &in, nullptr, nullptr, nullptr), 1);  // end of file is readable
  FD_ZERO(&in);
  FD_SET(60, &in);  // closed, and inside the smallest table
  EXPECT_ERRNO(EBADF, select(61, &in, nullptr, nullptr, nullptr));
  EXPECT_ERRNO(EINVAL, select(-1, nullptr, nullptr, nullptr, nullptr));
}

TEST_F(PollTest, AHandlerInterruptsPollWhateverSaRestartSays) {
  static int caught;
  caught = 0;
  sigset_t block, none;
  sigemptyset(&none);
  sigemptyset(&block);
  sigaddset(&block, SIGUSR1);
  sigprocmask(SIG_BLOCK, &block, nullptr);
  struct sigaction action = {};
  action.sa_handler = [](int) { caught++; };
  action.sa_flags = SA_RESTART;
  sigaction(SIGUSR1, &action, nullptr);
  raise(SIGUSR1);
  pollfd p = {pipe_[0], POLLIN, 0};
  EXPECT_ERRNO(EINTR, ppoll(&p, 1, nullptr, &none));
  EXPECT_EQ(caught, 1);
  raise(SIGUSR1);
  EXPECT_EQ(caught, 1);  // blocked again
  fd_set in;
  FD_ZERO(&in);
  FD_SET(pipe_[0], &in);
  EXPECT_ERRNO(EINTR, pselect(pipe_[0] + 1, &in, nullptr, nullptr, nullptr, &none));
  EXPECT_EQ(caught, 2);
  sigprocmask(SIG_UNBLOCK, &block, nullptr);
}

TEST_F(PollTest, AStoppedAndContinuedPollGoesOn) {
  int ready[2];
  ASSERT_EQ(pipe(ready), 0);
  pid_t child = fork();
  if (child == 0) {
    pollfd p = {pipe_[0], POLLIN, 0};
    if (write(ready[1], "r", 1) != 1) _exit(1);
    _exit(poll(&p, 1, 60'000) == 1 ? 0 : 2);
  }
  char c;
  ASSERT_EQ(read(ready[0], &c, 1), 1);
  int status;
  kill(child, SIGSTOP);
  ASSERT_EQ(waitpid(child, &status, WUNTRACED), child);
  ASSERT_TRUE(WIFSTOPPED(status));
  kill(child, SIGCONT);
  ASSERT_EQ(waitpid(child, &status, WCONTINUED), child);
  ASSERT_EQ(write(pipe_[1], "x", 1), 1);
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(ExitedWith(status, 0)) << status;
  close(ready[0]);
  close(ready[1]);
}

}  // namespace
}  // namespace sandboxd::test
