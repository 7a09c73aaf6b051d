#include "kernel/boot/control_server.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cstring>
#include <thread>

namespace sandboxd::boot {
namespace {

class ControlServerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    UniqueFd listener = MUST(WrapFd(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0)));
    // Autobind: an abstract address that nobody else has.
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    ASSERT_EQ(bind(listener.get(), reinterpret_cast<sockaddr*>(&address), sizeof(sa_family_t)), 0);
    length_ = sizeof(address_);
    ASSERT_EQ(getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address_), &length_), 0);
    ASSERT_EQ(listen(listener.get(), 4), 0);
    server_ = MUST(ControlServer::Create(std::move(listener)));
    thread_ = std::thread([this] {
      server_->Serve([this](const control::Request& request, ControlServer::Fds fds) {
        fds_seen_ = fds.size();
        control::Response response;
        response.mutable_status()->set_message(request.start_container().container_id());
        return response;
      });
    });
  }
  void TearDown() override {
    server_->Stop();
    thread_.join();
  }

  UniqueFd Connect() {
    UniqueFd fd = MUST(WrapFd(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0)));
    EXPECT_EQ(connect(fd.get(), reinterpret_cast<sockaddr*>(&address_), length_), 0);
    return fd;
  }
  static control::Packet MakeRequest(uint64_t id, const std::string& container) {
    control::Packet packet;
    packet.mutable_request()->set_id(id);
    packet.mutable_request()->mutable_start_container()->set_container_id(container);
    return packet;
  }
  static void Send(const UniqueFd& fd, const std::string& bytes) {
    ASSERT_EQ(send(fd.get(), bytes.data(), bytes.size(), 0), static_cast<ssize_t>(bytes.size()));
  }
  static control::Packet Receive(const UniqueFd& fd) {
    std::string buffer(128 << 10, '\0');
    ssize_t n = recv(fd.get(), buffer.data(), buffer.size(), 0);
    control::Packet packet;
    EXPECT_GT(n, 0);
    EXPECT_TRUE(packet.ParseFromArray(buffer.data(), n));
    return packet;
  }

  sockaddr_un address_{};
  socklen_t length_ = 0;
  std::unique_ptr<ControlServer> server_;
  std::thread thread_;
  size_t fds_seen_ = 0;
};

TEST_F(ControlServerTest, AnswersEachRequestWithItsId) {
  UniqueFd fd = Connect();
  for (uint64_t id : {7, 8}) {
    Send(fd, MakeRequest(id, "c" + std::to_string(id)).SerializeAsString());
    control::Packet answer = Receive(fd);
    EXPECT_EQ(answer.response().id(), id);
    EXPECT_EQ(answer.response().status().message(), "c" + std::to_string(id));
  }
}

TEST_F(ControlServerTest, TakesALargeRequestFromAMemfd) {
  UniqueFd fd = Connect();
  std::string body = MakeRequest(9, std::string(100'000, 'x')).SerializeAsString();
  UniqueFd memfd = MUST(WrapFd(memfd_create("body", MFD_CLOEXEC)));
  ASSERT_EQ(write(memfd.get(), body.data(), body.size()), static_cast<ssize_t>(body.size()));
  control::Packet outer;
  outer.mutable_body_fd()->set_size(body.size());
  std::string bytes = outer.SerializeAsString();
  iovec iov{bytes.data(), bytes.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr msg{};
  msg.msg_iov = &iov;
  msg.msg_iovlen = 1;
  msg.msg_control = control;
  msg.msg_controllen = sizeof(control);
  cmsghdr* c = CMSG_FIRSTHDR(&msg);
  c->cmsg_level = SOL_SOCKET;
  c->cmsg_type = SCM_RIGHTS;
  c->cmsg_len = CMSG_LEN(sizeof(int));
  int raw = memfd.get();
  memcpy(CMSG_DATA(c), &raw, sizeof(int));
  ASSERT_GT(sendmsg(fd.get(), &msg, 0), 0);
  EXPECT_EQ(Receive(fd).response().status().message().size(), 100'000u);
  EXPECT_EQ(fds_seen_, 1u);
}

TEST_F(ControlServerTest, ANewConnectionReplacesTheOldOne) {
  UniqueFd first = Connect();
  Send(first, MakeRequest(1, "a").SerializeAsString());
  Receive(first);
  UniqueFd second = Connect();
  Send(second, MakeRequest(2, "b").SerializeAsString());
  EXPECT_EQ(Receive(second).response().id(), 2u);
  char byte;
  EXPECT_EQ(recv(first.get(), &byte, 1, 0), 0);
}

TEST_F(ControlServerTest, GarbageEndsTheConnectionAndNothingElse) {
  UniqueFd first = Connect();
  Send(first, "\xff\xff\xff garbage");
  char byte;
  EXPECT_EQ(recv(first.get(), &byte, 1, 0), 0);
  UniqueFd second = Connect();
  Send(second, MakeRequest(3, "c").SerializeAsString());
  EXPECT_EQ(Receive(second).response().id(), 3u);
}

TEST_F(ControlServerTest, SendsEventsToTheConnection) {
  UniqueFd fd = Connect();
  Send(fd, MakeRequest(1, "a").SerializeAsString());
  Receive(fd);
  control::Event event;
  event.mutable_stdio_drained()->set_container_id("x");
  server_->SendEvent(event);
  EXPECT_EQ(Receive(fd).event().stdio_drained().container_id(), "x");
}

}  // namespace
}  // namespace sandboxd::boot
