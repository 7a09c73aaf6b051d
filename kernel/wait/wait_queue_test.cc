#include "kernel/wait/wait_queue.h"

#include <gtest/gtest.h>
#include <sys/epoll.h>

namespace sandboxd::wait {
namespace {

class CountingEntry final : public WaitEntry {
 public:
  explicit CountingEntry(bool consumes = true) : consumes_(consumes) {}
  ~CountingEntry() override { Leave(); }
  int count = 0;

 protected:
  bool OnEvent(EventMask) override {
    count++;
    return consumes_;
  }

 private:
  bool consumes_;
};

TEST(WaitQueueTest, OnlyMatchingEventsAreReportedButErrorsAlways) {
  WaitQueue queue;
  CountingEntry entry;
  queue.Add(entry, EPOLLIN);
  queue.Notify(EPOLLOUT);
  EXPECT_EQ(entry.count, 0);
  queue.Notify(EPOLLIN);
  queue.Notify(EPOLLHUP);
  EXPECT_EQ(entry.count, 2);
}

TEST(WaitQueueTest, OneExclusiveEntryConsumesAnEvent) {
  WaitQueue queue;
  CountingEntry ordinary, first(false), second, third;
  queue.Add(first, EPOLLIN, true);
  queue.Add(second, EPOLLIN, true);
  queue.Add(third, EPOLLIN, true);
  queue.Add(ordinary, EPOLLIN);
  queue.Notify(EPOLLIN);
  EXPECT_EQ(ordinary.count, 1);
  EXPECT_EQ(first.count, 1);  // did not consume it
  EXPECT_EQ(second.count, 1);
  EXPECT_EQ(third.count, 0);
}

TEST(WaitQueueTest, AnEntryThatLeftHearsNothing) {
  WaitQueue queue;
  CountingEntry a, b, c;
  queue.Add(a, EPOLLIN);
  queue.Add(b, EPOLLIN);
  queue.Add(c, EPOLLIN);
  b.Leave();
  EXPECT_FALSE(b.queued());
  queue.Notify(EPOLLIN);
  EXPECT_EQ(a.count, 1);
  EXPECT_EQ(b.count, 0);
  EXPECT_EQ(c.count, 1);
  a.Leave();
  c.Leave();
  EXPECT_TRUE(queue.empty());
}

}  // namespace
}  // namespace sandboxd::wait
