// Filter: a program and the older filters behind it, as a task has them (seccomp(2)).
#pragma once

#include <linux/seccomp.h>

#include <atomic>
#include <bitset>
#include <cstdint>

#include "kernel/seccomp/program.h"
#include "platform/base/ref.h"
#include "platform/base/result.h"

namespace sandboxd::seccomp {

// AUDIT_ARCH_X86_64: what programs see as `arch`.
inline constexpr uint32_t kArchitecture = 0xc000003e;

// Listens to the calls that a filter hands to a supervisor (SECCOMP_RET_USER_NOTIF); kernel/task
// implements it.
class Listener : public RefCounted {
 public:
  // No task has the filter any more.
  virtual void OnUnused() = 0;
};

class Filter : public RefCounted {
 public:
  // ENOMEM if the chain would be longer than Linux lets it be.
  static Result<Ref<Filter>> Create(Program program, bool log, Ref<Filter> previous);

  struct Verdict {
    uint32_t value = SECCOMP_RET_ALLOW;  // SECCOMP_RET_*
    const Filter* filter = nullptr;      // whose answer it is; the chain keeps it alive
    uint32_t action() const { return value & SECCOMP_RET_ACTION_FULL; }
    uint16_t data() const { return static_cast<uint16_t>(value & SECCOMP_RET_DATA); }
  };
  Verdict Ask(const seccomp_data& data) const;
  // Does the number alone decide that every filter allows it?
  bool AlwaysAllows(uint64_t number) const {
    return number < kCached && always_allowed_[static_cast<size_t>(number)];
  }

  const Ref<Filter>& previous() const { return previous_; }
  bool IsAncestorOfOrSame(const Filter* other) const;
  int depth() const { return depth_; }
  const Program& program() const { return program_; }
  bool log() const { return log_; }

  // Before the filter is anybody's.
  void set_listener(Ref<Listener> listener) { listener_ = std::move(listener); }
  Listener* listener() const { return listener_.get(); }
  bool chain_has_listener() const;

  // Tasks that have this very filter first in their chain, and newer filters in front of it that
  // have users. Whoever puts a new filter in front of a task's makes that task's use of the old one
  // the new one's, so only the new one is counted up.
  void AddUser() { users_.fetch_add(1, std::memory_order_relaxed); }
  void RemoveUser();

 private:
  template <typename T, typename... Args>
  friend Ref<T> sandboxd::MakeRef(Args&&...);
  static constexpr size_t kCached = 512;
  Filter(Program program, bool log, Ref<Filter> previous);
  ~Filter() override;

  const Program program_;
  const bool log_;
  const Ref<Filter> previous_;
  const int depth_;
  const size_t total_instructions_;  // as Linux counts a chain
  std::bitset<kCached> always_allowed_;
  Ref<Listener> listener_;
  std::atomic<int> users_{0};
};

}  // namespace sandboxd::seccomp
