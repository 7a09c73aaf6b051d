#include "gofer/protocol/codec.h"

#include <cstring>

namespace sandboxd::gofer {

Result<uint32_t> DecodeFrameSize(ConstBytes first_four_bytes, uint32_t max) {
  uint32_t size = 0;
  Decoder decoder(first_four_bytes);
  decoder(size);
  if (!decoder.ok() || size < kHeaderSize || size > max) return Errno::kEPROTO;
  return size;
}

Result<Frame> DecodeFrame(ConstBytes bytes) {
  uint32_t size = 0;
  Frame frame;
  Decoder decoder(bytes);
  decoder(size, frame.type, frame.tag);
  if (!decoder.ok() || size != bytes.size()) return Errno::kEPROTO;
  frame.body = bytes.subspan(kHeaderSize);
  return frame;
}

namespace internal {

size_t BeginFrame(std::vector<std::byte>& out, MessageType type, uint16_t tag) {
  size_t start = out.size();
  Encoder encoder(out);
  encoder(uint32_t{0}, type, tag);
  return start;
}

Result<void> FinishFrame(std::vector<std::byte>& out, size_t start, bool encoded) {
  size_t size = out.size() - start;
  if (!encoded || size > UINT32_MAX) {
    out.resize(start);
    return Errno::kENAMETOOLONG;
  }
  uint32_t size32 = static_cast<uint32_t>(size);
  std::memcpy(out.data() + start, &size32, sizeof(size32));
  return Ok();
}

}  // namespace internal
}  // namespace sandboxd::gofer
