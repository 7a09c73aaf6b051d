#include "kernel/ipc/epoll.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "kernel/fs/tmpfs/tmpfs.h"
#include "kernel/ipc/eventfd.h"
#include "kernel/vfs/testing/test_caller.h"
#include "kernel/wait/testing/thread_blocker.h"

namespace sandboxd::ipc {
namespace {

class EpollTest : public testing::Test {
 protected:
  EpollTest()
      : caller_(vfs_, MakeRef<tmpfs::TmpfsSuperblock>("tmpfs", tmpfs::Options{},
                                                      tmpfs::HostMemoryFiles())) {}
  Ref<Epoll> Set() { return MakeRef<Epoll>(vfs_.AnonymousPath("[eventpoll]", 0600)); }
  Ref<vfs::File> Event(uint32_t value = 0) {
    return MakeRef<EventFd>(vfs_.AnonymousPath("[eventfd]", 0600), O_RDWR, value,
                            EventFd::Mode::kCounter);
  }
  void Signal(vfs::File& event) {
    uint64_t one = 1;
    mm::BufferSource source(AsBytes(one));
    MUST(event.Write(caller_, source));
  }

  vfs::Vfs vfs_;
  vfs::TestCaller caller_;
};

TEST_F(EpollTest, ARegistrationGoesWithItsFile) {
  auto set = Set();
  auto event = Event(1);
  MUST(set->Add(event, FdNum(3), {EPOLLIN, 7}));
  ASSERT_EQ(set->Collect(10).size(), 1u);
  EXPECT_TRUE(set->Add(event, FdNum(3), {EPOLLIN, 7}).Is(Errno::kEEXIST));
  event.Reset();
  EXPECT_TRUE(set->Collect(10).empty());
  EXPECT_EQ(set->FdInfo(), "");
}

TEST_F(EpollTest, ASetGoesBeforeItsFiles) {
  auto event = Event(1);
  auto set = Set();
  MUST(set->Add(event, FdNum(3), {EPOLLIN, 7}));
  set.Reset();
  Signal(*event);  // nobody listens
  auto second = Set();
  MUST(second->Add(event, FdNum(3), {EPOLLIN, 8}));
  EXPECT_EQ(second->Collect(1).at(0).data, 8u);
}

TEST_F(EpollTest, NestingIsAtMostFiveDeepAndHasNoCircle) {
  std::vector<Ref<Epoll>> sets;
  for (int i = 0; i < 6; i++) sets.push_back(Set());
  for (int i = 0; i + 1 < 5; i++) {
    MUST(sets[static_cast<size_t>(i)]->Add(sets[static_cast<size_t>(i + 1)], FdNum(i),
                                           {EPOLLIN, 0}));
  }
  EXPECT_TRUE(sets[4]->Add(sets[5], FdNum(9), {EPOLLIN, 0}).Is(Errno::kELOOP));
  EXPECT_TRUE(sets[4]->Add(sets[0], FdNum(9), {EPOLLIN, 0}).Is(Errno::kELOOP));
  auto event = Event();
  MUST(sets[4]->Add(event, FdNum(9), {EPOLLIN, 0}));
  EXPECT_EQ(sets[0]->Poll(EPOLLIN), 0u);
  Signal(*event);
  EXPECT_EQ(sets[0]->Poll(EPOLLIN), uint32_t{EPOLLIN});
  EXPECT_EQ(sets[0]->Collect(1).size(), 1u);
}

TEST_F(EpollTest, AWaiterOfTheOuterSetHearsOfTheInner) {
  auto outer = Set(), inner = Set();
  auto event = Event();
  MUST(outer->Add(inner, FdNum(1), {EPOLLIN, 0}));
  MUST(inner->Add(event, FdNum(2), {EPOLLIN, 0}));
  wait::ThreadBlocker blocker;
  wait::BlockerEntry entry(blocker);
  outer->AddWaiter(entry, EPOLLIN, false);
  Signal(*event);
  EXPECT_TRUE(blocker.Block(std::nullopt).ok());
}

// Files end, are added, removed and collected on four threads at once: no event of a file that is
// there is lost, and nothing is touched after it is gone (sanitizers watch).
TEST_F(EpollTest, FilesMayEndWhileTheSetIsUsed) {
  auto set = Set();
  auto steady = Event(1);
  MUST(set->Add(steady, FdNum(0), {EPOLLIN, 1}));
  std::atomic<bool> stop{false};
  std::atomic<int> steady_seen{0};
  std::vector<std::thread> threads;
  for (int n = 0; n < 2; n++) {
    threads.emplace_back([&, n] {
      for (int i = 0; i < 3000; i++) {
        auto event = Event(1);
        MUST(set->Add(event, FdNum(n + 1), {EPOLLIN | EPOLLET, 2}));
        if (i % 3 == 0) MUST(set->Remove(event, FdNum(n + 1)));
        if (i % 3 == 1) MUST(set->Modify(event, FdNum(n + 1), {EPOLLIN, 2}));
      }
    });
  }
  for (int n = 0; n < 2; n++) {
    threads.emplace_back([&] {
      // Until the steady file was seen, however late this thread got a processor.
      while (!stop.load() || steady_seen.load() == 0) {
        for (const EpollEvent& e : set->Collect(4)) steady_seen += e.data == 1 ? 1 : 0;
      }
    });
  }
  threads[0].join();
  threads[1].join();
  stop = true;
  threads[2].join();
  threads[3].join();
  EXPECT_GT(steady_seen.load(), 0);
  ASSERT_EQ(set->Collect(10).size(), 1u);
}

}  // namespace
}  // namespace sandboxd::ipc
