#include "gofer/protocol/socket.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <thread>

#include "gofer/protocol/messages.h"

namespace sandboxd::gofer {
namespace {

class SocketTest : public ::testing::Test {
 protected:
  SocketTest() {
    int fds[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    a_ = UniqueFd(fds[0]);
    b_ = UniqueFd(fds[1]);
  }
  Result<ReceivedFrame> Receive() { return ReceiveFrame(b_.get(), 65536, buffer_); }
  void SendRaw(std::string_view bytes) {
    ASSERT_EQ(::send(a_.get(), bytes.data(), bytes.size(), 0), ssize_t(bytes.size()));
  }

  UniqueFd a_, b_;
  std::vector<std::byte> buffer_;
};

bool SameFile(int a, int b) {
  struct stat x, y;
  return ::fstat(a, &x) == 0 && ::fstat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

TEST_F(SocketTest, DescriptorArrivesWithItsFrame) {
  UniqueFd file(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  std::vector<std::byte> plain, donating;
  ASSERT_TRUE(EncodeFrame(1, Rclunk{}, plain).ok());
  ASSERT_TRUE(EncodeFrame(2, Ropenfd{.has_fd = true}, donating).ok());
  ASSERT_TRUE(SendFrame(a_.get(), plain).ok());
  ASSERT_TRUE(SendFrame(a_.get(), donating, file.get()).ok());
  ASSERT_TRUE(SendFrame(a_.get(), plain).ok());

  auto first = Receive();
  ASSERT_TRUE(first.ok());
  EXPECT_EQ(first->frame.tag, 1);
  EXPECT_FALSE(first->donated.valid());
  auto second = Receive();
  ASSERT_TRUE(second.ok());
  EXPECT_EQ(second->frame.tag, 2);
  ASSERT_TRUE(second->donated.valid());
  EXPECT_TRUE(SameFile(second->donated.get(), file.get()));
  EXPECT_EQ(::fcntl(second->donated.get(), F_GETFD), FD_CLOEXEC);
  EXPECT_FALSE(Receive()->donated.valid());
}

TEST_F(SocketTest, FrameLargerThanTheSocketBufferArrivesWhole) {
  std::vector<std::byte> data(1 << 20, std::byte{0x5a}), bytes;
  ASSERT_TRUE(EncodeFrame(1, Rread{.data = {data}}, bytes).ok());
  std::thread sender([&] { EXPECT_TRUE(SendFrame(a_.get(), bytes).ok()); });
  auto received = ReceiveFrame(b_.get(), 2 << 20, buffer_);
  sender.join();
  ASSERT_TRUE(received.ok());
  auto read = DecodeBody<Rread>(received->frame.body);
  ASSERT_TRUE(read.ok());
  EXPECT_TRUE(std::ranges::equal(read->data.bytes, data));
}

TEST_F(SocketTest, EndOfFileBetweenFramesIsConnectionReset) {
  a_.Reset();
  EXPECT_TRUE(Receive().Is(Errno::kECONNRESET));
}

TEST_F(SocketTest, EndOfFileWithinAFrameIsAProtocolError) {
  SendRaw(std::string_view("\x20\0\0\0\x64\xff\xff half", 12));
  a_.Reset();
  EXPECT_TRUE(Receive().Is(Errno::kEPROTO));
}

TEST_F(SocketTest, HostileSizesAreProtocolErrors) {
  SendRaw(std::string_view("\xff\xff\xff\xff\x64\xff\xff", 7));
  EXPECT_TRUE(Receive().Is(Errno::kEPROTO));
  SendRaw(std::string_view("\x06\0\0\0\x64\xff\xff", 7));
  EXPECT_TRUE(Receive().Is(Errno::kEPROTO));
}

TEST_F(SocketTest, SendingToAClosedPeerIsEpipe) {
  b_.Reset();
  std::vector<std::byte> bytes;
  ASSERT_TRUE(EncodeFrame(1, Rclunk{}, bytes).ok());
  EXPECT_TRUE(SendFrame(a_.get(), bytes).Is(Errno::kEPIPE));
}

}  // namespace
}  // namespace sandboxd::gofer
