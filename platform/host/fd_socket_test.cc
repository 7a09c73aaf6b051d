#include "platform/host/fd_socket.h"

#include <dirent.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/socket.h>

namespace sandboxd::host {
namespace {

int OpenFds() {
  int n = 0;
  DIR* d = opendir("/proc/self/fd");
  while (readdir(d) != nullptr) n++;
  closedir(d);
  return n;
}

class FdSocketTest : public testing::Test {
 protected:
  SocketPair pair_ = MakeSocketPair(SOCK_SEQPACKET).value();
  std::vector<std::byte> buffer_ = std::vector<std::byte>(64);
};

TEST_F(FdSocketTest, DescriptorsArriveCloseOnExec) {
  UniqueFd file = MUST(WrapFd(memfd_create("x", MFD_CLOEXEC)));
  const int fds[] = {file.get(), file.get()};
  const std::byte data[3] = {};
  ASSERT_TRUE(SendFds(pair_.first.get(), data, fds).ok());
  auto message = MUST(RecvFds(pair_.second.get(), buffer_, 2));
  EXPECT_EQ(message.size, 3u);
  ASSERT_EQ(message.fds.size(), 2u);
  EXPECT_EQ(fcntl(message.fds[0].get(), F_GETFD), FD_CLOEXEC);
}

TEST_F(FdSocketTest, TooManyDescriptorsAreClosed) {
  const int before = OpenFds();
  const int fds[] = {0, 1, 2};
  const std::byte data[1] = {};
  ASSERT_TRUE(SendFds(pair_.first.get(), data, fds).ok());
  EXPECT_TRUE(RecvFds(pair_.second.get(), buffer_, 2).error() == Errno::kEMSGSIZE);
  EXPECT_EQ(OpenFds(), before);
}

TEST_F(FdSocketTest, TooLongAMessageIsAnError) {
  const std::vector<std::byte> data(65);
  ASSERT_TRUE(SendFds(pair_.first.get(), data, {}).ok());
  EXPECT_TRUE(RecvFds(pair_.second.get(), buffer_, 0).error() == Errno::kEMSGSIZE);
}

TEST_F(FdSocketTest, ClosedPeer) {
  pair_.first.Reset();
  auto message = MUST(RecvFds(pair_.second.get(), buffer_, 0));
  EXPECT_EQ(message.size, 0u);
  const std::byte data[1] = {};
  EXPECT_TRUE(SendFds(pair_.second.get(), data, {}).Is(Errno::kEPIPE));
}

}  // namespace
}  // namespace sandboxd::host
