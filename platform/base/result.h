// Result<T>: a value or a Linux Errno. The one way in which kernel, platform and gofer report
// failure.
//
//   Result<Ref<File>> Open(...);
//   auto file = TRY(Open(...));        // returns the error to our caller, or yields the value
//   TRY(file->Flush());                // Result<void>
//   auto file = MUST(Open(...));       // CHECK-fails on error: say why it can't happen
#pragma once

#include <optional>
#include <type_traits>
#include <utility>
#include <variant>

#include "platform/base/check.h"
#include "platform/base/errno.h"

namespace sandboxd {

template <typename T>
class [[nodiscard]] Result {
 public:
  using value_type = T;
  // Implicit on purpose: `return Errno::kENOENT;` and `return value;` both read as what they are.
  Result(Errno e) : rep_(e) {}
  template <typename U = T>
  requires(std::is_constructible_v<T, U&&> && !std::is_same_v<std::remove_cvref_t<U>, Result> &&
           !std::is_same_v<std::remove_cvref_t<U>, Errno>) Result(U&& value)
      : rep_(std::in_place_index<1>, std::forward<U>(value)) {}

  bool ok() const { return rep_.index() == 1; }
  explicit operator bool() const { return ok(); }
  Errno error() const {
    CHECK(!ok());
    return std::get<0>(rep_);
  }
  T& value() & {
    CHECK(ok());
    return std::get<1>(rep_);
  }
  const T& value() const& {
    CHECK(ok());
    return std::get<1>(rep_);
  }
  T&& value() && {
    CHECK(ok());
    return std::move(std::get<1>(rep_));
  }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }
  template <typename U>
  T value_or(U&& other) && {
    return ok() ? std::move(*this).value() : static_cast<T>(std::forward<U>(other));
  }
  bool Is(Errno e) const { return !ok() && error() == e; }

 private:
  std::variant<Errno, T> rep_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  using value_type = void;
  Result() = default;
  Result(Errno e) : error_(e) {}
  bool ok() const { return !error_.has_value(); }
  explicit operator bool() const { return ok(); }
  Errno error() const {
    CHECK(!ok());
    return *error_;
  }
  void value() const { CHECK(ok()); }
  bool Is(Errno e) const { return !ok() && error() == e; }

 private:
  std::optional<Errno> error_;
};

inline Result<void> Ok() { return {}; }

}  // namespace sandboxd

#define TRY(expr)                                    \
  ({                                                 \
    auto try_result = (expr);                        \
    if (!try_result.ok()) return try_result.error(); \
    std::move(try_result).value();                   \
  })

#define MUST(expr)                                         \
  ({                                                       \
    auto must_result = (expr);                             \
    CHECK_MSG(must_result.ok(), "MUST(%s): %s", #expr,     \
              ::sandboxd::ErrnoName(must_result.error())); \
    std::move(must_result).value();                        \
  })
