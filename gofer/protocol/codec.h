// Frames: size[4] type[1] tag[2] body, size counting all of it.
#pragma once

#include <vector>

#include "gofer/protocol/message_type.h"
#include "gofer/protocol/types.h"
#include "gofer/protocol/wire.h"
#include "platform/base/result.h"

namespace sandboxd::gofer {

struct Frame {
  MessageType type{};
  uint16_t tag = kNoTag;
  ConstBytes body;
};

// The size that a frame's first 4 bytes announce, header included. EPROTO outside
// [kHeaderSize, max].
Result<uint32_t> DecodeFrameSize(ConstBytes first_four_bytes, uint32_t max);

// `bytes` is one whole frame, whose announced size must be bytes.size().
Result<Frame> DecodeFrame(ConstBytes bytes);

namespace internal {
size_t BeginFrame(std::vector<std::byte>& out, MessageType type, uint16_t tag);
Result<void> FinishFrame(std::vector<std::byte>& out, size_t start, bool encoded);
}  // namespace internal

// Appends one frame to `out`. ENAMETOOLONG if a string or list exceeds its length field; `out` is
// then unchanged.
template <typename Message>
Result<void> EncodeFrame(uint16_t tag, const Message& message, std::vector<std::byte>& out) {
  size_t start = internal::BeginFrame(out, Message::kType, tag);
  Encoder encoder(out);
  Message::Visit(message, encoder);
  return internal::FinishFrame(out, start, encoder.ok());
}

// EPROTO unless the body is exactly one Message. Blobs in it point into `body`.
template <typename Message>
Result<Message> DecodeBody(ConstBytes body) {
  Message message;
  Decoder decoder(body);
  Message::Visit(message, decoder);
  if (!decoder.AtEnd()) return Errno::kEPROTO;
  return message;
}

}  // namespace sandboxd::gofer
