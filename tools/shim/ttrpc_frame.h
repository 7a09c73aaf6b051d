// ttrpc frames: 10 bytes of header, big-endian, and a payload (github.com/containerd/ttrpc,
// PROTOCOL.md):  length u32, stream u32, type u8, flags u8.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace sandboxd::shim {

inline constexpr size_t kTtrpcHeader = 10;
inline constexpr size_t kTtrpcMaxPayload = 4 << 20;

struct TtrpcFrame {
  enum Type : uint8_t { kRequest = 1, kResponse = 2, kData = 3 };
  uint32_t stream = 0;
  uint8_t type = 0;
  uint8_t flags = 0;
  // The sender announced more than kTtrpcMaxPayload; the payload was skipped.
  bool too_large = false;
  std::string payload;
};

std::string EncodeTtrpcFrame(uint32_t stream, uint8_t type, const std::string& payload);

// Takes bytes as they come and gives whole frames. Memory is bounded by one frame.
class TtrpcReader {
 public:
  void Feed(const char* data, size_t size, std::vector<TtrpcFrame>* frames);

 private:
  std::string header_;
  TtrpcFrame frame_;
  uint64_t missing_ = 0;  // bytes of the payload
  bool in_payload_ = false;
};

}  // namespace sandboxd::shim
