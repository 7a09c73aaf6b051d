// SeccompList: the host system calls that a process may make, each with the reason why.
//
//   SeccompList list;
//   list.Allow(SYS_futex, "waking and waiting for threads");
//   list.Allow(SYS_fcntl, "reading flags", {ArgIs(1, F_GETFL)});
//   TRY(list.Load());
//
// What isn't on the list kills the process (SECCOMP_RET_KILL_PROCESS), also when it is made through
// another architecture's entry. See seccomp(2).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "platform/base/result.h"

namespace sandboxd::host {

// (argument `index` & mask) == value.
struct SeccompArg {
  unsigned index = 0;
  uint64_t mask = ~uint64_t{0};
  uint64_t value = 0;
};
constexpr SeccompArg ArgIs(unsigned index, uint64_t value) { return {index, ~uint64_t{0}, value}; }
// For `int` arguments, whose upper half the kernel ignores and a caller may leave as it was.
constexpr SeccompArg Arg32Is(unsigned index, uint32_t value) { return {index, 0xffff'ffff, value}; }
constexpr SeccompArg ArgMasked(unsigned index, uint64_t mask, uint64_t value) {
  return {index, mask, value};
}

class SeccompList {
 public:
  struct Rule {
    int number = 0;
    const char* reason = "";       // a string literal
    std::vector<SeccompArg> args;  // all must hold; several rules for one number are alternatives
    int refusal = 0;  // 0: allowed; else the call fails with this errno, and that is all
  };

  void Allow(int number, const char* reason, std::vector<SeccompArg> args = {});
  // Fails with `error` instead of killing: for calls that a library tries before one that is
  // allowed.
  void Refuse(int number, int error, const char* reason);
  const std::vector<Rule>& rules() const { return rules_; }

  // Loads the list for the calling thread, or for all threads of the process. Sets no_new_privs.
  // There is no way back.
  enum class Scope : uint8_t { kThisThread, kAllThreads };
  Result<void> Load(Scope scope = Scope::kThisThread) const;

  // One line a rule: "futex  waking and waiting for threads".
  std::string ToString() const;

 private:
  std::vector<Rule> rules_;
};

}  // namespace sandboxd::host
