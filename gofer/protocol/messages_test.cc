#include "gofer/protocol/messages.h"

#include <gtest/gtest.h>

#include "gofer/protocol/codec.h"
#include "gofer/protocol/message_list_test.h"

namespace sandboxd::gofer {
namespace {

template <typename Message>
std::vector<std::byte> Encode(const Message& message) {
  std::vector<std::byte> out;
  EXPECT_TRUE(EncodeFrame(7, message, out).ok());
  return out;
}

template <typename Message>
void ExpectRoundTrip(uint32_t seed) {
  Filler fill(seed);
  Message message;
  Message::Visit(message, fill);
  std::vector<std::byte> bytes = Encode(message);
  auto frame = DecodeFrame(bytes);
  ASSERT_TRUE(frame.ok());
  EXPECT_EQ(frame->type, Message::kType);
  EXPECT_EQ(frame->tag, 7);
  auto decoded = DecodeBody<Message>(frame->body);
  ASSERT_TRUE(decoded.ok());
  EXPECT_EQ(Encode(*decoded), bytes);
}

// No proper prefix and no extension of a message is that message.
template <typename Message>
void ExpectOnlyWholeBodiesDecode(uint32_t seed) {
  Filler fill(seed);
  Message message;
  Message::Visit(message, fill);
  std::vector<std::byte> bytes = Encode(message);
  ConstBytes body = ConstBytes(bytes).subspan(kHeaderSize);
  for (size_t n = 0; n < body.size(); ++n) {
    // A copy of exactly n bytes, so that a sanitizer sees a read beyond them.
    std::vector<std::byte> prefix(body.begin(), body.begin() + n);
    EXPECT_TRUE(DecodeBody<Message>(prefix).Is(Errno::kEPROTO)) << n << " of " << body.size();
  }
  bytes.push_back(std::byte{0});
  EXPECT_TRUE(DecodeBody<Message>(ConstBytes(bytes).subspan(kHeaderSize)).Is(Errno::kEPROTO));
}

// Whatever the bytes are, decoding ends, and what decodes encodes to the same bytes again.
template <typename Message>
void ExpectRandomBytesAreHarmless(uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<std::byte> body(random() % 300);
  // Few distinct values make plausible lengths likely.
  for (std::byte& b : body) b = static_cast<std::byte>(random() % 4 == 0 ? random() : random() % 3);
  auto decoded = DecodeBody<Message>(body);
  if (!decoded.ok()) return;
  std::vector<std::byte> again = Encode(*decoded);
  EXPECT_TRUE(std::ranges::equal(ConstBytes(again).subspan(kHeaderSize), body));
}

template <typename Message>
class EveryMessageTest : public ::testing::Test {};
TYPED_TEST_SUITE_P(EveryMessageTest);

TYPED_TEST_P(EveryMessageTest, RoundTrips) {
  for (uint32_t seed = 0; seed < 50; ++seed) ExpectRoundTrip<TypeParam>(seed);
}
TYPED_TEST_P(EveryMessageTest, OnlyWholeBodiesDecode) {
  for (uint32_t seed = 0; seed < 10; ++seed) ExpectOnlyWholeBodiesDecode<TypeParam>(seed);
}
TYPED_TEST_P(EveryMessageTest, RandomBytesAreHarmless) {
  for (uint32_t seed = 0; seed < 2000; ++seed) ExpectRandomBytesAreHarmless<TypeParam>(seed);
}
REGISTER_TYPED_TEST_SUITE_P(EveryMessageTest, RoundTrips, OnlyWholeBodiesDecode,
                            RandomBytesAreHarmless);
INSTANTIATE_TYPED_TEST_SUITE_P(Files, EveryMessageTest, AllMessages);
INSTANTIATE_TYPED_TEST_SUITE_P(Tree, EveryMessageTest, MoreMessages);

// The bytes of a message as intro(5) and Linux's v9fs have them.
TEST(WireFormatTest, TversionIsByteForByteWhatLinuxSends) {
  std::vector<std::byte> out;
  ASSERT_TRUE(EncodeFrame(kNoTag, Tversion{.msize = 8192, .version = "9P2000.L"}, out).ok());
  std::string_view expected(
      "\x15\0\0\0\x64\xff\xff\0\x20\0\0\x08\0"
      "9P2000.L",
      21);
  EXPECT_TRUE(std::ranges::equal(ConstBytes(out), std::as_bytes(std::span(expected))));
}

TEST(WireFormatTest, SizesOfFixedPartsAreTheProtocols) {
  EXPECT_EQ(Encode(Rattach{}).size(), kHeaderSize + 13);
  EXPECT_EQ(Encode(Rgetattr{}).size(), kHeaderSize + 153);
  EXPECT_EQ(Encode(Tsetattr{}).size(), kHeaderSize + 60);
  EXPECT_EQ(Encode(Rstatfs{}).size(), kHeaderSize + 60);
}

TEST(CodecTest, StringBeyond64KiBIsRefusedAndLeavesTheBufferAlone) {
  std::vector<std::byte> out{std::byte{1}};
  EXPECT_TRUE(
      EncodeFrame(1, Tmkdir{.name = std::string(65536, 'x')}, out).Is(Errno::kENAMETOOLONG));
  EXPECT_EQ(out.size(), 1u);
}

TEST(CodecTest, FrameSizeIsChecked) {
  auto size_of = [](uint32_t value, uint32_t max) { return DecodeFrameSize(AsBytes(value), max); };
  EXPECT_TRUE(size_of(0, 100).Is(Errno::kEPROTO));
  EXPECT_TRUE(size_of(6, 100).Is(Errno::kEPROTO));
  EXPECT_TRUE(size_of(7, 100).ok());
  EXPECT_TRUE(size_of(100, 100).ok());
  EXPECT_TRUE(size_of(101, 100).Is(Errno::kEPROTO));
  EXPECT_TRUE(size_of(~uint32_t{0}, 100).Is(Errno::kEPROTO));
}

TEST(CodecTest, ListCountBeyondTheBodyIsRefused) {
  // Twalk with 65535 names and none of them there.
  std::vector<std::byte> body(10, std::byte{0xff});
  EXPECT_TRUE(DecodeBody<Twalk>(body).Is(Errno::kEPROTO));
}

}  // namespace
}  // namespace sandboxd::gofer
