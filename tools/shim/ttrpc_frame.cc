#include "tools/shim/ttrpc_frame.h"

#include <algorithm>

namespace sandboxd::shim {
namespace {

uint32_t ReadBigEndian(const std::string& bytes, size_t at) {
  uint32_t value = 0;
  for (size_t i = 0; i < 4; ++i) value = value << 8 | static_cast<uint8_t>(bytes[at + i]);
  return value;
}

void AppendBigEndian(std::string& out, uint32_t value) {
  for (int shift = 24; shift >= 0; shift -= 8) out.push_back(static_cast<char>(value >> shift));
}

}  // namespace

std::string EncodeTtrpcFrame(uint32_t stream, uint8_t type, const std::string& payload) {
  std::string out;
  out.reserve(kTtrpcHeader + payload.size());
  AppendBigEndian(out, static_cast<uint32_t>(payload.size()));
  AppendBigEndian(out, stream);
  out.push_back(static_cast<char>(type));
  out.push_back(0);
  return out + payload;
}

void TtrpcReader::Feed(const char* data, size_t size, std::vector<TtrpcFrame>* frames) {
  while (size > 0 || (in_payload_ && missing_ == 0)) {
    if (!in_payload_) {
      const size_t n = std::min(size, kTtrpcHeader - header_.size());
      header_.append(data, n);
      data += n;
      size -= n;
      if (header_.size() < kTtrpcHeader) return;
      missing_ = ReadBigEndian(header_, 0);
      frame_ = TtrpcFrame();
      frame_.stream = ReadBigEndian(header_, 4);
      frame_.type = static_cast<uint8_t>(header_[8]);
      frame_.flags = static_cast<uint8_t>(header_[9]);
      frame_.too_large = missing_ > kTtrpcMaxPayload;
      header_.clear();
      in_payload_ = true;
    }
    const size_t n = static_cast<size_t>(std::min<uint64_t>(size, missing_));
    if (!frame_.too_large) frame_.payload.append(data, n);
    data += n;
    size -= n;
    missing_ -= n;
    if (missing_ > 0) return;
    frames->push_back(std::move(frame_));
    in_payload_ = false;
  }
}

}  // namespace sandboxd::shim
