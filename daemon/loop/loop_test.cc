#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/epoll.h>

#include <atomic>
#include <vector>

#include "daemon/loop/call_context.h"
#include "daemon/loop/event_loop.h"
#include "daemon/loop/worker_pool.h"

namespace sandboxd::daemon {
namespace {

using namespace std::chrono_literals;

TEST(EventLoopTest, PostedWorkRunsInOrder) {
  EventLoop loop;
  std::vector<int> seen;
  for (int i = 0; i < 1000; ++i) loop.Post([&seen, i] { seen.push_back(i); });
  loop.PostAndWait([] {});
  ASSERT_EQ(seen.size(), 1000u);
  for (int i = 0; i < 1000; ++i) EXPECT_EQ(seen[i], i);
}

TEST(EventLoopTest, AHandlerMayRemoveItself) {
  EventLoop loop;
  int fds[2];
  ASSERT_EQ(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
  UniqueFd reader(fds[0]), writer(fds[1]);
  int calls = 0;
  loop.PostAndWait([&] {
    loop.Watch(reader.get(), EPOLLIN, [&](uint32_t) {
      ++calls;
      loop.Remove(reader.get());
    });
  });
  ASSERT_EQ(write(writer.get(), "x", 1), 1);
  // Twice through epoll_wait at least.
  for (int i = 0; i < 20 && calls == 0; ++i) loop.PostAndWait([] {});
  while (true) {
    int now = 0;
    loop.PostAndWait([&] { now = calls; });
    if (now > 0) break;
  }
  loop.PostAndWait([] {});
  loop.PostAndWait([&] { EXPECT_EQ(calls, 1); });
}

TEST(EventLoopTest, TimersRunInOrderOfTheirTimeAndCanBeCancelled) {
  EventLoop loop;
  std::vector<int> seen;
  Mutex mutex(LockRank::kDaemonLeaf);
  CondVar cv;
  bool done = false;
  loop.PostAndWait([&] {
    loop.RunAfter(20ms, [&] {
      seen.push_back(2);
      MutexLock lock(mutex);
      done = true;
      cv.NotifyAll();
    });
    loop.RunAfter(1ms, [&] { seen.push_back(1); });
    auto cancelled = loop.RunAfter(10ms, [&] { seen.push_back(99); });
    loop.CancelTimer(cancelled);
  });
  MutexLock lock(mutex);
  while (!done) cv.Wait(mutex);
  EXPECT_EQ(seen, (std::vector<int>{1, 2}));
}

TEST(WorkerPoolTest, RunsEverythingBeforeItEnds) {
  std::atomic<int> n{0};
  {
    WorkerPool pool(4);
    for (int i = 0; i < 200; ++i) pool.Run([&n] { n.fetch_add(1); });
  }
  EXPECT_EQ(n.load(), 200);
}

TEST(WorkerPoolTest, BlockedWorkDoesNotHoldUpOthers) {
  WorkerPool pool(2);
  Mutex mutex(LockRank::kDaemonLeaf);
  CondVar cv;
  bool second_ran = false;
  pool.Run([&] {
    MutexLock lock(mutex);
    while (!second_ran) cv.Wait(mutex);
  });
  pool.Run([&] {
    MutexLock lock(mutex);
    second_ran = true;
    cv.NotifyAll();
  });
}

TEST(CallContextTest, CancelRunsEachCallbackOnce) {
  CallContext context;
  int a = 0, b = 0;
  context.OnCancel([&] { ++a; });
  auto id = context.OnCancel([&] { ++b; });
  context.RemoveOnCancel(id);
  EXPECT_TRUE(context.Check().ok());
  context.Cancel();
  context.Cancel();
  EXPECT_EQ(a, 1);
  EXPECT_EQ(b, 0);
  EXPECT_EQ(context.Check().error().reason(), v1::ERROR_REASON_CANCELLED);
  context.OnCancel([&] { ++b; });
  EXPECT_EQ(b, 1);
}

TEST(CallContextTest, APassedDeadlineIsToldFromACancellation) {
  CallContext context(CallContext::Clock::now() - 1s);
  EXPECT_EQ(context.Check().error().reason(), v1::ERROR_REASON_DEADLINE_EXCEEDED);
}

}  // namespace
}  // namespace sandboxd::daemon
