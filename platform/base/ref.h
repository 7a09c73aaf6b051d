// Ref<T>: intrusive, thread-safe shared ownership, for objects that several tasks hold.
//
//   class File : public RefCounted { ... };
//   Ref<File> f = MakeRef<File>(args...);
//
// The count starts at one, owned by the Ref that MakeRef returns. The destructor runs on whichever
// thread drops the last reference, with whatever locks that thread holds: don't drop references
// under a lock whose rank the destructor may need.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <utility>

#include "platform/base/check.h"

namespace sandboxd {

class RefCounted {
 public:
  RefCounted() = default;
  RefCounted(const RefCounted&) = delete;
  RefCounted& operator=(const RefCounted&) = delete;

  void IncRef() const { count_.fetch_add(1, std::memory_order_relaxed); }
  void DecRef() const {
    // Release: our writes happen before the delete; acquire: the deleter sees everyone's writes.
    uint32_t before = count_.fetch_sub(1, std::memory_order_acq_rel);
    CHECK(before != 0);
    if (before == 1) OnZeroReferences();
  }
  // For weak tables: takes a reference unless the object is already on its way out. The caller must
  // keep the memory alive by holding the lock that the destructor takes to leave the table.
  bool TryIncRef() const {
    uint32_t n = count_.load(std::memory_order_relaxed);
    while (n != 0) {
      if (count_.compare_exchange_weak(n, n + 1, std::memory_order_relaxed)) return true;
    }
    return false;
  }
  uint32_t ref_count_for_tests() const { return count_.load(std::memory_order_relaxed); }
  // How many references exist right now; only a hint unless the caller can exclude new ones.
  uint32_t ref_count_hint() const { return count_.load(std::memory_order_acquire); }

 protected:
  virtual ~RefCounted() = default;
  // Destroys the object. Overridden where others must let go of it before any destructor runs.
  virtual void OnZeroReferences() const { delete this; }

 private:
  mutable std::atomic<uint32_t> count_{1};
};

template <typename T>
class Ref {
 public:
  Ref() = default;
  Ref(std::nullptr_t) {}
  // Takes a new reference on a borrowed object.
  explicit Ref(T* borrowed) : ptr_(borrowed) {
    if (ptr_ != nullptr) ptr_->IncRef();
  }
  static Ref Adopt(T* owned) {
    Ref r;
    r.ptr_ = owned;
    return r;
  }
  Ref(const Ref& other) : Ref(other.ptr_) {}
  Ref(Ref&& other) noexcept : ptr_(std::exchange(other.ptr_, nullptr)) {}
  template <typename U>
  requires std::is_convertible_v<U*, T*> Ref(const Ref<U>& other) : Ref(other.get()) {}
  template <typename U>
  requires std::is_convertible_v<U*, T*> Ref(Ref<U>&& other)
  noexcept : ptr_(other.Release()) {}
  Ref& operator=(Ref other) noexcept {
    std::swap(ptr_, other.ptr_);
    return *this;
  }
  ~Ref() { Reset(); }

  T* get() const { return ptr_; }
  T& operator*() const { return *ptr_; }
  T* operator->() const { return ptr_; }
  explicit operator bool() const { return ptr_ != nullptr; }
  bool operator==(const Ref& other) const { return ptr_ == other.ptr_; }
  bool operator==(const T* other) const { return ptr_ == other; }
  bool operator==(std::nullptr_t) const { return ptr_ == nullptr; }
  void Reset() {
    if (T* p = std::exchange(ptr_, nullptr)) p->DecRef();
  }
  T* Release() { return std::exchange(ptr_, nullptr); }

 private:
  T* ptr_ = nullptr;
};

template <typename T, typename... Args>
Ref<T> MakeRef(Args&&... args) {
  return Ref<T>::Adopt(new T(std::forward<Args>(args)...));
}

// A Ref to a subclass that the caller knows it to be.
template <typename T, typename U>
Ref<T> StaticRefCast(Ref<U> r) {
  return Ref<T>::Adopt(static_cast<T*>(r.Release()));
}

}  // namespace sandboxd

template <typename T>
struct std::hash<sandboxd::Ref<T>> {
  size_t operator()(const sandboxd::Ref<T>& r) const { return std::hash<const T*>()(r.get()); }
};
