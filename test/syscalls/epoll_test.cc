// epoll(7).
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <csignal>
#include <cstdint>
#include <cstring>
#include <set>
#include <thread>
#include <vector>

#include "test/syscalls/testing.h"

namespace sandboxd::test {
namespace {

class EpollTest : public testing::Test {
 protected:
  int Control(int op, int fd, uint32_t events, uint64_t data = 0) {
    epoll_event e = {};
    e.events = events;
    e.data.u64 = data;
    return epoll_ctl(set_.get(), op, fd, &e);
  }
  // The data of what is ready now.
  std::multiset<uint64_t> Ready(int max = 16) {
    std::vector<epoll_event> events(static_cast<size_t>(max));
    int n = epoll_wait(set_.get(), events.data(), max, 0);
    EXPECT_GE(n, 0);
    std::multiset<uint64_t> data;
    for (int i = 0; i < n; i++) data.insert(events[static_cast<size_t>(i)].data.u64);
    return data;
  }
  static void Signal(const Fd& fd) {
    uint64_t one = 1;
    EXPECT_EQ(write(fd.get(), &one, 8), 8);
  }
  static void Drain(const Fd& fd) {
    uint64_t value;
    EXPECT_EQ(read(fd.get(), &value, 8), 8);
  }
  using Set = std::multiset<uint64_t>;
  Fd set_{epoll_create1(EPOLL_CLOEXEC)};
  Fd event_{eventfd(0, 0)};
};

TEST_F(EpollTest, LevelTriggeredStaysReady) {
  ASSERT_EQ(Control(EPOLL_CTL_ADD, event_.get(), EPOLLIN, 7), 0);
  EXPECT_EQ(Ready(), Set());
  Signal(event_);
  EXPECT_EQ(Ready(), Set{7});
  EXPECT_EQ(Ready(), Set{7});
  Drain(event_);
  EXPECT_EQ(Ready(), Set());
}

TEST_F(EpollTest, EdgeTriggeredReportsEachEvent) {
  Signal(event_);
  ASSERT_EQ(Control(EPOLL_CTL_ADD, event_.get(), EPOLLIN | EPOLLET, 7), 0);
  EXPECT_EQ(Ready(), Set{7});
  EXPECT_EQ(Ready(), Set());
  Signal(event_);
  EXPECT_EQ(Ready(), Set{7});
  EXPECT_EQ(Ready(), Set());
  ASSERT_EQ(Control(EPOLL_CTL_MOD, event_.get(), EPOLLIN | EPOLLET, 8), 0);
  EXPECT_EQ(Ready(), Set{8});
}

TEST_F(EpollTest, OneShotIsSilentUntilItIsRearmed) {
  ASSERT_EQ(Control(EPOLL_CTL_ADD, event_.get(), EPOLLIN | EPOLLONESHOT, 7), 0);
  Signal(event_);
  EXPECT_EQ(Ready(), Set{7});
  Signal(event_);
  EXPECT_EQ(Ready(), Set());
  ASSERT_EQ(Control(EPOLL_CTL_MOD, event_.get(), EPOLLIN | EPOLLONESHOT, 7), 0);
  EXPECT_EQ(Ready(), Set{7});
}

TEST_F(EpollTest, MaxEventsRotatesAmongTheReady) {
  Fd other(eventfd(1, 0));
  Signal(event_);
  ASSERT_EQ(Control(EPOLL_CTL_ADD, event_.get(), EPOLLIN, 1), 0);
  ASSERT_EQ(Control(EPOLL_CTL_ADD, other.get(), EPOLLIN, 2), 0);
  Set seen;
  seen.merge(Ready(1));
  seen.merge(Ready(1));
  EXPECT_EQ(seen, (Set{1, 2}));
}

TEST_F(EpollTest, ControlChecksItsArguments) {
  TempFile file;
  Fd regular = file.Open(O_RDONLY);
  EXPECT_ERRNO(EPERM, Control(EPOLL_CTL_ADD, regular.get(), EPOLLIN));
  EXPECT_ERRNO(EBADF, Control(EPOLL_CTL_ADD, 12345, EPOLLIN));
  EXPECT_ERRNO(EINVAL, Control(EPOLL_CTL_ADD, set_.get(), EPOLLIN));
  EXPECT_ERRNO(ENOENT, Control(EPOLL_CTL_MOD, event_.get(), EPOLLIN));
  EXPECT_ERRNO(ENOENT, Control(EPOLL_CTL_DEL, event_.get(), 0));
  ASSERT_EQ(Control(EPOLL_CTL_ADD, event_.get(), EPOLLIN), 0);
  EXPECT_ERRNO(EEXIST, Control(EPOLL_CTL_ADD, event_.get(), EPOLLIN));
  EXPECT_ERRNO(EINVAL, Control(99, event_.get(), EPOLLIN));
  EXPECT_ERRNO(EINVAL, Control(EPOLL_CTL_MOD, event_.get(), EPOLLIN | EPOLLEXCLUSIVE));
  EXPECT_ERRNO(EFAULT, epoll_ctl(set_.get(), EPOLL_CTL_MOD, event_.get(), nullptr));
  epoll_event e = {};
  EXPECT_ERRNO(EINVAL, epoll_ctl(event_.get(), EPOLL_CTL_ADD, set_.get(), &e));
  EXPECT_ERRNO(EINVAL, epoll_wait(set_.get(), &e, 0, 0));
  EXPECT_ERRNO(EINVAL, epoll_wait(event_.get(), &e, 1, 0));
  EXPECT_ERRNO(EINVAL, epoll_create(0));
  EXPECT_ERRNO(EINVAL, epoll_create1(1));
}

TEST_F(EpollTest, ARegistrationVanishesWithTheLastReference) {
  int fd = eventfd(1, 0);
  int copy = dup(fd);
  ASSERT_EQ(Control(EPOLL_CTL_ADD, fd, EPOLLIN, 7), 0);
  close(fd);
  // The file is still open under another number: it goes on reporting.
  EXPECT_EQ(Ready(), Set{7});
  EXPECT_ERRNO(EBADF, Control(EPOLL_CTL_DEL, fd, 0));
  EXPECT_ERRNO(ENOENT, Control(EPOLL_CTL_DEL, copy, 0));
  close(copy);
  EXPECT_EQ(Ready(), Set());
}

TEST_F(EpollTest, ClosingAPipesWriterHangsUpThoughItIsRegistered) {
  int p[2], q[2];
  ASSERT_EQ(pipe(p), 0);
  ASSERT_EQ(pipe(q), 0);
  ASSERT_EQ(Control(EPOLL_CTL_ADD, p[0], EPOLLIN, 1), 0);
  ASSERT_EQ(Control(EPOLL_CTL_ADD, p[1], EPOLLIN, 2), 0);
  EXPECT_EQ(Ready(), Set());
  close(p[1]);
  epoll_event e = {};
  ASSERT_EQ(epoll_wait(set_.get(), &e, 1, 0), 1);
  EXPECT_EQ(e.data.u64, 1u);
  EXPECT_EQ(e.events & EPOLLHUP, static_cast<uint32_t>(EPOLLHUP));
  close(p[0]);
  close(q[0]);
  close(q[1]);
}

TEST_F(EpollTest, SetsNestButNotInACircle) {
  Fd outer(epoll_create1(0));
  epoll_event e = {};
  e.events = EPOLLIN;
  ASSERT_EQ(epoll_ctl(outer.get(), EPOLL_CTL_ADD, set_.get(), &e), 0);
  EXPECT_ERRNO(ELOOP, Control(EPOLL_CTL_ADD, outer.get(), EPOLLIN));
  ASSERT_EQ(Control(EPOLL_CTL_ADD, event_.get(), EPOLLIN, 7), 0);
  EXPECT_EQ(epoll_wait(outer.get(), &e, 1, 0), 0);
  Signal(event_);
  EXPECT_EQ(epoll_wait(outer.get(), &e, 1, 0), 1);
  pollfd p = {outer.get(), POLLIN, 0};
  EXPECT_EQ(poll(&p, 1, 0), 1);
  Drain(event_);
  EXPECT_EQ(epoll_wait(outer.get(), &e, 1, 0), 0);
}

TEST_F(EpollTest, AWaiterIsWokenByAnotherThread) {
  ASSERT_EQ(Control(EPOLL_CTL_ADD, event_.get(), EPOLLIN, 7), 0);
  epoll_event e = {};
  int n = 0;
  std::thread waiter([&] { n = epoll_wait(set_.get(), &e, 1, -1); });
  Signal(event_);
  waiter.join();
  EXPECT_EQ(n, 1);
  EXPECT_EQ(e.data.u64, 7u);
}

TEST_F(EpollTest, AFileAddedWhileWaitingWakes) {
  epoll_event e = {};
  int n = 0;
  std::thread waiter([&] { n = epoll_wait(set_.get(), &e, 1, -1); });
  Signal(event_);
  ASSERT_EQ(Control(EPOLL_CTL_ADD, event_.get(), EPOLLIN, 9), 0);
  waiter.join();
  EXPECT_EQ(n, 1);
  EXPECT_EQ(e.data.u64, 9u);
}

TEST_F(EpollTest, AOneShotIsReportedToOneThread) {
  constexpr uint64_t kCount = 64;
  std::vector<Fd> events;
  for (uint64_t i = 0; i < kCount; i++) {
    events.emplace_back(eventfd(0, 0));
    ASSERT_EQ(Control(EPOLL_CTL_ADD, events.back().get(), EPOLLIN | EPOLLONESHOT, i), 0);
  }
  Fd reports(eventfd(0, 0)), end(eventfd(0, 0));
  std::vector<Set> got(4);
  std::vector<std::thread> threads;
  for (Set& mine : got) {
    threads.emplace_back([&] {
      epoll_event e = {};
      while (epoll_wait(set_.get(), &e, 1, -1) == 1 && e.data.u64 < kCount) {
        mine.insert(e.data.u64);
        Signal(reports);
      }
    });
  }
  for (const Fd& e : events) Signal(e);
  for (uint64_t seen = 0; seen < kCount;) {
    uint64_t more = 0;
    ASSERT_EQ(read(reports.get(), &more, 8), 8);
    seen += more;
  }
  ASSERT_EQ(Control(EPOLL_CTL_ADD, end.get(), EPOLLIN, kCount), 0);
  Signal(end);
  for (auto& t : threads) t.join();
  Set all, expected;
  for (Set& mine : got) all.merge(mine);
  for (uint64_t i = 0; i < kCount; i++) expected.insert(i);
  EXPECT_EQ(all, expected);
}

TEST_F(EpollTest, PwaitUsesItsMask) {
  sigset_t block, none;
  sigemptyset(&none);
  sigemptyset(&block);
  sigaddset(&block, SIGUSR1);
  sigprocmask(SIG_BLOCK, &block, nullptr);
  struct sigaction action = {};
  action.sa_handler = [](int) {};
  action.sa_flags = SA_RESTART;
  sigaction(SIGUSR1, &action, nullptr);
  raise(SIGUSR1);
  epoll_event e = {};
  EXPECT_EQ(epoll_wait(set_.get(), &e, 1, 0), 0);
  // Not restarted, whatever SA_RESTART says.
  EXPECT_ERRNO(EINTR, epoll_pwait(set_.get(), &e, 1, -1, &none));
  sigset_t now;
  sigprocmask(SIG_UNBLOCK, &block, &now);
  EXPECT_TRUE(sigismember(&now, SIGUSR1));
}

}  // namespace
}  // namespace sandboxd::test
