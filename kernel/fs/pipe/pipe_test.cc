#include "kernel/fs/pipe/pipe.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/epoll.h>
#include <sys/stat.h>

#include <thread>

#include "kernel/fs/tmpfs/tmpfs.h"
#include "kernel/vfs/testing/test_caller.h"

namespace sandboxd::pipe {
namespace {

using vfs::ReadAll;
using vfs::WriteString;

class PipeTest : public ::testing::Test {
 protected:
  PipeTest()
      : caller_(vfs_, MakeRef<tmpfs::TmpfsSuperblock>("tmpfs", tmpfs::Options{},
                                                      tmpfs::HostMemoryFiles())) {
    vfs_.SetFifoOpener(OpenFifo);
  }
  vfs::Vfs vfs_;
  vfs::TestCaller caller_;
};

TEST_F(PipeTest, BytesComeOutInOrderAndThenTheEnd) {
  auto p = MUST(CreatePipe(vfs_, caller_, 0));
  EXPECT_TRUE(ReadAll(caller_, *p.read).Is(Errno::kEAGAIN));
  ASSERT_TRUE(WriteString(caller_, *p.write, "abc").ok());
  ASSERT_TRUE(WriteString(caller_, *p.write, "def").ok());
  EXPECT_EQ(MUST(ReadAll(caller_, *p.read, 4)), "abcd");
  EXPECT_EQ(p.read->Poll(EPOLLIN), static_cast<uint32_t>(EPOLLIN));
  p.write.Reset();
  EXPECT_EQ(MUST(ReadAll(caller_, *p.read)), "ef");
  EXPECT_EQ(MUST(ReadAll(caller_, *p.read)), "");
  EXPECT_EQ(p.read->Poll(EPOLLIN), static_cast<uint32_t>(EPOLLHUP));
}

TEST_F(PipeTest, SmallWritesAreAtomicWhenItIsNearlyFull) {
  auto p = MUST(CreatePipe(vfs_, caller_, 0));
  ASSERT_EQ(MUST(WriteString(caller_, *p.write, std::string(65536 - 10, 'x'))), 65526u);
  EXPECT_TRUE(WriteString(caller_, *p.write, std::string(11, 'y')).Is(Errno::kEAGAIN));
  EXPECT_EQ(MUST(WriteString(caller_, *p.write, std::string(5000, 'z'))), 10u);
  EXPECT_TRUE(WriteString(caller_, *p.write, "1").Is(Errno::kEAGAIN));
  EXPECT_EQ(p.write->Poll(EPOLLOUT), 0u);
  EXPECT_EQ(MUST(ReadAll(caller_, *p.read)).size(), 65536u);
  EXPECT_EQ(p.write->Poll(EPOLLOUT), static_cast<uint32_t>(EPOLLOUT));
}

TEST_F(PipeTest, WriteWithoutReaderIsEpipe) {
  auto p = MUST(CreatePipe(vfs_, caller_, 0));
  p.read.Reset();
  EXPECT_TRUE(WriteString(caller_, *p.write, "x").Is(Errno::kEPIPE));
  EXPECT_NE(p.write->Poll(EPOLLOUT) & EPOLLERR, 0u);
}

TEST_F(PipeTest, PacketsKeepTheirBounds) {
  auto p = MUST(CreatePipe(vfs_, caller_, O_DIRECT));
  ASSERT_TRUE(WriteString(caller_, *p.write, "first").ok());
  ASSERT_TRUE(WriteString(caller_, *p.write, "second").ok());
  EXPECT_EQ(MUST(ReadAll(caller_, *p.read, 2)), "fi");  // the rest of the packet is lost
  EXPECT_EQ(MUST(ReadAll(caller_, *p.read)), "second");
}

TEST_F(PipeTest, CapacityIsAPowerOfTwoAndNotBelowTheContents) {
  auto p = MUST(CreatePipe(vfs_, caller_, 0));
  auto& write = *vfs::FileAs<PipeFile>(*p.write);
  EXPECT_EQ(MUST(write.SetCapacity(caller_, 5000)), 8192u);
  ASSERT_TRUE(WriteString(caller_, *p.write, std::string(6000, 'x')).ok());
  EXPECT_TRUE(write.SetCapacity(caller_, 1).Is(Errno::kEBUSY));
  caller_.BecomeUser(1000, 1000);
  EXPECT_TRUE(write.SetCapacity(caller_, 2 << 20).Is(Errno::kEPERM));
}

TEST_F(PipeTest, FifoOpenWaitsForTheOtherEnd) {
  ASSERT_TRUE(vfs_.Mknod(caller_, "/fifo", {}, S_IFIFO | 0644, {}).ok());
  EXPECT_TRUE(vfs_.Open(caller_, "/fifo", {}, {O_WRONLY | O_NONBLOCK, 0}).Is(Errno::kENXIO));
  auto read = MUST(vfs_.Open(caller_, "/fifo", {}, {O_RDONLY, 0}));
  EXPECT_TRUE(read->FinishOpen(caller_).Is(Errno::kEAGAIN));
  auto write = MUST(vfs_.Open(caller_, "/fifo", {}, {O_WRONLY, 0}));
  EXPECT_TRUE(write->FinishOpen(caller_).ok());
  EXPECT_TRUE(read->FinishOpen(caller_).ok());
  ASSERT_TRUE(WriteString(caller_, *write, "through").ok());
  EXPECT_EQ(MUST(ReadAll(caller_, *read)), "through");
  write.Reset();
  EXPECT_TRUE(read->FinishOpen(caller_).ok());  // the writer has been there
  EXPECT_EQ(read->Poll(EPOLLIN), static_cast<uint32_t>(EPOLLHUP));
}

TEST_F(PipeTest, FifoWithoutWriterYetIsNotHungUp) {
  ASSERT_TRUE(vfs_.Mknod(caller_, "/fifo", {}, S_IFIFO | 0644, {}).ok());
  auto read = MUST(vfs_.Open(caller_, "/fifo", {}, {O_RDONLY | O_NONBLOCK, 0}));
  EXPECT_EQ(read->Poll(EPOLLIN), 0u);
  EXPECT_EQ(MUST(ReadAll(caller_, *read)), "");
}

TEST_F(PipeTest, OpeningAPipeAgainWaitsForNobody) {
  auto p = MUST(CreatePipe(vfs_, caller_, 0));
  ASSERT_TRUE(WriteString(caller_, *p.write, "left").ok());
  p.write.Reset();
  auto again = MUST(vfs_.OpenPath(caller_, p.read->path(), O_RDONLY));
  EXPECT_TRUE(again->FinishOpen(caller_).ok());
  EXPECT_EQ(MUST(ReadAll(caller_, *again)), "left");
  EXPECT_EQ(again->Poll(EPOLLIN), static_cast<uint32_t>(EPOLLHUP));
}

TEST_F(PipeTest, WaiterIsWokenByAWriter) {
  auto p = MUST(CreatePipe(vfs_, caller_, 0));
  std::thread writer([&] { (void)WriteString(caller_, *p.write, "x"); });
  wait::BlockerEntry entry(caller_.blocker());
  p.read->AddWaiter(entry, EPOLLIN);
  for (;;) {
    auto text = ReadAll(caller_, *p.read);
    if (text.ok()) {
      EXPECT_EQ(*text, "x");
      break;
    }
    ASSERT_TRUE(caller_.blocker().Block({}).ok());
  }
  writer.join();
}

}  // namespace
}  // namespace sandboxd::pipe
