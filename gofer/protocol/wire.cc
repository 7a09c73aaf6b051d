#include "gofer/protocol/wire.h"

namespace sandboxd::gofer {

void Encoder::PutString(std::string_view text) {
  if (!FitsIn16Bits(text.size())) return;
  PutInteger(static_cast<uint16_t>(text.size()));
  PutBytes(std::as_bytes(std::span(text)));
}

void Encoder::PutBlob(const Blob& blob) {
  if (blob.bytes.size() > UINT32_MAX) {
    ok_ = false;
    return;
  }
  PutInteger(static_cast<uint32_t>(blob.bytes.size()));
  PutBytes(blob.bytes);
}

void Decoder::GetString(std::string& text) {
  uint16_t size = 0;
  GetInteger(size);
  ConstBytes bytes = Take(size);
  if (ok_) text.assign(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

void Decoder::GetBlob(Blob& blob) {
  uint32_t size = 0;
  GetInteger(size);
  ConstBytes bytes = Take(size);
  if (ok_) blob.bytes = bytes;
}

ConstBytes Decoder::Take(size_t n) {
  if (!ok_ || n > rest_.size()) {
    ok_ = false;
    return {};
  }
  ConstBytes taken = rest_.first(n);
  rest_ = rest_.subspan(n);
  return taken;
}

}  // namespace sandboxd::gofer
