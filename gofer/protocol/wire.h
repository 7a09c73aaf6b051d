// The primitives of 9P on the wire: little-endian integers, strings with a 16-bit length, data with
// a 32-bit length, lists with a 16-bit count. Everything that reads bytes a peer sent goes through
// Decoder; nothing else in the gofer looks at raw message bytes.
//
// A structure is anything with `static void Visit(Self& self, Archive& archive)` that passes its
// fields to the archive in wire order, so that one line describes both directions.
#pragma once

#include <bit>
#include <concepts>
#include <cstring>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "platform/base/result.h"
#include "platform/base/types.h"

namespace sandboxd::gofer {

// Data with a 32-bit length. Borrowed: in a decoded message it points into the received frame.
struct Blob {
  ConstBytes bytes;
};

// Appends to a buffer. A string or list that is too long for its length field makes ok() false and
// nothing after it is written.
class Encoder {
 public:
  explicit Encoder(std::vector<std::byte>& out) : out_(out) {}

  bool ok() const { return ok_; }

  template <typename... Fields>
  void operator()(const Fields&... fields) {
    (Put(fields), ...);
  }

  template <typename T>
  void Put(const T& value) {
    if (!ok_) return;
    if constexpr (std::is_enum_v<T>) {
      PutInteger(static_cast<std::underlying_type_t<T>>(value));
    } else if constexpr (std::is_same_v<T, bool>) {
      PutInteger<uint8_t>(value ? 1 : 0);
    } else if constexpr (std::unsigned_integral<T>) {
      PutInteger(value);
    } else if constexpr (std::is_same_v<T, Blob>) {
      PutBlob(value);
    } else if constexpr (std::is_convertible_v<T, std::string_view>) {
      PutString(value);
    } else {
      T::Visit(value, *this);
    }
  }

  template <typename T>
  void Put(const std::vector<T>& list) {
    if (!FitsIn16Bits(list.size())) return;
    PutInteger(static_cast<uint16_t>(list.size()));
    for (const T& element : list) Put(element);
  }

 private:
  template <std::unsigned_integral T>
  void PutInteger(T value) {
    static_assert(std::endian::native == std::endian::little);
    PutBytes(AsBytes(value));
  }
  void PutBytes(ConstBytes bytes) { out_.insert(out_.end(), bytes.begin(), bytes.end()); }
  void PutString(std::string_view text);
  void PutBlob(const Blob& blob);
  bool FitsIn16Bits(size_t n) {
    if (n > UINT16_MAX) ok_ = false;
    return ok_;
  }

  std::vector<std::byte>& out_;
  bool ok_ = true;
};

// Reads from bytes that the peer chose. The first field that does not fit makes ok() false; from
// then on every field is left as it was.
class Decoder {
 public:
  explicit Decoder(ConstBytes in) : rest_(in) {}

  bool ok() const { return ok_; }
  // Everything was well-formed and nothing is left over.
  bool AtEnd() const { return ok_ && rest_.empty(); }
  size_t remaining() const { return rest_.size(); }

  template <typename... Fields>
  void operator()(Fields&... fields) {
    (Get(fields), ...);
  }

  template <typename T>
  void Get(T& value) {
    if (!ok_) return;
    if constexpr (std::is_enum_v<T>) {
      std::underlying_type_t<T> raw{};
      GetInteger(raw);
      value = static_cast<T>(raw);
    } else if constexpr (std::is_same_v<T, bool>) {
      uint8_t raw = 0;
      GetInteger(raw);
      if (raw > 1) ok_ = false;
      value = raw == 1;
    } else if constexpr (std::unsigned_integral<T>) {
      GetInteger(value);
    } else if constexpr (std::is_same_v<T, Blob>) {
      GetBlob(value);
    } else if constexpr (std::is_same_v<T, std::string>) {
      GetString(value);
    } else {
      T::Visit(value, *this);
    }
  }

  // Elements are read one at a time, so a count larger than the frame costs nothing.
  template <typename T>
  void Get(std::vector<T>& list) {
    uint16_t count = 0;
    Get(count);
    for (uint16_t i = 0; ok_ && i < count; ++i) {
      T element{};
      Get(element);
      if (ok_) list.push_back(std::move(element));
    }
  }

 private:
  template <std::unsigned_integral T>
  void GetInteger(T& value) {
    ConstBytes bytes = Take(sizeof(T));
    if (ok_) std::memcpy(&value, bytes.data(), sizeof(T));
  }
  void GetString(std::string& text);
  void GetBlob(Blob& blob);
  // The next n bytes, or none and ok() false.
  ConstBytes Take(size_t n);

  ConstBytes rest_;
  bool ok_ = true;
};

}  // namespace sandboxd::gofer
