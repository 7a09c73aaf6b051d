#include <gtest/gtest.h>
#include <sys/socket.h>

#include <atomic>
#include <random>
#include <thread>

#include "tools/shim/ttrpc_frame.h"
#include "tools/shim/ttrpc_server.h"

namespace sandboxd::shim {
namespace {

using daemon::Code;

std::vector<TtrpcFrame> FeedAll(const std::string& bytes, size_t step) {
  TtrpcReader reader;
  std::vector<TtrpcFrame> frames;
  for (size_t at = 0; at < bytes.size(); at += step) {
    reader.Feed(bytes.data() + at, std::min(step, bytes.size() - at), &frames);
  }
  return frames;
}

TEST(TtrpcFrameTest, FramesComeOutWholeHoweverTheyCome) {
  const std::string bytes = EncodeTtrpcFrame(1, 1, "hello") + EncodeTtrpcFrame(3, 2, "") +
                            EncodeTtrpcFrame(0x01020305, 3, std::string(1000, 'x'));
  for (size_t step : {size_t{1}, size_t{3}, size_t{10}, size_t{11}, bytes.size()}) {
    const auto frames = FeedAll(bytes, step);
    ASSERT_EQ(3u, frames.size()) << step;
    EXPECT_EQ("hello", frames[0].payload);
    EXPECT_EQ("", frames[1].payload);
    EXPECT_EQ(2, frames[1].type);
    EXPECT_EQ(0x01020305u, frames[2].stream);
    EXPECT_EQ(1000u, frames[2].payload.size());
  }
}

TEST(TtrpcFrameTest, ATooLargeFrameIsSkippedAndTheNextOneIsRead) {
  std::string big("\x00\x40\x00\x01\x00\x00\x00\x05\x01\x00", 10);  // 4 MiB + 1
  TtrpcReader reader;
  std::vector<TtrpcFrame> frames;
  reader.Feed(big.data(), big.size(), &frames);
  const std::string chunk(1 << 16, 'z');
  for (int i = 0; i < 64; ++i) reader.Feed(chunk.data(), chunk.size(), &frames);
  EXPECT_TRUE(frames.empty());
  reader.Feed("z", 1, &frames);
  ASSERT_EQ(1u, frames.size());
  EXPECT_TRUE(frames[0].too_large);
  EXPECT_TRUE(frames[0].payload.empty());
  const std::string next = EncodeTtrpcFrame(7, 1, "next");
  reader.Feed(next.data(), next.size(), &frames);
  ASSERT_EQ(2u, frames.size());
  EXPECT_EQ("next", frames[1].payload);
}

TEST(TtrpcFrameTest, RandomBytesAreTakenWithoutHarm) {
  std::mt19937 random(42);
  for (int round = 0; round < 200; ++round) {
    std::string bytes;
    for (int i = 0; i < 4096; ++i) bytes.push_back(static_cast<char>(random()));
    for (const TtrpcFrame& frame : FeedAll(bytes, 1 + random() % 100)) {
      EXPECT_LE(frame.payload.size(), kTtrpcMaxPayload);
    }
  }
}

class TtrpcServerTest : public testing::Test {
 protected:
  void SetUp() override {
    server_.Register("s", "Echo",
                     [](const std::string& p) { return daemon::Outcome<std::string>(p); });
    server_.Register("s", "Fail", [](const std::string&) -> daemon::Outcome<std::string> {
      return daemon::Error(v1::ERROR_REASON_SANDBOX_NOT_FOUND, "nothing here");
    });
    server_.Register("s", "Wait", [this](const std::string&) -> daemon::Outcome<std::string> {
      released_.wait(false);
      return std::string("waited");
    });
    server_.Register("s", "Release", [this](const std::string&) -> daemon::Outcome<std::string> {
      released_ = true;
      released_.notify_all();
      return std::string("released");
    });
    int pair[2];
    ASSERT_EQ(0, ::socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
    client_.Reset(pair[0]);
    thread_ = std::thread([this, fd = pair[1]] { server_.ServeConnection(UniqueFd(fd)); });
  }
  void TearDown() override {
    ::shutdown(client_.get(), SHUT_WR);
    thread_.join();
  }
  void SendRaw(const std::string& bytes) {
    ASSERT_EQ(static_cast<ssize_t>(bytes.size()),
              ::send(client_.get(), bytes.data(), bytes.size(), 0));
  }
  void Send(uint32_t stream, const std::string& method, const std::string& payload = "") {
    ttrpc::Request request;
    request.set_service("s");
    request.set_method(method);
    request.set_payload(payload);
    SendRaw(EncodeTtrpcFrame(stream, TtrpcFrame::kRequest, request.SerializeAsString()));
  }
  // The next answer; stream 0 at the end of the connection.
  uint32_t Receive(ttrpc::Response* response) {
    while (frames_.empty()) {
      char buffer[4096];
      const ssize_t n = ::recv(client_.get(), buffer, sizeof buffer, 0);
      if (n <= 0) return 0;
      reader_.Feed(buffer, static_cast<size_t>(n), &frames_);
    }
    const TtrpcFrame frame = frames_.front();
    frames_.erase(frames_.begin());
    EXPECT_EQ(TtrpcFrame::kResponse, frame.type);
    EXPECT_TRUE(response->ParseFromString(frame.payload));
    return frame.stream;
  }
  std::atomic<bool> released_{false};
  TtrpcServer server_;
  UniqueFd client_;
  std::thread thread_;
  TtrpcReader reader_;
  std::vector<TtrpcFrame> frames_;
};

TEST_F(TtrpcServerTest, AnAnswerComesOnTheStreamOfItsRequest) {
  Send(1, "Echo", "one");
  ttrpc::Response response;
  EXPECT_EQ(1u, Receive(&response));
  EXPECT_EQ("one", response.payload());
}

TEST_F(TtrpcServerTest, AWaitHoldsNobodyUp) {
  Send(1, "Wait");
  Send(3, "Echo", "meanwhile");
  ttrpc::Response response;
  EXPECT_EQ(3u, Receive(&response));
  Send(5, "Release");
  const uint32_t second = Receive(&response);
  const uint32_t third = Receive(&response);
  EXPECT_EQ(6u, second + third);
}

TEST_F(TtrpcServerTest, ErrorsCarryTheirCanonicalCode) {
  Send(1, "Fail");
  ttrpc::Response response;
  EXPECT_EQ(1u, Receive(&response));
  EXPECT_EQ(static_cast<int>(Code::kNotFound), response.status().code());
  EXPECT_EQ("nothing here", response.status().message());
  Send(3, "NoSuchMethod");
  EXPECT_EQ(3u, Receive(&response));
  EXPECT_EQ(static_cast<int>(Code::kUnimplemented), response.status().code());
}

TEST_F(TtrpcServerTest, AFrameThatHoldsNoRequestIsRefusedAndTheConnectionLives) {
  SendRaw(EncodeTtrpcFrame(1, TtrpcFrame::kRequest, "\xff\xff\xff"));
  ttrpc::Response response;
  EXPECT_EQ(1u, Receive(&response));
  EXPECT_EQ(static_cast<int>(Code::kInvalidArgument), response.status().code());
  Send(3, "Echo", "still here");
  EXPECT_EQ(3u, Receive(&response));
  EXPECT_EQ("still here", response.payload());
}

TEST_F(TtrpcServerTest, StreamIdsOfClientsAreOddAndGrow) {
  Send(2, "Echo");
  ttrpc::Response response;
  EXPECT_EQ(2u, Receive(&response));
  EXPECT_EQ(static_cast<int>(Code::kInvalidArgument), response.status().code());
  Send(5, "Echo");
  EXPECT_EQ(5u, Receive(&response));
  Send(3, "Echo");
  EXPECT_EQ(3u, Receive(&response));
  EXPECT_EQ(static_cast<int>(Code::kInvalidArgument), response.status().code());
}

TEST_F(TtrpcServerTest, AnUnknownTypeOfFrameEndsTheConnection) {
  SendRaw(EncodeTtrpcFrame(1, 77, "?"));
  ttrpc::Response response;
  EXPECT_EQ(0u, Receive(&response));
}

}  // namespace
}  // namespace sandboxd::shim
